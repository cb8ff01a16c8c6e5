"""The command line: `layershap STAGE` is the command behind each DVC stage."""

import errno
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layershap import __version__
from layershap.launch import check_hardware, launch
from layershap.workspace import errors, paths, ranks
from layershap.workspace.dvc_command import run_dvc, set_setting
from layershap.workspace.errors import InputError, UserError
from layershap.workspace.lock import only_one

if TYPE_CHECKING:
    from layershap.workspace.params import Params

STUDIES = ("quality", "other-faces", "folds")
STAGES = ("fetch", "split", "extract", "train", "evaluate", "report", "quality", "other-faces")
SHARED = ("extract", "train", "evaluate")  # stages that several processes can compute together; explain is another
HERE = Path.cwd()  # where the user stands: commands work in the project's folder
GRACE = 5.0  # seconds
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
LOST = re.compile(r"closed by peer|Connection (reset|refused)|[Tt]imed out|NCCL|Broken pipe")  # as gloo, NCCL say it


class UserPath(click.Path):
    """A path that the user gives: relative to where the user stands."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return it as an absolute path."""
        return Path(os.fsdecode(super().convert(HERE / value, param, ctx)))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Train an image classifier and show, layer by layer, what every feature contributed."""
    os.chdir(Path.cwd() if "DVC_ROOT" in os.environ else paths.project_root())


def _checked(changed: Sequence[str] = ()) -> "Params":
    """Check all settings, with those `changed` (NAME=VALUE), before any work, and before anything slow is imported.

    Whether torchvision or timm has a network of a name they alone can say, and loading them takes seconds: that is
    asked only of names that the settings do not know.
    """
    from layershap.workspace.params import KNOWN_BACKBONES, load_params

    params = load_params()
    if changed:
        from layershap.workspace.overrides import overridden

        params = overridden(changed)
    if params.gate.min_inside is not None:
        from layershap.data.bring_masks import check_asked

        check_asked(params)
    model = params.model
    if model.backbone not in KNOWN_BACKBONES or model.weights == "own":
        from layershap.model.networks import check_model

        check_model(model)
    return params


def _add_stage(name: str) -> None:
    module = f"layershap.stages.{name.replace('-', '_')}"

    @cli.command(name, help=f"Run the stage {name}.", short_help=f"run the stage {name}")
    def command() -> None:
        params = _checked()
        if name in SHARED:
            launch(name, params)
        with only_one(name):
            import_module(module).run()


for _name in STAGES:
    _add_stage(_name)


@cli.command()
@click.argument("images", nargs=-1, type=UserPath(exists=True, dir_okay=False))
@click.option("--layer", "layers", multiple=True, help="Name or number of a layer; several times for several.")
@click.option("--out", default="explained", show_default=True, type=UserPath(file_okay=False), help="Folder.")
def explain(images: tuple[Path, ...], layers: tuple[str, ...], out: Path) -> None:
    """Run the stage explain; or explain the given IMAGES with the trained model and draw their contact sheets."""
    params = _checked()
    if images:
        from layershap.serving.explain_files import explain_files

        explain_files(images, layers, out)
    else:
        launch("explain", params)
        with only_one("explain"):
            import_module("layershap.stages.explain").run()


@cli.command(context_settings={"ignore_unknown_options": True})
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting; without a value it is left.")
@click.option(
    "--settings",
    "several",
    default="",
    metavar="TEXT",
    help="Several settings, with spaces between them but within quotes and brackets: 'train.epochs=5 head.hidden=[32]'",
)
@click.argument("others", nargs=-1, type=click.UNPROCESSED, metavar="[DVC OPTIONS AND STAGES]")
def repro(settings: tuple[str, ...], several: str, others: tuple[str, ...]) -> None:
    """Run the pipeline with some settings changed, as `dvc exp run -S` does; without any, as `dvc repro` does.

    A setting that is given twice is as --settings has it, else as the last --set. A wrong one is named before any work.
    What a kill or a full disk left half-written of DVC's own files is set aside first. DVC's options (--force,
    --single-item) and names of stages are handed on to it.
    """
    if not any((folder / ".git").exists() for folder in (Path.cwd(), *Path.cwd().parents)):
        raise InputError(f"{Path.cwd()} is no git repository, which DVC needs: 'git init', 'git add -A' and commit")
    from layershap.workspace.dvc_leftovers import mend_leftovers
    from layershap.workspace.overrides import split_settings

    given = [setting for setting in [*settings, *split_settings(several)] if setting.partition("=")[2]]
    params = _checked(given)  # a wrong setting is named before DVC reads it
    check_hardware(params)
    for mended in mend_leftovers():
        click.echo(mended, err=True)
    options = [option for setting in given for option in ("-S", setting)]
    sys.exit(run_dvc(*(["exp", "run", *options] if given else ["repro"]), *others))


@cli.command()
@click.option("--folds", "count", type=click.IntRange(2, 20), help="How many: sets split.folds in params.yaml.")
def folds(count: int | None) -> None:
    """k-fold cross-validation: train and evaluate once for each of split.folds parts of the images.

    The features are made if they are not there; folds that are done are not done again. Inside DVC, run the stage.
    """
    if "DVC_STAGE" in os.environ:
        params = _checked()
        with only_one("folds"):
            import_module("layershap.stages.folds").run()
        return
    if count is not None:
        set_setting("split.folds", count)
    params = _checked()
    for command in (["repro", "extract"], ["--cd", "study", "repro", "record_folds"]):
        if code := run_dvc(*command):
            sys.exit(code)
    from layershap.stages.gate import take_folds

    take_folds(params.gate)


@cli.command()
@click.argument("space")
@click.option("--trials", default=20, show_default=True, type=click.IntRange(1), help="In all, earlier ones too.")
def search(space: str, trials: int) -> None:
    """Search a SPACE of study/search.yaml for the settings with the least validation loss; test images are not used.

    Ctrl-C ends it, and the same command goes on. At its end it prints the best settings as options of `dvc exp run`.
    """
    _checked()
    from layershap.stages import search as stage

    stage.checked(space)
    if code := run_dvc("repro", "split"):
        sys.exit(code)
    with only_one("search"):
        stage.run(space, trials)


@cli.command()
@click.option("--check", is_flag=True, help="For CI: exit with 1 on FAIL, 3 on INVALID; the project's files stay.")
@click.option("--junit", type=UserPath(dir_okay=False), help="With --check: write a JUnit report here.")
@click.option("--markdown", type=UserPath(dir_okay=False), help="With --check: write the verdict as Markdown here.")
def gate(check: bool, junit: Path | None, markdown: Path | None) -> None:
    """Judge the evaluated model against the settings and the baseline; write metrics/gate.json.

    With --check also whether dvc.lock knows the settings, the code and the numbers that are here.
    """
    from layershap.stages import gate as stage
    from layershap.workspace.params import load_params

    params = load_params()
    if check:
        sys.exit(stage.check(junit, markdown))
    if junit or markdown:
        raise click.UsageError("--junit and --markdown go with --check")
    with only_one("gate"):
        if params.gate.min_agreement is None:
            sys.exit(stage.run())
        from layershap.stages.agreement import with_champion

        sys.exit(stage.run(with_champion()))


@cli.command()
@click.argument("study", required=False, type=click.Choice(STUDIES))
def record(study: str | None) -> None:
    """Bring the model's MLflow run to what the pipeline wrote, or a STUDY; doing it again changes nothing."""
    from layershap.workspace.params import load_params

    load_params()
    from layershap.stages import record as stage

    with only_one("record"):
        if study:
            stage.run_study(study.replace("-", "_"))
        else:
            stage.run()


