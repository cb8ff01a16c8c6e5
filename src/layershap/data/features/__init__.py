"""The cache of frozen features, and the images that they are computed from."""

from layershap.data.features.cache import FeatureCache
from layershap.data.features.extraction import VIEWS, extract_features
from layershap.data.features.loading import batches, in_batches, load_batch, loaded, read_pixels, to_batch

__all__ = [
    "VIEWS",
    "FeatureCache",
    "batches",
    "extract_features",
    "in_batches",
    "load_batch",
    "loaded",
    "read_pixels",
    "to_batch",
]
