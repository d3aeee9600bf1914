"""Reads the environment and ``.env``. Nothing else in TaskFlow does."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import dotenv
import msgspec

from taskflow.model.errors import SettingsError
from taskflow.settings.catalogue import Setting, catalogue, hints, item_of
from taskflow.settings.fields import PREFIX, Settings

# What clients and the command line read; one .env may be for both.
_OF_CLIENTS: Final = ("TASKFLOW_URL", "TASKFLOW_API_KEY")


class Examined(NamedTuple):
    """What the environment and ``.env`` say, whether it can be used or not.

    Attributes:
        settings: The settings; ``None`` if something cannot be used.
        faults: A line for each value that cannot be used.
        warnings: A line for each variable that looks misspelt.
    """

    settings: Settings | None
    faults: list[str]
    warnings: list[str]


def load(
    environ: Mapping[str, str] | None = None,
    dotenv_path: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> tuple[Settings, list[str]]:
    """Read the settings, and say what is odd about them.

    Args:
        environ: The environment; the process's own if not given.
        dotenv_path: A file of defaults under it; ``.env`` in the working directory if not
            given. It need not exist.
        overrides: Variables that go before all others, from the command line.

    Returns:
        The settings, and a line for each variable that looks misspelt.

    Raises:
        SettingsError: A value cannot be used; names the variable and what is allowed.
    """
    examined = examine(environ, dotenv_path, overrides)
    if examined.settings is None:
        raise SettingsError(examined.faults[0])
    return examined.settings, examined.warnings


def examine(
    environ: Mapping[str, str] | None = None,
    dotenv_path: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Examined:
    """The same, with all that cannot be used; the arguments are those of ``load``."""
    faults: list[str] = []
    found: dict[str, str | None] = {}
    try:
        found |= _read_dotenv(Path(".env") if dotenv_path is None else dotenv_path)
    except SettingsError as error:
        faults.append(str(error))
    found |= {**(os.environ if environ is None else environ), **(overrides or {})}
    known = catalogue()
    values: dict[str, Any] = {}
    for setting in known:
        if text := (found.get(setting.variable) or "").strip():
            try:
                values[setting.field] = _parse(setting, text)
            except SettingsError as error:
                faults.append(str(error))
    settings = None
    try:
        settings = Settings(**values)
    except SettingsError as error:
        faults.append(str(error))
    misspelt = list(_misspelt(found, [one.variable for one in known]))
    return Examined(None if faults else settings, faults, misspelt)


def _read_dotenv(path: Path) -> Mapping[str, str | None]:
    try:
        return dotenv.dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _parse(setting: Setting, text: str) -> Any:
    hint = hints()[setting.field]
    value = _items_of(text) if item_of(hint) else text
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError:
        raise SettingsError(
            f"{setting.variable}={text!r} cannot be used: it must be {setting.allowed}"
        ) from None


def _items_of(text: str) -> list[str]:
    return [item for part in text.split(",") if (item := part.strip())]


def _misspelt(found: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    # Without the prefix, which would make all names look alike.
    names = [variable.removeprefix(PREFIX) for variable in known]
    for variable in sorted(found):
        if variable.startswith(PREFIX) and variable not in known and variable not in _OF_CLIENTS:
            near = difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
            right = known[names.index(near[0])] if near else None
            hint = f"; did you mean {right}?" if right else ""
            yield f"{variable} is not a setting of TaskFlow{hint}"