@cli.command()
def baseline() -> None:
    """Make the evaluated model the baseline that the gate compares later ones with."""
    from layershap.stages import gate as stage

    stage.save_baseline()


@cli.command()
def promote() -> None:
    """Make the model that is here the registered champion, if the gate passes it."""
    from layershap.stages.promote import run

    run()


@cli.command()
def check() -> None:
    """Check params.yaml alone."""
    _checked()


@cli.command()
@click.argument("pattern", required=False)
def backbones(pattern: str | None) -> None:
    """List the networks that model.backbone takes: those whose name has PATTERN in it, or fits it (resnet*)."""
    from layershap.stages.backbones import run

    run(pattern)


@cli.command()
@click.argument("first", metavar="[A]", required=False)
@click.argument("second", metavar="[B]", default="workspace")
@click.option("--out", type=UserPath(dir_okay=False), help="The page's file.  [default: reports/compare.html]")
@click.option("--no-record", is_flag=True, help="Do not keep the page with the MLflow run of B.")
@click.option("--markdown", type=UserPath(dir_okay=False), help="Write it without pictures, for a pull request.")
@click.option("--pictures", default="", metavar="URL", help="With --markdown: where it says that the pictures are.")
def compare(
    first: str | None, second: str, out: Path | None, no_record: bool, markdown: Path | None, pictures: str
) -> None:
    """Set two models side by side on one page: A (the registered champion), B (the workspace).

    Each is `workspace`, an MLflow run (id or name), models:/NAME@ALIAS, models:/NAME/VERSION, a DVC experiment, or a
    git revision. Nothing is trained or explained again.
    """
    if pictures and not re.fullmatch(r"https?://[^\s<>]+", pictures):
        raise click.UsageError(f"--pictures takes an address that begins with http:// or https://, not {pictures!r}")
    from layershap.stages.compare import run

    run(first, second, out, not no_record, markdown, pictures)


