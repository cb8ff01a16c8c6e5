"""Starting the processes of a stage: by the launcher of the settings, or one for each device of this machine."""

import logging
import os
import shlex
import shutil
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

from layershap.workspace import ranks
from layershap.workspace.errors import SettingsError, UserError
from layershap.workspace.params import Params


class ProcessError(UserError):
    """One of the processes of a stage has died, and the others were ended."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def launch(stage: str, params: Params) -> None:
    """Run `stage` in the processes that the settings ask for and end this one; return where it is to run in this one.

    `launcher`: this process becomes the launcher, with the stage as its command. Otherwise torch's elastic agent, which
    is in torchrun too, starts a process for each device; one that dies ends the others, and is named.
    """
    if ranks.LAUNCHED in os.environ or ranks.count() > 1:
        return
    if params.launcher:
        _become(shlex.split(params.launcher), stage)
    count = _devices(params)
    if count > 1:
        _start(count, stage)


def check_hardware(params: Params) -> None:
    """Raise SettingsError where this machine has not what `trainer` asks for; with a launcher others compute."""
    every_machine_has = params.trainer.plain and params.trainer.accelerator in ("auto", "cpu")
    if not (params.launcher or every_machine_has):  # to ask Lightning takes seconds
        _devices(params)


def _become(launcher: list[str], stage: str) -> None:
    program = shutil.which(launcher[0]) or shutil.which(launcher[0], path=str(Path(sys.executable).parent))
    if program is None:
        raise SettingsError(f"launcher: no program {launcher[0]!r} is found; install it, or set launcher to null")
    # torchrun takes a Python file, srun a program: the command's own file is both
    command = Path(sys.executable).with_name("layershap")
    os.environ[ranks.LAUNCHED] = "1"
    sys.stdout.flush()
    os.execv(program, [*launcher, str(command), stage])


def _devices(params: Params) -> int:
    """Return how many processes Lightning would have on this machine."""
    settings = params.trainer
    if settings.num_nodes > 1:
        raise SettingsError(
            "trainer.num_nodes: several machines need a launcher that starts processes on each, such as "
            "launcher: srun, or torchrun on each machine"
        )
    if settings.accelerator == "cpu" and settings.plain:
        return 1
    from layershap.hardware.prepare import build_fabric, needs_lightning

    if not needs_lightning(settings):
        return 1
    return int(build_fabric(settings).world_size)


def _start(count: int, stage: str) -> None:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what happened is said below
    os.environ[ranks.LAUNCHED] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.5,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "layershap.cli", stage)
    except SignalException as error:
        sys.exit(128 + int(error.sigval))
    except ChildFailedError as error:
        raise _failure(error, stage, count) from None
    sys.exit(0)


def _failure(error: Any, stage: str, count: int) -> ProcessError:
    rank, failure = error.get_first_failure()
    code = int(failure.exitcode)
    if code < 0:
        what, code = f"was ended by {signal.Signals(-code).name}", 128 - code
    else:
        what = f"ended with exit status {code}"
    return ProcessError(
        f"{stage}: rank {rank} of {count} processes (pid {failure.pid}) {what}, and the others were ended; what was "
        f"written is whole: run the same again",
        code,
    )
