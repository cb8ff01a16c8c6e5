"""What the gate judges by: read, and checked for agreeing with itself, before anything is concluded from it."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AGAIN = "run 'dvc repro' again"
Found = TypeVar("Found")


class Facts(BaseModel):
    """Content of a file of numbers; what is not named is left."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Measured(Facts):
    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share
    n_test: Annotated[int, Field(ge=1)]
    test_digest: Annotated[str, Field(min_length=8)]


class Evaluated(_Measured):
    """metrics/evaluate.json, as far as the gate reads it."""

    balanced_accuracy: Share


class Explained(Facts):
    """metrics/explain.json, as far as the gate reads it."""

    images: Annotated[int, Field(ge=1)]
    layers: Annotated[int, Field(ge=1)]
    maps: Count
    constant_maps: Count
    largest_relative_gap: Size
    engine: str


class Divided(Facts):
    """metrics/split.json, as far as the gate reads it."""

    pictures_in_two_splits: Count
    test: dict[str, Count]


class Baseline(_Measured):
    """baseline/baseline.json: an earlier model. `wrong`: pixels of the test images that it decided wrongly, counted."""

    wrong: dict[str, Annotated[int, Field(ge=1)]]


@dataclass(frozen=True)
class Evidence:
    """`wrong`: how many of the test images with these pixels were decided wrongly. `baseline`: None without one."""

    evaluated: Evaluated
    explained: Explained
    divided: Divided
    wrong: Counter[str]
    baseline: Baseline | None


class InvalidEvidenceError(ValueError):
    """What the gate needs is missing, broken, or contradicts itself; `reasons`: a sentence for each."""

    def __init__(self, reasons: list[str]):
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def read_evidence(
    evaluated: Path, explained: Path, divided: Path, predictions: Path, baseline: Path | None
) -> Evidence:
    """Read the files of these stages. Raises InvalidEvidenceError with all that is wrong."""
    reasons: list[str] = []

    def attempt(read: Callable[[], Found]) -> Found | None:
        try:
            return read()
        except InvalidEvidenceError as error:
            reasons.extend(error.reasons)
            return None

    numbers = attempt(lambda: read_facts(evaluated, Evaluated))
    maps = attempt(lambda: read_facts(explained, Explained))
    split = attempt(lambda: read_facts(divided, Divided))
    rows = attempt(lambda: read_predictions(predictions))
    known = attempt(lambda: read_facts(baseline, Baseline)) if baseline and baseline.exists() else None
    if numbers is not None and rows is not None:
        reasons += _contradictions(numbers, rows, predictions, evaluated)
    if numbers is not None and split is not None and sum(split.test.values()) != numbers.n_test:
        total = sum(split.test.values())
        reasons.append(f"{divided} has {total} test images and {evaluated} {numbers.n_test}; {AGAIN}")
    if known is not None and sum(known.wrong.values()) != round((1 - known.accuracy) * known.n_test):
        reasons.append(
            f"{baseline} contradicts itself: accuracy and wrong images do not agree; run 'layershap baseline'"
        )
    if reasons or numbers is None or maps is None or split is None or rows is None:
        raise InvalidEvidenceError(reasons)
    wrong = Counter(row["pixels"] for row in rows if row["label"] != row["predicted"])
    return Evidence(numbers, maps, split, wrong, known)


def read_predictions(path: Path) -> list[dict[str, str]]:
    """Return the rows of the table of predictions, each checked: a decision is the class with most probability."""
    columns = {"path", "label", "predicted", "correct", "pixels"}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except FileNotFoundError:
        raise InvalidEvidenceError([f"no {path}; {AGAIN}"]) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidEvidenceError([f"{path} cannot be read ({error}); {AGAIN}"]) from None
    if not rows or columns - set(rows[0]):
        raise InvalidEvidenceError([f"{path} has no rows with {', '.join(sorted(columns))}; {AGAIN}"])
    for number, row in enumerate(rows, 2):
        if wrong := _wrong_row(row):
            raise InvalidEvidenceError([f"{path}, line {number}: {wrong}; {AGAIN}"])
    return rows


def _wrong_row(row: dict[str, Any]) -> str:
    if None in row or None in row.values():
        return "columns are missing, or too many"
    if row["correct"] != str(int(row["label"] == row["predicted"])):
        return f"correct is {row['correct']!r}, with label {row['label']!r} and predicted {row['predicted']!r}"
    try:
        probabilities = {name[2:]: float(value) for name, value in row.items() if name.startswith("p_")}
    except ValueError:
        return "a probability is no number"
    if not all(0 <= value <= 1 for value in probabilities.values()):
        return "a probability is not from 0 to 1"
    if not abs(sum(probabilities.values()) - 1) <= 1e-5 * max(len(probabilities), 1):
        return f"probabilities add up to {sum(probabilities.values()):g}"
    if probabilities.get(row["predicted"], -1.0) < max(probabilities.values()):
        return f"predicted is {row['predicted']!r}, which is not the class with most probability"
    if len(row["pixels"]) < 8:
        return f"pixels is {row['pixels']!r}, not a digest"
    return ""


def _contradictions(numbers: Evaluated, rows: list[dict[str, str]], predictions: Path, evaluated: Path) -> list[str]:
    right = sum(row["label"] == row["predicted"] for row in rows)
    reasons = []
    if len(rows) != numbers.n_test:
        reasons.append(f"{predictions} has {len(rows)} images, {evaluated} counts {numbers.n_test}; {AGAIN}")
    elif abs(right / len(rows) - numbers.accuracy) > 1e-9:
        reasons.append(
            f"{predictions} has {right} of {len(rows)} images right, which is not accuracy {numbers.accuracy:g} "
            f"in {evaluated}; {AGAIN}"
        )
    if not numbers.accuracy_low <= numbers.accuracy <= numbers.accuracy_high:
        reasons.append(f"{evaluated}: accuracy {numbers.accuracy:g} is outside its own interval; {AGAIN}")
    return reasons


def read_facts(path: Path, kind: type[Found], again: str = AGAIN) -> Found:
    """Read a JSON file as `kind`; InvalidEvidenceError says what is wrong with it and, by `again`, what to run."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidEvidenceError([f"no {path}; {again.removesuffix(' again')}"]) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidEvidenceError([f"{path} is not readable JSON ({error}); restore it, or {again}"]) from None
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'content'}: {item['msg'][0].lower()}{item['msg'][1:]}"
            + ("" if item["type"] == "missing" else f", not {str(item['input'])[:40]!r}")
            for item in error.errors()[:5]
        )
        raise InvalidEvidenceError([f"{path}: {wrong}; restore it, or {again}"]) from None
