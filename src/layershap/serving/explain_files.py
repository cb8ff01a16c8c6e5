"""`layershap explain IMAGE ...`: the trained model's decision on any image, with a contact sheet of its layers."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from layershap.data.images import RefusedImageError, read_image
from layershap.hardware.prepare import prepare
from layershap.plots import canvas
from layershap.progress import progress_bar
from layershap.reporting import figures
from layershap.reporting.contact_sheet import explained_sheet
from layershap.reporting.layer_numbers import layer_numbers
from layershap.serving.predictor import Predictor
from layershap.workspace import paths
from layershap.workspace.errors import InputError
from layershap.workspace.params import load_params


def explain_files(files: Sequence[Path], layers: Sequence[str], folder: Path) -> None:
    """Print the decision on every image and its sums by layer, and write `folder`/<name>.png.

    `layers`: names or numbers; none: all. The settings are those of params.yaml; the references are the training
    images that are kept with the model. A file that cannot be read is left out, and
    named in the InputError that is raised when the others are done.
    """
    params = load_params()
    prepare(params, alone=True)
    if not paths.MODEL_REFERENCES.exists():
        raise InputError(f"no model in {paths.MODELS}: run 'dvc repro train' first")
    predictor = Predictor(paths.MODELS)
    settings = params.explain
    options = {"path": settings.path, "segments": settings.segments, "tolerance": settings.tolerance}
    units = figures.unit(settings.output, predictor.description.classes)
    names = unique_names(files)
    console = Console()
    unread = []
    for file, name in progress_bar(list(zip(files, names, strict=True)), desc="explain", unit="image"):
        try:
            image = predictor.read([read_image(file)])
        except (RefusedImageError, OSError) as error:
            unread.append(f"{file}: {error}")
            continue
        (decision,) = predictor.predict(image)
        explained = predictor.explain(image, layers or None, output=settings.output, **options)
        sure = decision.probabilities[decision.label]
        table = Table(title=f"{file}: {decision.label}, {sure:.1%} sure", title_justify="left")
        rows = layer_numbers(name, explained)
        sums = ["negative", "positive", *(["prefix"] if any(row["prefix"] for row in rows) else []), "total"]
        titles = {"negative": "below 0", "positive": "above 0", "total": "sum"}
        for column in ("layer", "name", *(titles.get(column, column) for column in sums), "gap"):
            table.add_column(column, justify="left" if column == "name" else "right")
        for row in rows:
            numbers = [f"{row[column]:.3f}" for column in sums]
            table.add_row(str(row["layer"]), row["name"], *numbers, f"{row['gap']:.0e}")
        heading, compared = (
            f"{name}: {decision.label} ({sure:.0%} sure)",
            f"mean of {len(predictor.references)} references",
        )
        sheet = explained_sheet(figures.picture(image[0]), explained, heading, compared, units, pale=settings.pale)
        canvas.save(sheet, folder / f"{name}.png")
        console.print(table)
        console.print(f"{folder / name}.png")
    if (views := predictor.description.views) > 1:
        console.print(f"decisions average {views} views; explanations are of the image as it is")
    if unread:
        raise InputError(f"{len(unread)} of {len(files)} files cannot be read: {'; '.join(unread)}")


def unique_names(files: Sequence[Path]) -> list[str]:
    """Return the files' names without suffix, with their number where two are alike."""
    stems = [file.stem for file in files]
    return [stem if stems.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(stems, 1)]
