"""What was expected of each experiment on other faces, written down before any of them was run.

`holds` looks at the table of results (experiment, measure, layer, mean, ...) at the first and the last feature layer.
What was expected stays as it is, whatever comes out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd


class Results:
    """The table of results, for looking up means."""

    def __init__(self, table: pd.DataFrame):
        self.table = table.set_index(["experiment", "measure", "layer"]).sort_index()
        self.layers = sorted(int(layer) for layer in table["layer"].unique())
        self.missing = False  # whether a number that was asked for is not known
        self.names = dict(zip(table["layer"], table["name"], strict=True))

    @property
    def first(self) -> int:
        """The lowest layer's number."""
        return self.layers[0]

    @property
    def last(self) -> int:
        """The highest layer's number."""
        return self.layers[-1]

    def row(self, experiment: str, measure: str, layer: int) -> pd.Series:
        """Return name, images, mean, low, high, p_holm; all missing where there was too little data for it."""
        key = (experiment, measure, layer)
        return self.table.loc[key] if key in self.table.index else pd.Series(dtype=float, index=self.table.columns)

    def mean(self, experiment: str, measure: str, layer: int) -> float:
        """Return a mean over images."""
        value = float(self.row(experiment, measure, layer)["mean"])
        self.missing |= not math.isfinite(value)
        return value

    def at_first(self, experiment: str, measure: str) -> float:
        """Return a mean at the first layer."""
        return self.mean(experiment, measure, self.first)

    def at_last(self, experiment: str, measure: str) -> float:
        """Return a mean at the last layer."""
        return self.mean(experiment, measure, self.last)

    def verdict(self, experiment: "Experiment") -> str:
        """Return in words whether what was expected came; without a number it speaks of, nothing is said."""
        self.missing = False
        holds = experiment.holds(self)
        return "cannot be told" if self.missing else "as expected" if holds else "not as expected"

    def all(self, experiment: str, measure: str) -> list[float]:
        """Return the means at every layer, the lowest first."""
        return [self.mean(experiment, measure, layer) for layer in self.layers]


@dataclass(frozen=True)
class Experiment:
    """`shown`: the measures of its table, by the heading of their column, as (experiment, measure).

    Columns with a dagger were added after a trial run on four images had shown that the others did not see enough;
    nothing was expected of them.
    """

    key: str
    title: str
    expected: str
    holds: Callable[[Results], bool]
    shown: dict[str, tuple[str, str]]


