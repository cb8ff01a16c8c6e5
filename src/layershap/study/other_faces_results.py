"""The findings on other faces: the table per layer, and what came out beside what was expected."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from layershap.study.expectations import EXPERIMENTS, Experiment, Results
from layershap.study.other_faces import GROUPS
from layershap.study.statistics import log_slope
from layershap.study.tables import add_chance, by_layer

AMPLITUDES = ("others", "own", "spread")  # of experiment c


def summarise(rows: pd.DataFrame, layers: Mapping[str, int], candidates: int) -> pd.DataFrame:
    """Return a row per experiment, measure and layer: mean, interval over images, and Holm's p where chance is known.

    rows: image, experiment, name (of the layer), measure, value. `candidates`: among which a reference was looked for.
    """
    table = add_chance(by_layer(rows, ["experiment", "measure"], layers), rows, candidates)
    slopes = pd.DataFrame(_slopes(rows, layers), columns=[column for column in table if column != "p_holm"])
    whole = pd.concat([table, slopes], ignore_index=True)
    return whole.sort_values(["experiment", "measure", "layer"], kind="stable", ignore_index=True)


def _slopes(rows: pd.DataFrame, layers: Mapping[str, int]) -> list[list[object]]:
    found: list[list[object]] = []
    part = rows[rows["experiment"] == "c"]
    for name, number in layers.items():
        wide = part[part["name"] == name].pivot(index="image", columns="measure", values="value")
        for kind in AMPLITUDES:
            counts = [count for count in GROUPS if f"{kind} {count}" in wide]
            amplitudes = wide[[f"{kind} {count}" for count in counts]].dropna().to_numpy(float)
            if len(counts) > 1 and len(amplitudes):
                slope = log_slope(counts, amplitudes)
                found.append(["c", f"slope {kind}", number, name, len(amplitudes), *slope])
    return found


def results_text(table: pd.DataFrame) -> str:
    """Return the findings as Markdown: for each experiment what was expected, whether it came, and all layers."""
    results = Results(table)
    return "\n".join(_section(experiment, results) for experiment in EXPERIMENTS)


def _section(experiment: Experiment, results: Results) -> str:
    letter = "" if experiment.key == "parts" else f"({experiment.key}) "
    verdict = results.verdict(experiment)
    lines = [
        f"### {letter}{experiment.title}",
        "",
        f"*Expected:* {experiment.expected}",
        "",
        f"*Found:* **{verdict}**.",
        "",
        f"| layer | {' | '.join(experiment.shown)} |",
        "|---|" + "---:|" * len(experiment.shown),
    ]
    for layer in results.layers:
        cells = [_cell(results.row(*source, layer)) for source in experiment.shown.values()]
        lines.append(f"| {layer} {results.names[layer]} | {' | '.join(cells)} |")
    firsts = [results.row(*source, results.first) for source in experiment.shown.values()]
    images = sorted({int(row["images"]) for row in firsts if np.isfinite(row["images"])})
    note = f"Mean over {' or '.join(map(str, images))} images [95 % interval]"
    if any(np.isfinite(row["p_holm"]) for row in firsts):
        note += "; \\*: above chance at 5 %, corrected for the number of layers (Holm)"
    if any("†" in heading for heading in experiment.shown):
        note += "; †: added after a trial run on four images, nothing was expected of it"
    return "\n".join([*lines, "", f"{note}.", ""])


def _cell(row: pd.Series) -> str:
    if not np.isfinite(row["mean"]):
        return "–"
    star = "\\*" if row["p_holm"] < 0.05 else ""
    if row["low"] == row["mean"] == row["high"] == 0:
        return f"0{star}"
    if row["low"] == row["mean"] == row["high"] or not np.isfinite(row["low"]):
        return f"{row['mean']:.2f}{star}"
    return f"{row['mean']:.2f}{star} [{row['low']:.2f}, {row['high']:.2f}]"
