"""DVC as this package calls it: in a process of its own, and its way of changing a setting."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from layershap.workspace import paths
from layershap.workspace.params import check_params, read_yaml


def run_dvc(*arguments: str) -> int:
    """Run a command of DVC and return its exit status.

    The stages' commands are found also where the environment was not activated.
    """
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": here}
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False, env=environment).returncode


def set_setting(name: str, value: Any) -> None:
    """Set `section.key` in params.yaml, comments kept, as `dvc exp run -S` does; SettingsError where it cannot be."""
    section, _, key = name.partition(".")
    content = read_yaml(paths.PARAMS)
    known = content.get(section)
    if isinstance(known, dict) and known.get(key) == value:
        return
    check_params({**content, section: {**(known if isinstance(known, dict) else {}), key: value}}, str(paths.PARAMS))
    from dvc.utils.serialize import modify_yaml  # takes a second to load

    with modify_yaml(str(paths.PARAMS)) as settings:
        settings[section][key] = value
