"""What a stage prints is for its user: other libraries' advertisements and advice are not shown."""

import logging
import warnings

LIBRARIES = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "mlflow", "alembic", "matplotlib", "torch",
             "urllib3", "git")  # fmt: skip


def quiet_libraries() -> None:
    """Show the project's own messages alone, and of other libraries errors."""
    own = logging.getLogger("layershap")
    own.setLevel(logging.INFO)
    own.propagate = False
    if not own.handlers:
        own.addHandler(logging.StreamHandler())
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning|mlflow|torch|torchvision)\b")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
