"""What k-fold cross-validation says of a setting, as the gate reads it. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from layershap.judging.evidence import Count, Facts, InvalidEvidenceError, Share, read_facts
from layershap.judging.gate import Policy, Verdict
from layershap.judging.statistics import exceeds
from layershap.workspace.params import Params, dotted

AGAIN = "run 'make folds'"
# sections that change no decision of a model that is trained and evaluated; all others do
OTHERS = ("explain", "gate", "launcher", "loader", "other_faces", "quality", "runtime", "tracking", "trainer")
OTHER_KEYS = ("data.masks", "evaluate.batch_size", "evaluate.mistakes", "split.fold", "split.test")


class Folds(Facts):
    """folds.json. `mean_low`, `mean_high`: of the 95 % interval of the mean; `images_md5`: of the table of images."""

    folds: Annotated[int, Field(ge=2)]
    images: Count
    accuracy: list[Share]
    mean: Share
    mean_low: Share
    mean_high: Share
    images_md5: str
    settings: dict[str, Any]


def deciding(params: Params) -> dict[str, Any]:
    """Return the settings that folds depend on, by dotted name, as JSON has them."""
    content = params.model_dump(exclude=set(OTHERS))
    found = {name: value for name, value in dotted(content).items() if name not in OTHER_KEYS}
    found["trainer.precision"] = params.trainer.precision
    return found


def read_folds(path: Path, settings: Mapping[str, Any], images_md5: str) -> Folds:
    """Read folds.json; InvalidEvidenceError where it is not there, contradicts itself, or is of other settings or data.

    `settings`: as `deciding` gives them. `images_md5`: of the table of images.
    """
    found = read_facts(path, Folds, AGAIN)
    reasons = []
    if found.folds != len(found.accuracy) or abs(sum(found.accuracy) / found.folds - found.mean) > 1e-9:
        reasons.append(f"{path} contradicts itself: mean {found.mean:g} is not that of its {found.folds} folds")
    if not found.mean_low <= found.mean <= found.mean_high:
        reasons.append(f"{path}: mean {found.mean:g} is outside its own interval")
    for name in sorted(set(settings) | set(found.settings)):
        now, then = settings.get(name), found.settings.get(name)
        if now != then:
            reasons.append(f"{path}: {name} was {then!r} in the folds, and is {now!r} now")
    if found.images_md5 != images_md5:
        reasons.append(f"{path}: the folds are of other images than are here")
    if reasons:
        raise InvalidEvidenceError([f"{reason}; {AGAIN}" for reason in reasons])
    return found


def with_folds(verdict: Verdict, found: Folds, minimum: float, policy: Policy) -> Verdict:
    """Return the verdict with what the folds add to it: a mean that does not reach `minimum` is a FAIL."""
    if verdict.verdict == "INVALID":
        return verdict
    name = {"strict": "mean_low", "point": "mean", "lenient": "mean_high"}[policy]
    value = float(getattr(found, name))
    said = f"mean accuracy {found.mean:.4f} of {found.folds} folds (95 % {found.mean_low:.4f} to {found.mean_high:.4f})"
    floor = f"gate.folds_min_accuracy = {minimum:g} (policy {policy}: {name} {value:.4f})"
    if exceeds(minimum, value):
        failed = f"{said} is below {floor}"
        others = verdict.reasons if verdict.verdict == "FAIL" else []
        return replace(verdict, verdict="FAIL", reasons=[*others, failed])
    return replace(verdict, reasons=[*verdict.reasons, f"{said} reaches {floor}"])
