"""The verdict on a model: PASS, WARN, FAIL or INVALID, with reasons in words. Imports nothing heavy."""

import math
from dataclasses import dataclass
from typing import Any

EXIT_CODES = {"PASS": 0, "WARN": 0, "FAIL": 1, "INVALID": 3}
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Verdict:
    """`verdict`: a key of EXIT_CODES. `reasons`: sentences."""

    verdict: str
    reasons: list[str]
    accuracy: float | None
    baseline_accuracy: float | None
    p_value: float | None


def mcnemar(lost: int, gained: int) -> float:
    """Return the exact one-sided p-value of McNemar's test that the candidate is worse.

    `lost`: images the baseline had right and the candidate has wrong; `gained`: the other way round. Under equal
    models each of them is a fair coin: P(Binomial(lost + gained, 1/2) >= lost).
    """
    trials = lost + gained
    return sum(math.comb(trials, k) for k in range(lost, trials + 1)) / 2**trials


def decide(
    metrics: dict[str, Any],
    split: dict[str, Any],
    wrong: set[str],
    baseline: dict[str, Any] | None,
    min_accuracy: float,
    max_drop: float,
) -> Verdict:
    """Judge a candidate.

    `metrics`: of stage evaluate; `split`: of stage split; `wrong`: paths of the test images decided wrongly;
    `baseline`: what make_baseline returned once, or None.
    """
    accuracy = metrics.get("accuracy")
    known = baseline["accuracy"] if baseline else None
    invalid = _invalid(metrics, split, baseline)
    if invalid:
        finite = accuracy if isinstance(accuracy, float) and math.isfinite(accuracy) else None
        return Verdict("INVALID", invalid, finite, known, None)
    assert isinstance(accuracy, float)
    interval = f"95 % {metrics['accuracy_low']:.4f} to {metrics['accuracy_high']:.4f}"
    if accuracy < min_accuracy:
        reason = f"accuracy {accuracy:.4f} ({interval}) is below gate.min_accuracy = {min_accuracy:g}"
        return Verdict("FAIL", [reason], accuracy, known, None)
    reasons = [f"accuracy {accuracy:.4f} ({interval}) reaches gate.min_accuracy = {min_accuracy:g}"]
    if baseline is None:
        reasons.append("no baseline to compare with; 'layershap baseline' makes this model the baseline")
        return Verdict("WARN", reasons, accuracy, None, None)
    before = set(baseline["wrong"])
    lost, gained = len(wrong - before), len(before - wrong)
    p_value = mcnemar(lost, gained)
    drop = baseline["accuracy"] - accuracy
    compared = f"baseline {baseline['accuracy']:.4f}: {lost} images lost, {gained} gained, p = {p_value:.3g}"
    if drop > max_drop and p_value < SIGNIFICANCE:
        reasons.append(
            f"accuracy fell by {drop:.4f}, more than gate.max_drop = {max_drop:g}, not by chance ({compared})"
        )
        return Verdict("FAIL", reasons, accuracy, known, p_value)
    if drop > max_drop:
        reasons.append(f"accuracy fell by {drop:.4f}, which chance explains ({compared})")
        return Verdict("WARN", reasons, accuracy, known, p_value)
    reasons.append(f"no drop beyond gate.max_drop = {max_drop:g} ({compared})")
    return Verdict("PASS", reasons, accuracy, known, p_value)


def _invalid(metrics: dict[str, Any], split: dict[str, Any], baseline: dict[str, Any] | None) -> list[str]:
    reasons = []
    for name in ("accuracy", "accuracy_low", "accuracy_high"):
        value = metrics.get(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value <= 1:
            reasons.append(f"metric {name} is {value!r}, not a share; run 'dvc repro' again")
    if not metrics.get("n_test"):
        reasons.append("no test images were evaluated")
    if shared := split.get("pictures_in_two_splits"):
        reasons.append(f"{shared} pictures stand in more than one split; remove the copies from data.path")
    if baseline and baseline["test_digest"] != metrics.get("test_digest"):
        reasons.append(
            "the baseline was measured on other test images; 'layershap baseline' makes this model the baseline"
        )
    return reasons


def make_baseline(metrics: dict[str, Any], wrong: set[str]) -> dict[str, Any]:
    """Return what the gate needs to know of a model to compare later ones with it."""
    names = ("accuracy", "accuracy_low", "accuracy_high", "n_test", "test_digest")
    return {**{name: metrics[name] for name in names}, "wrong": sorted(wrong)}
