"""Stage gate: threshold, baseline, verdict."""

import csv
import sys
from dataclasses import asdict

from layershap import paths
from layershap.errors import InputError
from layershap.files import file_digest, read_json, write_json
from layershap.gate import EXIT_CODES, Verdict, decide, make_baseline
from layershap.params import load_params


def run() -> None:
    """Write the verdict on the evaluated model and add it to the model's run; always succeeds (see `check`)."""
    verdict = judge()
    from layershap import tracking

    run = tracking.join_run(file_digest(paths.MODEL_WEIGHTS))
    run.set_tags({"layershap.gate": verdict.verdict})
    run.log_artifacts(paths.GATE_VERDICT, "gate")
    if verdict.verdict == "PASS":
        run.promote()


def check() -> int:
    """Judge again, as `make gate` does, and return the exit status of the verdict."""
    return EXIT_CODES[judge().verdict]


def judge() -> Verdict:
    """Decide, write metrics/gate.json and print."""
    params = load_params()
    baseline = read_json(paths.BASELINE) if paths.BASELINE.exists() else None
    verdict = decide(
        _read(paths.EVALUATE_METRICS),
        _read(paths.SPLIT_METRICS),
        wrong_images(),
        baseline,
        params.gate.min_accuracy,
        params.gate.max_drop,
    )
    write_json(paths.GATE_VERDICT, asdict(verdict))
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
