"""The cache of frozen features, and the images that they are computed from."""

from layershap.data.features.cache import FeatureCache
from layershap.data.features.extraction import VIEWS, extract_features
from layershap.data.features.loading import batches, load_batch, loaded, read_pixels, to_batch

__all__ = [
    "VIEWS",
    "FeatureCache",
    "batches",
    "extract_features",
    "load_batch",
    "loaded",
    "read_pixels",
    "to_batch",
]
