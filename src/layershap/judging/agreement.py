"""How alike a model's heatmaps and the champion's are, as the gate tells it: at most a WARN. Imports nothing heavy."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from layershap.judging.evidence import Count, Facts, read_facts
from layershap.judging.gate import Verdict
from layershap.judging.statistics import exceeds

MOST_SAID = 5


class Layer(Facts):
    """title: number and name. correlation: mean over `images`; None where it is not known for any."""

    title: str
    correlation: Annotated[float, Field(ge=-1, le=1)] | None
    images: Count


class Agreement(Facts):
    """`agreement` of metrics/gate.json: with `champion`, on the `images` that both explained.

    reason: why nothing is known, or empty. none: whether that is because there is no champion.
    """

    champion: str
    images: Count = 0
    layers: list[Layer] = Field(default_factory=list)
    reason: str = ""
    none: bool = False


class _Judged(Facts):
    agreement: Agreement | None = None


def read_agreement(judged: Path) -> Agreement | None:
    """Return what metrics/gate.json kept, for whoever judges again; None without. Raises InvalidEvidenceError."""
    return read_facts(judged, _Judged).agreement


def with_agreement(verdict: Verdict, found: Agreement | None, minimum: float) -> Verdict:
    """Return the verdict with what the comparison adds: layers below `minimum` make a PASS a WARN.

    No champion is said and changes nothing, for the first one must be able to pass. A champion that could not be
    reached, or that has no maps to compare with, is a WARN: what was asked for was not done.
    """
    if verdict.verdict == "INVALID":
        return verdict
    asked = f"gate.min_agreement = {minimum:g}"
    if found is None:
        again = f"{asked}: metrics/gate.json knows nothing of the champion's heatmaps; run 'dvc repro' again"
        return replace(verdict, verdict="INVALID", reasons=[again])
    kept: dict[str, Any] = found.model_dump()
    known = [(layer.correlation, layer.title) for layer in found.layers if layer.correlation is not None]
    if found.reason or not known:
        why = found.reason or "no layer of both has maps of one size on the same images"
        return _told(verdict, f"{asked}: heatmaps are not compared with the champion's: {why}", not found.none, kept)
    images = f"{found.images} images that both explained"
    low = sorted((value, title) for value, title in known if exceeds(minimum, value))
    if not low:
        least, where = min(known)
        said = f"heatmaps agree with those of {found.champion} on {images}: least mean correlation {least:.3f}"
        return _told(verdict, f"{said}, at layer {where}, reaches {asked}", False, kept)
    listed = ", ".join(f"{title} ({value:.3f})" for value, title in low[:MOST_SAID])
    more = f" and {len(low) - MOST_SAID} more" if len(low) > MOST_SAID else ""
    said = f"heatmaps differ from those of {found.champion} on {images}: mean correlation below {asked}"
    return _told(verdict, f"{said} at {listed}{more}; 'layershap compare' shows both side by side", True, kept)


def _told(verdict: Verdict, reason: str, warn: bool, kept: dict[str, Any]) -> Verdict:
    stands = "WARN" if warn and verdict.verdict == "PASS" else verdict.verdict
    return replace(verdict, verdict=stands, reasons=[*verdict.reasons, reason], agreement=kept)
