"""What `make repro` prints at its end."""

from rich.console import Console
from rich.table import Table

from layershap import paths
from layershap.errors import InputError
from layershap.files import read_json


def run() -> None:
    """Print accuracy, verdict, where the pictures are, and how to open the UI."""
    for path in (paths.EVALUATE_METRICS, paths.GATE_VERDICT, paths.EXPLAIN_METRICS):
        if not path.exists():
            raise InputError(f"no {path}: run 'dvc repro' first")
    metrics, gate = read_json(paths.EVALUATE_METRICS), read_json(paths.GATE_VERDICT)
    explained = read_json(paths.EXPLAIN_METRICS)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    interval = f"95 % interval {metrics['accuracy_low']:.4f} to {metrics['accuracy_high']:.4f}"
    table.add_row("accuracy", f"{metrics['accuracy']:.4f}  ({interval}, {metrics['n_test']} test images)")
    table.add_row("verdict", f"{gate['verdict']}: {'; '.join(gate['reasons'])}")
    table.add_row(
        "heatmaps",
        f"{paths.CONTACT_SHEETS}/  ({explained['images']} images, {explained['layers']} layers, "
        f"sums off by at most {explained['largest_gap']:.1e})",
    )
    table.add_row("pictures", f"{paths.EVALUATE_PICTURES}/  (confusion, reliability, mistakes)")
    table.add_row("MLflow", "make ui")
    Console(soft_wrap=True).print(table)
