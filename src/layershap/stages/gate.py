"""Stage gate: threshold, baseline, verdict."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from layershap.judging.agreement import Agreement, read_agreement, with_agreement
from layershap.judging.evidence import Evidence, InvalidEvidenceError, read_evidence
from layershap.judging.folds import deciding, read_folds, with_folds
from layershap.judging.gate import EXIT_CODES, Verdict, as_json, as_junit, as_markdown, decide, invalid, make_baseline
from layershap.judging.inside import read_inside, with_inside
from layershap.workspace import paths
from layershap.workspace.dvc_lock import differences, digest_of
from layershap.workspace.errors import InputError
from layershap.workspace.files import read_json, write_json, write_text
from layershap.workspace.params import Gate, load_params, read_yaml


def run(agreement: Agreement | None = None) -> int:
    """Write the verdict on the evaluated model; return 0, or 3 where what it is judged by is missing or broken.

    `agreement`: with the champion's heatmaps, where the settings ask for it.
    As a stage it always succeeds: DVC throws an experiment away whose stage fails.
    """
    verdict, found = judge(lambda: agreement)
    write_json(paths.HEADLINE, headline(verdict, found))
    write_json(paths.GATE_VERDICT, as_json(verdict))
    write_text(paths.GATE_SUMMARY, as_markdown(verdict))
    write_text(paths.GATE_JUNIT, as_junit(verdict))
    show(verdict)
    return 0 if found or "DVC_STAGE" in os.environ else InputError.exit_code


def check(junit: Path | None = None, markdown: Path | None = None) -> int:
    """Judge again and return the exit status of the verdict; of the project's files none is written.

    Numbers that do not belong to these settings, this code or this data are INVALID: dvc.lock must know all that is
    here. `junit`, `markdown`: files to write the verdict to. A CI job's own summary gets it too.
    """
    verdict = verdict_here()
    if junit:
        write_text(junit, as_junit(verdict))
    if markdown:
        write_text(markdown, as_markdown(verdict))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(summary, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(as_markdown(verdict))
    show(verdict)
    return EXIT_CODES[verdict.verdict]


def verdict_here() -> Verdict:
    """Judge again, INVALID where dvc.lock does not know all that is here."""
    load_params()
    strange = differences(read_yaml(paths.PARAMS), read_yaml(paths.DVC_YAML).get("stages", {}))
    return invalid(strange) if strange else judge(kept_agreement)[0]


def kept_agreement() -> Agreement | None:
    """Return the comparison with the champion that the stage kept: judging again asks no server."""
    return read_agreement(paths.GATE_VERDICT)


def judge(agreement: Callable[[], Agreement | None]) -> tuple[Verdict, Evidence | None]:
    """Decide by what the stages wrote; return also that, or None where it could not be read.

    `agreement`: gives that with the champion's heatmaps; called where the settings ask for it.
    """
    params = load_params()
    gate = params.gate
    try:
        found = evidence()
    except InvalidEvidenceError as error:
        return invalid(error.reasons), None
    verdict = decide(found, gate.min_accuracy, gate.max_drop, gate.policy)
    try:
        if gate.folds_min_accuracy is not None:
            folds = read_folds(paths.JUDGED_FOLDS, deciding(params), digest_of(paths.IMAGES_TABLE))
            verdict = with_folds(verdict, folds, gate.folds_min_accuracy, gate.policy)
        if gate.min_inside is not None:
            inside = read_inside(paths.EXPLAIN_METRICS, paths.LAYERS_TABLE)
            verdict = with_inside(verdict, inside, gate.min_inside, gate.inside_layer, gate.policy)
        if gate.min_agreement is not None:
            verdict = with_agreement(verdict, agreement(), gate.min_agreement)
    except InvalidEvidenceError as error:
        return invalid(error.reasons), found
    return verdict, found


def headline(verdict: Verdict, found: Evidence | None) -> dict[str, Any]:
    """Return the numbers that `dvc metrics show` and `dvc exp show` compare; all others stand beside them."""
    if found is None:
        return {"verdict": verdict.verdict}
    names = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy")
    numbers = {name: getattr(found.evaluated, name) for name in names}
    return {"verdict": verdict.verdict, **numbers, "n_test": found.evaluated.n_test}


def evidence(baseline: Path | None = paths.BASELINE) -> Evidence:
    """Read what the stages wrote, and the baseline if there is one and it is asked for."""
    stages = (paths.EVALUATE_METRICS, paths.EXPLAIN_METRICS, paths.SPLIT_METRICS, paths.PREDICTIONS)
    return read_evidence(*stages, baseline)


def show(verdict: Verdict) -> None:
    """Print the verdict with its reasons."""
    print(f"gate: {verdict.verdict}")
    for reason in verdict.reasons:
        print(f"  {reason}")
    sys.stdout.flush()


def take_folds(settings: Gate) -> None:
    """Put the numbers of the folds where the gate reads them, if it asks for them."""
    if settings.folds_min_accuracy is None:
        return
    write_json(paths.JUDGED_FOLDS, read_json(paths.FOLDS_NUMBERS))
    print(f"{paths.JUDGED_FOLDS}: run 'dvc repro' to judge by it, and commit it with dvc.lock and metrics/")


def save_baseline() -> None:
    """Make the evaluated model the baseline of later ones; raises InputError where its numbers cannot be used."""
    try:
        found = evidence(baseline=None)
    except InvalidEvidenceError as error:
        raise InputError("\n".join(error.reasons)) from None
    write_json(paths.BASELINE, make_baseline(found))
    print(
        f"{paths.BASELINE}: accuracy {found.evaluated.accuracy:.4f}; "
        f"run 'dvc repro' to judge by it, and commit it with dvc.lock and metrics/"
    )
