"""The numeric core: SHAP values of every feature of every layer, exact in their sums.

Importable alone: needs torch and numpy only (shap where its engine or `to_shap` is used).

    from layershap.explain import Chain, explain_layers
    result = explain_layers(Chain(layers, head), images, references)
    result["block3"].heatmap          # [N, H, W]
"""

from layershap.chain.chain import Chain
from layershap.explain.checks import InexactSumError
from layershap.explain.diagnosis import Diagnosis, Finding, diagnose
from layershap.explain.explanations import Explanations
from layershap.explain.layers import explain_each, explain_layers
from layershap.explain.references import blurred_reference, choose_references, mean_reference
from layershap.explain.result import LayerExplanation
from layershap.explain.secant import UnsupportedOperationError
from layershap.explain.segments import ToleranceNotMetWarning

__all__ = [
    "Chain",
    "Diagnosis",
    "Explanations",
    "Finding",
    "InexactSumError",
    "LayerExplanation",
    "ToleranceNotMetWarning",
    "UnsupportedOperationError",
    "blurred_reference",
    "choose_references",
    "diagnose",
    "explain_each",
    "explain_layers",
    "mean_reference",
]
