"""Which of the processes of one stage this is, as torchrun, SLURM and others tell their processes. Imports nothing."""

import os

LAUNCHED = "LAYERSHAP_LAUNCHED"  # set for what runs below the launcher of the settings
RANK = ("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
COUNT = ("WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE")


def rank() -> int:
    """Return the number of this process, from 0; 0 where it is alone."""
    return _number(RANK, 0)


def count() -> int:
    """Return how many processes were started together; 1 where this one is alone."""
    return _number(COUNT, 1)


def first() -> bool:
    """Return whether this process is the one that talks, holds the lock and writes what is one for all."""
    return rank() == 0


def _number(names: tuple[str, ...], otherwise: int) -> int:
    for name in names:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return otherwise
