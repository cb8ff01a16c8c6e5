"""The verdict on a model: PASS, WARN, FAIL or INVALID, with reasons in words. Imports nothing heavy."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal
from xml.etree import ElementTree

from layershap.judging.evidence import Evidence
from layershap.judging.statistics import exceeds, mcnemar, power

Policy = Literal["strict", "point", "lenient"]

EXIT_CODES = {"PASS": 0, "WARN": 0, "FAIL": 1, "INVALID": 3}
SIGNIFICANCE = 0.05
LARGEST_GAP = 1e-2  # of a heatmap's sum, relative to what is summed: more is not rounding


@dataclass(frozen=True)
class Verdict:
    """`verdict`: a key of EXIT_CODES. `reasons`: sentences."""

    verdict: str
    reasons: list[str]
    accuracy: float | None
    baseline_accuracy: float | None
    p_value: float | None
    power: float | None = None  # probability that a true drop of twice max_drop would FAIL
    agreement: dict[str, Any] | None = None  # with the champion's heatmaps, where it was asked for (see agreement.py)


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return the content of metrics/gate.json; what was not asked for is not in it."""
    content = asdict(verdict)
    if verdict.agreement is None:
        del content["agreement"]
    return content


def decide(evidence: Evidence, min_accuracy: float, max_drop: float, policy: Policy = "point") -> Verdict:
    """Judge a candidate.

    `policy`: what must reach `min_accuracy`: the lower end of the 95 % interval (strict), the accuracy itself (point),
    or its upper end (lenient).
    """
    metrics, baseline = evidence.evaluated, evidence.baseline
    accuracy, known = metrics.accuracy, baseline.accuracy if baseline else None
    if reasons := _unbelievable(evidence):
        return Verdict("INVALID", reasons, accuracy, known, None)
    interval = f"95 % {metrics.accuracy_low:.4f} to {metrics.accuracy_high:.4f}"
    name, value = {
        "strict": ("accuracy_low", metrics.accuracy_low),
        "point": ("accuracy", accuracy),
        "lenient": ("accuracy_high", metrics.accuracy_high),
    }[policy]
    floor = f"gate.min_accuracy = {min_accuracy:g} (policy {policy}: {name} {value:.4f})"
    if exceeds(min_accuracy, value):
        return Verdict("FAIL", [f"accuracy {accuracy:.4f} ({interval}) is below {floor}"], accuracy, known, None)
    reasons = [f"accuracy {accuracy:.4f} ({interval}) reaches {floor}"]
    if evidence.explained.engine == "shap":
        reasons.append("the sums of engine shap are estimates, and are not judged")
    if baseline is None:
        reasons.append("no baseline to compare with; 'layershap baseline' makes this model the baseline")
        return Verdict("WARN", reasons, accuracy, None, None)
    before = Counter(baseline.wrong)
    lost, gained = (evidence.wrong - before).total(), (before - evidence.wrong).total()
    p_value = mcnemar(lost, gained)
    drop = baseline.accuracy - accuracy
    noticed = 2 * max_drop or 0.02
    chance = power(metrics.n_test, lost + gained, noticed, max_drop, SIGNIFICANCE)
    compared = f"baseline {baseline.accuracy:.4f}: {lost} images lost, {gained} gained, p = {p_value:.3g}"
    if exceeds(drop, max_drop) and p_value < SIGNIFICANCE:
        reasons.append(
            f"accuracy fell by {drop:.4f}, more than gate.max_drop = {max_drop:g}, not by chance ({compared})"
        )
        return Verdict("FAIL", reasons, accuracy, known, p_value, chance)
    if exceeds(drop, max_drop):
        reasons += [f"accuracy fell by {drop:.4f}, which chance explains ({compared})", _power_line(noticed, chance)]
        return Verdict("WARN", reasons, accuracy, known, p_value, chance)
    reasons += [f"no drop beyond gate.max_drop = {max_drop:g} ({compared})", _power_line(noticed, chance)]
    return Verdict("PASS", reasons, accuracy, known, p_value, chance)


def invalid(reasons: list[str]) -> Verdict:
    """Return the verdict on a candidate that cannot be judged."""
    return Verdict("INVALID", reasons, None, None, None)


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


def _unbelievable(evidence: Evidence) -> list[str]:
    explained, baseline = evidence.explained, evidence.baseline
    reasons = []
    expected = explained.images * explained.layers
    if explained.maps != expected:
        reasons.append(f"{explained.maps} heatmaps instead of {expected}; run 'dvc repro explain' again")
    if explained.constant_maps:
        reasons.append(
            f"{explained.constant_maps} heatmaps are the same everywhere: the model does not look at the images"
        )
    gap = explained.largest_relative_gap
    # shap's sums are estimates: only the secant engine promises exact ones
    if explained.engine != "shap" and gap > LARGEST_GAP:
        reasons.append(f"a heatmap's sum is off by {gap:g} of what is summed, more than {LARGEST_GAP:g}")
    if shared := evidence.divided.pictures_in_two_splits:
        reasons.append(f"{shared} pictures stand in more than one split; remove the copies from data.path")
    if baseline and (baseline.test_digest, baseline.n_test) != (
        evidence.evaluated.test_digest,
        evidence.evaluated.n_test,
    ):
        reasons.append(
            "the baseline was measured on other test images; 'layershap baseline' makes this model the baseline"
        )
    return reasons


def make_baseline(evidence: Evidence) -> dict[str, Any]:
    """Return what the gate needs to know of a model to compare later ones with it, as the content of a Baseline."""
    facts = evidence.evaluated.model_dump(exclude={"balanced_accuracy"})
    return {**facts, "wrong": dict(sorted(evidence.wrong.items()))}
