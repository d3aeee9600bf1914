"""Reads the environment and ``.env``. Nothing else in TaskFlow does."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from taskflow.env_file import read_env_file
from taskflow.model.errors import SettingsError
from taskflow.settings.documentation import Setting, catalogue, hints, item_of
from taskflow.settings.fields import PREFIX, Settings

# What clients and the command line read; one .env may be for both.
_OF_CLIENTS: Final = ("TASKFLOW_URL", "TASKFLOW_API_KEY")
_OTEL_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_OTEL_ALLOWED: Final = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
}
_OTEL: Final = (*_OTEL_ENDPOINTS, *_OTEL_ALLOWED, "OTEL_SDK_DISABLED")


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
        first, *others = examined.faults
        more = f" (and {len(others)} more: `taskflow doctor` names all)" if others else ""
        raise SettingsError(f"{first}{more}")
    return examined.settings, examined.warnings


def examine(
    environ: Mapping[str, str] | None = None,
    dotenv_path: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Examined:
    """The same, with all that cannot be used; the arguments are those of ``load``."""
    environ = os.environ if environ is None else environ
    faults: list[str] = []
    found: dict[str, str | None] = {}
    try:
        found |= read_env_file(Path(".env") if dotenv_path is None else dotenv_path)
    except SettingsError as error:
        faults.append(str(error))
    found |= {**environ, **(overrides or {})}
    known = catalogue()
    values = _values(known, found, faults)
    settings = None
    try:
        settings = _with_traces(Settings(**values), environ)
    except SettingsError as error:
        faults.append(str(error))
    misspelt = list(_misspelt(found, [one.variable for one in known]))
    return Examined(None if faults else settings, faults, misspelt)


def _values(
    known: Sequence[Setting], found: Mapping[str, str | None], faults: list[str]
) -> dict[str, Any]:
    """The values by field, without those that cannot be used, which are added to the faults."""
    values = {}
    for setting in known:
        if text := (found.get(setting.variable) or "").strip():
            try:
                values[setting.field] = _parse(setting, text)
            except SettingsError as error:
                faults.append(str(error))
    return values


def _with_traces(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Traces as the standard variables of OpenTelemetry want them.

    Those of the environment alone: its own code reads them there, and not in ``.env``.
    """
    said = {name: environ.get(name, "").strip() for name in _OTEL}
    if settings.traces == "auto" and _asks_for_traces(said):
        settings = msgspec.structs.replace(settings, traces="on")
    if settings.is_tracing:
        for name, allowed in _OTEL_ALLOWED.items():
            if said[name] not in ("", allowed):
                raise SettingsError(
                    f"{name}={said[name]!r} cannot be used: it must be {allowed}; or set "
                    f"{PREFIX}TRACES=off"
                )
    return settings


def _asks_for_traces(said: Mapping[str, str]) -> bool:
    if said["OTEL_SDK_DISABLED"].lower() == "true":
        return False
    if exporter := said["OTEL_TRACES_EXPORTER"]:
        return exporter != "none"
    return any(said[name] for name in _OTEL_ENDPOINTS)


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
        if variable.startswith(PREFIX) and variable not in (*known, *_OF_CLIENTS):
            near = difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
            right = known[names.index(near[0])] if near else None
            hint = f"; did you mean {right}?" if right else ""
            yield f"{variable} is not a setting of TaskFlow{hint}"
