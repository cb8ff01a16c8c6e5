"""Settings given beside params.yaml, NAME=VALUE: several in one text, and what params.yaml would be with them."""

from collections.abc import Iterable, Sequence
from typing import Any

from layershap.workspace import paths
from layershap.workspace.errors import SettingsError
from layershap.workspace.params import Params, check_params, read_yaml

CLOSING = {"[": "]", "{": "}", "(": ")"}


def split_settings(text: str) -> list[str]:
    """Return the settings in `text`, which spaces part as they part the words of a shell.

    A space within quotes or brackets parts nothing. Quotes stay where they are, for they belong to the value as
    `dvc exp run -S` reads it; after a backslash a character is as any other. Raises SettingsError where a quote or
    bracket is left open, or a part is not NAME=VALUE.
    """
    found: list[str] = []
    brackets: list[str] = []
    part = quote = ""
    letters = iter(text)
    for letter in letters:
        if letter.isspace() and not quote and not brackets:
            found.append(part)
            part = ""
            continue
        part += letter
        if letter == "\\":
            part += next(letters, "")
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in CLOSING:
            brackets.append(CLOSING[letter])
        elif brackets and letter == brackets[-1]:
            brackets.pop()
    if quote or brackets:
        raise SettingsError(f"no {quote or brackets[-1]} closes what is opened in '{part}'")
    found = [setting for setting in [*found, part] if setting]
    for setting in found:
        if not setting.partition("=")[1]:
            raise SettingsError(f"'{setting}' is no NAME=VALUE; quote a value that has spaces")
    return found


def overridden(settings: Sequence[str]) -> Params:
    """Return the settings of params.yaml with others in their place, as `dvc exp run -S` reads these.

    Raises SettingsError that names what is wrong. params.yaml stays as it is. Several values for one setting (a
    sweep) are left to DVC.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import to_hydra_overrides
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    content = OmegaConf.create(read_yaml(paths.PARAMS))
    for setting in settings:
        try:
            given: Iterable[str] = to_path_overrides([setting]).get(str(paths.PARAMS), [])
            found = [each for each in to_hydra_overrides(list(given)) if not each.is_sweep_override()]
            ConfigLoaderImpl._apply_overrides_to_config(found, content)
        except (HydraException, DvcException) as error:
            raise SettingsError(f"{setting}: cannot be read ({str(error).splitlines()[0]})") from None
    changed: Any = OmegaConf.to_object(content)
    return check_params(changed, "--set")
