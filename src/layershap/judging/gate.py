"""The verdict on a model: PASS, WARN, FAIL or INVALID, with reasons in words. Imports nothing heavy."""

import math
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

Policy = Literal["strict", "point", "lenient"]

EXIT_CODES = {"PASS": 0, "WARN": 0, "FAIL": 1, "INVALID": 3}
SIGNIFICANCE = 0.05
LARGEST_GAP = 1e-2  # of a sum of heatmap values, relative: more is not rounding


@dataclass(frozen=True)
class Verdict:
    """`verdict`: a key of EXIT_CODES. `reasons`: sentences."""

    verdict: str
    reasons: list[str]
    accuracy: float | None
    baseline_accuracy: float | None
    p_value: float | None
    power: float | None = None  # probability that a true drop of twice max_drop would FAIL


def mcnemar(lost: int, gained: int) -> float:
    """Return the exact one-sided p-value of McNemar's test that the candidate is worse.

    `lost`: images the baseline had right and the candidate has wrong; `gained`: the other way round. Under equal
    models each of them is a fair coin: P(Binomial(lost + gained, 1/2) >= lost).
    """
    trials = lost + gained
    return sum(math.comb(trials, k) for k in range(lost, trials + 1)) / 2**trials


def power(images: int, discordant: int, drop: float, max_drop: float) -> float:
    """Return the probability that a model worse by `drop` fails for it.

    `discordant`: images on which two such models disagree, as many as were seen (at least as many as the drop needs).
    Then the number of images lost is binomial; summed over the numbers that decide() calls a FAIL.
    """
    trials = max(discordant, math.ceil(images * drop))
    if not trials:
        return 0.0
    share = min(max((trials / images + drop) / (2 * trials / images), 0.0), 1.0)
    failing = (
        lost
        for lost in range(trials + 1)
        if 2 * lost - trials > max_drop * images and mcnemar(lost, trials - lost) < SIGNIFICANCE
    )
    first = next(failing, trials + 1)
    return math.fsum(_binomial(trials, lost, share) for lost in range(first, trials + 1))


def _binomial(trials: int, count: int, share: float) -> float:
    if share in (0.0, 1.0):
        return float(count == trials * share)
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return math.exp(ways + count * math.log(share) + (trials - count) * math.log1p(-share))


def decide(
    metrics: dict[str, Any],
    split: dict[str, Any],
    explained: dict[str, Any],
    wrong: set[str],
    baseline: dict[str, Any] | None,
    min_accuracy: float,
    max_drop: float,
    policy: Policy = "point",
) -> Verdict:
    """Judge a candidate.

    `metrics`, `split`, `explained`: of these stages; `wrong`: paths of the test images decided wrongly;
    `baseline`: what make_baseline returned once, or None. `policy`: what must reach `min_accuracy`: the lower end of
    the 95 % interval (strict), the accuracy itself (point), or its upper end (lenient).
    """
    accuracy = metrics.get("accuracy")
    known = baseline["accuracy"] if baseline else None
    invalid = _invalid(metrics, split, explained, baseline)
    if invalid:
        finite = accuracy if isinstance(accuracy, float) and math.isfinite(accuracy) else None
        return Verdict("INVALID", invalid, finite, known, None)
    assert isinstance(accuracy, float)
    interval = f"95 % {metrics['accuracy_low']:.4f} to {metrics['accuracy_high']:.4f}"
    name = {"strict": "accuracy_low", "point": "accuracy", "lenient": "accuracy_high"}[policy]
    floor = f"gate.min_accuracy = {min_accuracy:g} (policy {policy}: {name} {metrics[name]:.4f})"
    if metrics[name] < min_accuracy:
        return Verdict("FAIL", [f"accuracy {accuracy:.4f} ({interval}) is below {floor}"], accuracy, known, None)
    reasons = [f"accuracy {accuracy:.4f} ({interval}) reaches {floor}"]
    if baseline is None:
        reasons.append("no baseline to compare with; 'layershap baseline' makes this model the baseline")
        return Verdict("WARN", reasons, accuracy, None, None)
    before = set(baseline["wrong"])
    lost, gained = len(wrong - before), len(before - wrong)
    p_value = mcnemar(lost, gained)
    drop = baseline["accuracy"] - accuracy
    noticed = 2 * max_drop or 0.02
    chance = power(metrics["n_test"], lost + gained, noticed, max_drop)
    compared = f"baseline {baseline['accuracy']:.4f}: {lost} images lost, {gained} gained, p = {p_value:.3g}"
    if drop > max_drop and p_value < SIGNIFICANCE:
        reasons.append(
            f"accuracy fell by {drop:.4f}, more than gate.max_drop = {max_drop:g}, not by chance ({compared})"
        )
        return Verdict("FAIL", reasons, accuracy, known, p_value, chance)
    if drop > max_drop:
        reasons += [f"accuracy fell by {drop:.4f}, which chance explains ({compared})", _power_line(noticed, chance)]
        return Verdict("WARN", reasons, accuracy, known, p_value, chance)
    reasons += [f"no drop beyond gate.max_drop = {max_drop:g} ({compared})", _power_line(noticed, chance)]
    return Verdict("PASS", reasons, accuracy, known, p_value, chance)


def _power_line(drop: float, chance: float) -> str:
    return f"a true drop of {drop:g} would have failed with a probability of {chance:.0%}"


def as_markdown(verdict: Verdict) -> str:
    """Return the verdict as it is shown in a CI job's summary."""
    return f"### Gate: {verdict.verdict}\n\n" + "".join(f"- {reason}\n" for reason in verdict.reasons)


def as_junit(verdict: Verdict) -> str:
    """Return the verdict as a JUnit report: one test case; INVALID is an error, FAIL a failure."""
    kind = {"FAIL": "failure", "INVALID": "error"}.get(verdict.verdict)
    counts = {"tests": "1", "failures": str(int(kind == "failure")), "errors": str(int(kind == "error"))}
    suite = ElementTree.Element("testsuite", {"name": "layershap gate", **counts})
    case = ElementTree.SubElement(suite, "testcase", classname="layershap", name="gate")
    text = "\n".join(verdict.reasons)
    if kind:
        ElementTree.SubElement(case, kind, message=f"{verdict.verdict}: {verdict.reasons[0]}").text = text
    ElementTree.SubElement(case, "system-out").text = f"{verdict.verdict}\n{text}"
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _invalid(
    metrics: dict[str, Any], split: dict[str, Any], explained: dict[str, Any], baseline: dict[str, Any] | None
) -> list[str]:
    reasons = []
    for name in ("accuracy", "accuracy_low", "accuracy_high"):
        value = metrics.get(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value <= 1:
            reasons.append(f"metric {name} is {value!r}, not a share; run 'dvc repro' again")
    if not metrics.get("n_test"):
        reasons.append("no test images were evaluated")
    maps, expected = explained.get("maps"), explained.get("images", 0) * explained.get("layers", 0)
    if not maps or maps != expected:
        reasons.append(f"{maps} heatmaps instead of {expected}; run 'dvc repro explain' again")
    if constant := explained.get("constant_maps"):
        reasons.append(f"{constant} heatmaps are the same everywhere: the model does not look at the images")
    gap = explained.get("largest_relative_gap")
    if not isinstance(gap, (int, float)) or not gap <= LARGEST_GAP:
        reasons.append(f"a heatmap's sum is off by {gap!r} of what it explains, more than {LARGEST_GAP:g}")
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
