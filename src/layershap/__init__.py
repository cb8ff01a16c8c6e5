"""Transfer learning for images, tracked, with exact SHAP heatmaps of every feature layer."""

__version__ = "0.1.0"
