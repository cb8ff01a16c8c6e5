"""Stage gate: threshold, baseline, verdict."""

import csv
import os
import sys
from dataclasses import asdict

from layershap.judging.gate import EXIT_CODES, Verdict, as_junit, as_markdown, decide, make_baseline
from layershap.workspace import paths
from layershap.workspace.errors import InputError
from layershap.workspace.files import read_json, write_json, write_text
from layershap.workspace.params import load_params


def run() -> None:
    """Write the verdict on the evaluated model; always succeeds (see `check`)."""
    judge()


def check() -> int:
    """Judge again, as `make gate` does, show it in a CI job's summary, and return the exit status of the verdict."""
    verdict = judge()
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(summary, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(as_markdown(verdict))
    return EXIT_CODES[verdict.verdict]


def judge() -> Verdict:
    """Decide, write metrics/gate.json and print."""
    params = load_params()
    baseline = read_json(paths.BASELINE) if paths.BASELINE.exists() else None
    verdict = decide(
        _read(paths.EVALUATE_METRICS),
        _read(paths.SPLIT_METRICS),
        _read(paths.EXPLAIN_METRICS),
        wrong_images(),
        baseline,
        params.gate.min_accuracy,
        params.gate.max_drop,
        params.gate.policy,
    )
    write_json(paths.GATE_VERDICT, asdict(verdict))
    write_text(paths.GATE_SUMMARY, as_markdown(verdict))
    write_text(paths.GATE_JUNIT, as_junit(verdict))
    print(f"gate: {verdict.verdict}")
    for reason in verdict.reasons:
        print(f"  {reason}")
    sys.stdout.flush()
    return verdict


def save_baseline() -> None:
    """Make the evaluated model the baseline of later ones."""
    metrics = _read(paths.EVALUATE_METRICS)
    write_json(paths.BASELINE, make_baseline(metrics, wrong_images()))
    print(f"{paths.BASELINE}: accuracy {metrics['accuracy']:.4f}; commit it")


def wrong_images() -> set[str]:
    """Return the paths of the test images decided wrongly."""
    if not paths.PREDICTIONS.exists():
        raise InputError(f"no {paths.PREDICTIONS}: run 'dvc repro evaluate' first")
    with paths.PREDICTIONS.open(newline="", encoding="utf-8") as file:
        return {row["path"] for row in csv.DictReader(file) if row["correct"] == "0"}


def _read(path: paths.Path) -> dict:
    if not path.exists():
        raise InputError(f"no {path}: run 'dvc repro' first")
    return read_json(path)
