"""The cache of frozen features, and the images that they are computed from."""

from layershap.data.features.cache import FeatureCache
from layershap.data.features.extraction import extract_features
from layershap.data.features.live import LiveImages, write_live
from layershap.data.features.loading import batches, in_batches, load_batch, loaded, read_again, read_pixels, to_batch
from layershap.data.features.views import VIEWS, names_of_views, probabilities_in_views, seen

__all__ = [
    "VIEWS",
    "FeatureCache",
    "LiveImages",
    "batches",
    "extract_features",
    "in_batches",
    "load_batch",
    "loaded",
    "names_of_views",
    "probabilities_in_views",
    "read_again",
    "read_pixels",
    "seen",
    "to_batch",
    "write_live",
]
