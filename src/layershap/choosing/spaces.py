"""Spaces to search, as study/search.yaml names them, checked against the settings before any work."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from layershap.workspace.errors import SettingsError
from layershap.workspace.params import Params, check_params, read_yaml

# of what is trained; the others change images, measures or machines
SECTIONS = ("augment", "extract", "head", "model", "train")
# a validation loss under another one of these is another quantity
MEASURES = ("train.class_weights", "train.soft_labels")


class Range(BaseModel):
    """Numbers from `low` to `high`, both among them; `log`: as likely in each power of ten; `step`: only every so far.

    Between whole numbers lie whole numbers alone.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    low: Annotated[int | float, Field(alias="from")]
    high: Annotated[int | float, Field(alias="to")]
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _something_to_choose(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"from must be less than to, and is {self.low:g} to {self.high:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log: true needs from above 0, and no step")
        if self.whole and isinstance(self.step, float):
            raise ValueError(f"step must be a whole number as from and to are, not {self.step:g}")
        return self

    @property
    def whole(self) -> bool:
        """Whether it is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Space:
    """`settings`: by dotted name, the values to choose from, or a range."""

    name: str
    settings: dict[str, list[Any] | Range]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            name: choice.model_dump() if isinstance(choice, Range) else choice for name, choice in self.settings.items()
        }

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Return whether these values, by dotted name, lie in it."""
        for name, choice in self.settings.items():
            value = settings[name]
            if isinstance(choice, Range):
                number = isinstance(value, (int, float)) and not isinstance(value, bool)
                if not number or not choice.low <= value <= choice.high or choice.step is not None:
                    return False
            elif value not in choice:
                return False
        return True


def read_space(path: Path, name: str, params: Params) -> Space:
    """Read the space of this name; SettingsError names what of it cannot be, with a line for each."""
    content = read_yaml(path)
    if name not in content:
        raise SettingsError(f"{path}: no space {name!r}; there are {', '.join(map(str, content)) or 'none'}")
    given = content[name]
    if not isinstance(given, dict) or not given:
        raise SettingsError(f"{path}: {name}: must map settings to values, and is {given!r}")
    found: dict[str, list[Any] | Range] = {}
    wrong = []
    for setting, choice in given.items():
        try:
            found[setting] = _checked(str(setting), choice, params)
        except ValueError as error:
            wrong.append(f"{path}: {name}: {setting}: {error}")
        except SettingsError as error:
            wrong += [f"{path}: {name}: {line}" for line in str(error).splitlines()]
    if wrong:
        raise SettingsError("\n".join(wrong))
    return Space(name, found)


def _checked(setting: str, choice: Any, params: Params) -> list[Any] | Range:
    section, _, key = setting.partition(".")
    content = params.model_dump()
    if section not in content or not isinstance(content[section], dict) or key not in content[section]:
        raise ValueError("no such setting in params.yaml; write it as section.key, such as head.dropout")
    if section not in SECTIONS:
        raise ValueError(f"cannot be searched, only settings of {', '.join(SECTIONS)} can; remove it")
    if setting in MEASURES:
        raise ValueError("cannot be searched: another one makes the validation loss another quantity; remove it")
    if isinstance(choice, dict):
        try:
            found = Range.model_validate(choice)
        except ValidationError as error:
            said = error.errors()[0]
            where = ".".join(map(str, said["loc"]))
            raise ValueError(f"{where}{': ' if where else ''}{said['msg'].removeprefix('Value error, ')}") from None
        values = [found.low, found.high]
        changed: list[Any] | Range = found
    elif isinstance(choice, list) and choice:
        if len({json.dumps(value) for value in choice}) < len(choice):
            raise ValueError(f"names a value twice in {choice!r}; remove one")
        values, changed = choice, choice
    else:
        raise ValueError(f"must be a list of values or a range {{from: , to: }}, not {choice!r}")
    for value in values:
        check_params(with_settings(content, {setting: value}), "with it")
    return changed


def with_settings(content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain settings with some, by dotted name, changed."""
    result = dict(content)
    for name, value in settings.items():
        section, _, key = name.partition(".")
        result[section] = {**result[section], key: value}
    return result


def values_of(params: Params, space: Space) -> dict[str, Any]:
    """Return the present values of a space's settings."""
    content = params.model_dump()
    parts = {name: name.split(".", 1) for name in space.settings}
    return {name: content[section][key] for name, (section, key) in parts.items()}