@cli.command()
def summary() -> None:
    """Print what the last run reached, where its pictures are, and how to open the MLflow UI."""
    from layershap.stages.summary import run

    run()


@cli.command()
def sync() -> None:
    """Send to MLflow what could not be sent while it was out of reach."""
    from layershap.tracking.sync import sync as send

    click.echo(f"{send(click.echo)} calls sent")


@cli.command()
@click.option("--port", default=5000, show_default=True, help="Port on 127.0.0.1.")
def ui(port: int) -> None:
    """Open the MLflow UI on the project's store."""
    from layershap.tracking.ui import serve_ui

    serve_ui(port)


def _exit_on_signal(number: int, _: object) -> None:
    # of a statement that is broken off here SQLAlchemy would log, with a traceback, that its cursor was closed already
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    if ranks.first():
        sys.exit(128 + number)
    # the first process is to end where it stands and close its run: without the others, what it waits for breaks off
    ending = threading.Timer(GRACE, os._exit, [128 + number])
    ending.daemon = True
    ending.start()


def main() -> None:
    """Run the command line; a user's mistake is a message and an exit status, not a traceback.

    SIGTERM ends with 143 and SIGINT with 130, so that DVC never takes what is half done for finished.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_on_signal)
    try:
        cli.main(standalone_mode=False)
    except UserError as error:
        who = f" (rank {ranks.rank()})" if ranks.count() > 1 else ""
        click.echo(f"layershap{who}: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except RuntimeError as error:
        if ranks.count() == 1 or not LOST.search(str(error)):
            raise
        click.echo(f"layershap (rank {ranks.rank()}): another process of this stage has ended", err=True)
        sys.exit(1)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not Path(error.filename or "/").is_absolute():
            click.echo(f"layershap: no {error.filename}: run 'dvc repro', which makes it", err=True)
            sys.exit(InputError.exit_code)
        if error.errno not in FULL_DISK:
            raise
        place = error.filename or f"{Path.cwd()} or of temporary files"
        click.echo(f"layershap: {error.strerror}, on the disk of {place}; free some and run the same again", err=True)
        sys.exit(errors.FULL_DISK)
    except click.Abort:
        click.echo("layershap: interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
