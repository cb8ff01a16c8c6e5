"""What `make repro` prints at its end."""

import click

from layershap.workspace import paths
from layershap.workspace.errors import InputError
from layershap.workspace.files import read_json


def run() -> None:
    """Print accuracy, verdict, where the pictures and the report are, and how to open the UI."""
    for path in (paths.EVALUATE_METRICS, paths.GATE_VERDICT, paths.EXPLAIN_METRICS):
        if not path.exists():
            raise InputError(f"no {path}: run 'dvc repro' first")
    metrics, gate = read_json(paths.EVALUATE_METRICS), read_json(paths.GATE_VERDICT)
    explained = read_json(paths.EXPLAIN_METRICS)
    interval = f"95 % interval {metrics['accuracy_low']:.4f} to {metrics['accuracy_high']:.4f}"
    rows = {
        "accuracy": f"{metrics['accuracy']:.4f}  ({interval}, {metrics['n_test']} test images)",
        "verdict": f"{gate['verdict']}: {'; '.join(gate['reasons'])}",
        "heatmaps": f"{paths.CONTACT_SHEETS}/  ({explained['images']} images, {explained['layers']} layers, "
        f"sums off by at most {explained['largest_gap']:.1e})",
        "pictures": f"{paths.EVALUATE_PICTURES}/  (confusion, reliability, mistakes)",
        "report": f"{paths.REPORT}  (all of it on one page)",
        "compared": f"{paths.COMPARISON}  (beside another model)"
        if paths.COMPARISON.exists()
        else "layershap compare  (beside the registered champion, on one page)",
        "MLflow": "make ui",
    }
    for name, text in rows.items():
        click.echo(f"{click.style(f'{name:<10}', bold=True)}{text}")
