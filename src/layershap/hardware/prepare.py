"""What every stage that computes does first."""

import os
import warnings
from datetime import timedelta
from typing import Any

import torch

from layershap.hardware.memory import keep_freed_memory
from layershap.hardware.processes import Processes
from layershap.hardware.repeatable import repeatable_on
from layershap.workspace import ranks
from layershap.workspace.errors import SettingsError, first_line
from layershap.workspace.params import Params, Trainer
from layershap.workspace.parent import end_with
from layershap.workspace.quiet import quiet_libraries

PATIENCE = timedelta(hours=2)  # for one another; who has died is known at once to who started the processes


def prepare(params: Params, alone: bool = False) -> Processes:
    """Fix the number of threads and torch's generator, quiet other libraries, and join the processes of the stage.

    `alone`: what is run is for one process, whatever the settings say of devices.

    Raises SettingsError where the machine has not what `trainer` asks for.
    """
    keep_freed_memory()
    quiet_libraries()
    torch.set_num_threads(params.runtime.threads)
    settings = params.trainer
    processes = join(settings.model_copy(update={"devices": 1, "num_nodes": 1}) if alone else settings)
    repeatable_on(processes.device)
    torch.manual_seed(params.train.seed)
    return processes


def join(settings: Trainer) -> Processes:
    """Return this process among those that were started with it, joined by torch.distributed where there are others."""
    count = ranks.count()
    if count == 1 and not needs_lightning(settings):
        return Processes()
    if os.environ.get(ranks.LAUNCHED):
        end_with(os.getppid())
    fabric = build_fabric(settings)
    fabric.launch()
    return Processes(fabric.global_rank, fabric.world_size, fabric.device, fabric)


def needs_lightning(settings: Trainer) -> bool:
    """Return whether more is asked for than one process on this processor in float32."""
    here = settings.accelerator == "cpu" or (settings.accelerator == "auto" and not torch.accelerator.is_available())
    return not (settings.plain and here)


def build_fabric(settings: Trainer) -> Any:
    """Return Lightning's Fabric of these settings; not launched. Raises SettingsError."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    quiet_libraries()  # it sets its own level when it is imported
    options = resolved(settings)
    several = options["devices"] != 1 or options["num_nodes"] > 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if several and (settings.strategy == "ddp" or ranks.count() > 1):
                options["strategy"] = DDPStrategy(timeout=PATIENCE)
            fabric = Fabric(**options)
    except Exception as error:  # Lightning's own checks raise errors of many kinds
        shown = ", ".join(f"{name} {value}" for name, value in settings.model_dump().items())
        raise SettingsError(f"trainer: this machine cannot do {shown}: {first_line(error)}") from None
    if fabric.device.type == "cpu" and settings.precision == "16-mixed":
        raise SettingsError("trainer.precision: 16-mixed needs a GPU; here bf16-mixed or 32-true")
    return fabric


def resolved(settings: Trainer) -> dict[str, Any]:
    """Return the settings for Lightning: `devices: auto` below a launcher is as many as it has started."""
    options = settings.model_dump()
    count = ranks.count()
    if count > 1 and settings.devices == "auto":
        here = int(os.environ.get("LOCAL_WORLD_SIZE") or count // int(os.environ.get("SLURM_NNODES") or 1))
        options |= {"devices": here, "num_nodes": count // here}
    return options