EXPERIMENTS = (
    Experiment(
        "parts",
        "Own part and reference part of the map",
        "Against one reference, half of a map's variance comes from the reference's features, at the first layer "
        "and at the last (0.35 to 0.65): image and reference enter alike. Against 16 references the reference part"
        " gives less than that at the first layer.",
        lambda r: (
            all(0.35 <= value <= 0.65 for value in (r.at_first("a other", "share"), r.at_last("a other", "share")))
            and r.at_first("b", "share") < r.at_first("a other", "share")
        ),
        {"1 reference": ("a other", "share"), "16 references": ("b", "share")},
    ),
    Experiment(
        "a",
        "Can the reference be told from the map?",
        "At the first layer the map singles out its reference among 100 candidates: AUC above 0.9, top-1 above "
        "0.5, alike for references of the same and of another class (AUCs within 0.05). At the last layer it does "
        "so less (AUC below 0.7). Of the two parts, the reference part carries it; the own part is nearer to "
        "chance (AUC below 0.7 at the first layer).",
        lambda r: (
            min(r.at_first("a same", "auc"), r.at_first("a other", "auc")) > 0.9
            and min(r.at_first("a same", "top 1"), r.at_first("a other", "top 1")) > 0.5
            and abs(r.at_first("a same", "auc") - r.at_first("a other", "auc")) < 0.05
            and max(r.at_last("a same", "auc"), r.at_last("a other", "auc")) < 0.7
            and r.at_first("a other", "auc own") < 0.7
        ),
        {
            "AUC, same class": ("a same", "auc"),
            "AUC, other class": ("a other", "auc"),
            "top-1, same": ("a same", "top 1"),
            "top-1, other": ("a other", "top 1"),
            "AUC, own part": ("a other", "auc own"),
            "AUC, reference part": ("a other", "auc reference"),
            "AUC, path image": ("a image path", "auc"),
            "AUC by difference †": ("a other", "auc difference"),
        },
    ),
    Experiment(
        "b",
        "Another set of references",
        "Two disjoint sets of 16 references give maps of the same image that correlate less than 0.7 at the first "
        "layer and more than 0.9 at the last.",
        lambda r: r.at_first("b", "correlation") < 0.7 and r.at_last("b", "correlation") > 0.9,
        {
            "correlation of the maps": ("b", "correlation"),
            "of their own parts": ("b", "correlation own"),
            "of their reference parts": ("b", "correlation reference"),
        },
    ),
    Experiment(
        "c",
        "More references",
        "At the first layer the references' outlines fade with their number J, with a slope of the log-log line "
        "between -1.15 and -0.35 (each has the weight 1/J; independent ones average out with J to the power -0.5),"
        " while the input's own outlines fade less (slope above that of the others' by 0.2 or more). The maps' "
        "spread over sets falls with -0.5 at every layer, which independent draws imply (-0.65 to -0.35).",
        lambda r: (
            -1.15 <= r.at_first("c", "slope others") <= -0.35
            and r.at_first("c", "slope own") - r.at_first("c", "slope others") >= 0.2
            and all(-0.65 <= value <= -0.35 for value in r.all("c", "slope spread"))
        ),
        {
            "slope, references' outlines": ("c", "slope others"),
            "slope, own outlines": ("c", "slope own"),
            "slope, spread": ("c", "slope spread"),
        },
    ),
    Experiment(
        "d",
        "References without outlines",
        "Against the mean training image and against the blurred image, maps do not single out the training images"
        " of (a): AUC between 0.42 and 0.58 at every layer. The map follows the input's own outlines more closely "
        "at the first layer than against one image (correlation larger by 0.1 or more).",
        lambda r: (
            all(0.42 <= value <= 0.58 for kind in ("mean", "blur") for value in r.all(f"d {kind}", "auc"))
            and min(r.at_first("d mean", "own outlines"), r.at_first("d blur", "own outlines"))
            >= r.at_first("a other", "own outlines") + 0.1
        ),
        {
            "AUC, mean": ("d mean", "auc"),
            "AUC, blur": ("d blur", "auc"),
            "own outlines, mean": ("d mean", "own outlines"),
            "own outlines, blur": ("d blur", "own outlines"),
            "own outlines, 1 reference": ("a other", "own outlines"),
        },
    ),
    Experiment(
        "e",
        "References of one class only",
        "At the first layer, references of the own class only and of other classes only give maps that are no more"
        " different than any two sets are (correlations within 0.1 of b): their class does not matter there. At "
        "the last layer they are more different (lower than b by 0.1 or more): there the class is the question.",
        lambda r: (
            abs(r.at_first("e", "correlation") - r.at_first("b", "correlation")) < 0.1
            and r.at_last("e", "correlation") < r.at_last("b", "correlation") - 0.1
        ),
        {"own class against others": ("e", "correlation"), "two mixed sets (b)": ("b", "correlation")},
    ),
    Experiment(
        "f",
        "A checkerboard in the references only",
        "Laid faintly over the references, and not over the image, a checkerboard appears in the first layer's "
        "map: it explains 0.05 more of the map's variance than without it. At the last layer it explains less than"
        " 0.02 more.",
        lambda r: r.at_first("f", "gain") > 0.05 and r.at_last("f", "gain") < 0.02,
        {
            "planted": ("f", "planted"),
            "not planted": ("f", "plain"),
            "difference": ("f", "gain"),
            "of the size of the map's change †": ("f", "change"),
            "change, of the map's size †": ("f", "size of change"),
        },
    ),
    Experiment(
        "g",
        "Flipped references",
        "With the reference mirrored, the outlines in the first layer's map are mirrored with it: among mirrored "
        "candidates AUC as in (a) within 0.05, among the candidates as they were below 0.65.",
        lambda r: (
            abs(r.at_first("g", "auc") - r.at_first("a other", "auc")) < 0.05
            and r.at_first("g", "auc unflipped") < 0.65
        ),
        {"AUC, mirrored candidates": ("g", "auc"), "AUC, candidates as they were": ("g", "auc unflipped")},
    ),
    Experiment(
        "h",
        "A network with random weights",
        "A network that has learned nothing shows the references' outlines in its first layer just as well: AUC "
        "within 0.1 of the trained network's.",
        lambda r: abs(r.at_first("h", "auc") - r.at_first("a other", "auc")) < 0.1,
        {
            "AUC, random weights": ("h", "auc"),
            "AUC, trained": ("a other", "auc"),
            "top-1, random": ("h", "top 1"),
            "AUC by difference, random †": ("h", "auc difference"),
        },
    ),
    Experiment(
        "i",
        "The image against itself",
        "Every value of every layer is exactly 0.",
        lambda r: all(value == 0 for value in r.all("i", "largest value")),
        {"largest absolute value": ("i", "largest value")},
    ),
)
