"""Loads the settings from the environment and ``.env``, and the files of secrets they name."""

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
from taskflow.settings.fields import PREFIX, SECRETS, Settings

# Read by clients and the command line; both may share one .env.
_CLIENT_VARIABLES: Final = ("TASKFLOW_URL", "TASKFLOW_API_KEY")
_OTEL_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_OTEL_ALLOWED: Final = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
}
_OTEL: Final = (*_OTEL_ENDPOINTS, *_OTEL_ALLOWED, "OTEL_SDK_DISABLED")
_OTHERS_MAY_READ: Final = 0o004


# What settings are called elsewhere, and here, without the prefix.
_MEANT_BY: Final = {
    other: name
    for name, others in {
        "BIND=HOST:PORT": "PORT HOST ADDRESS LISTEN LISTEN_ADDRESS BIND_ADDRESS HTTP_PORT",
        "WORKERS": "CONCURRENCY THREADS PROCESSES NUM_WORKERS WORKER_COUNT",
        "FETCH_TIMEOUT_SECONDS": "TIMEOUT TIMEOUT_SECONDS REQUEST_TIMEOUT",
        "MAX_ATTEMPTS": "RETRIES MAX_RETRIES",
        "WEBHOOK_SECRETS": "SECRET SECRETS SECRET_KEY",
        "API_KEYS": "KEY KEYS TOKEN TOKENS",
        "ENCRYPTION_KEYS": "ENCRYPTION_KEY MASTER_KEY",
        "LOG_LEVEL": "DEBUG VERBOSE",
    }.items()
    for other in others.split()
}


class Examined(NamedTuple):
    """The settings in the environment and ``.env``, with all errors.

    Attributes:
        settings: The settings; ``None`` if there are errors.
        errors: One line for each invalid value.
        warnings: One line for each variable that looks misspelled.
    """

    settings: Settings | None
    errors: list[str]
    warnings: list[str]


def load(
    environ: Mapping[str, str] | None = None,
    dotenv_path: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> tuple[Settings, list[str]]:
    """Load the settings.

    Args:
        environ: The environment; by default the environment of the process.
        dotenv_path: A file that the environment overrides; by default ``.env`` in the working
            directory. It need not exist.
        overrides: Variables that override all others, from the command line.

    Returns:
        The settings, and one line for each variable that looks misspelled.

    Raises:
        SettingsError: A value is invalid. The message names the variable and the allowed values.
    """
    examined = examine(environ, dotenv_path, overrides)
    if examined.settings is None:
        first, *others = examined.errors
        more = f" (and {len(others)} more: `taskflow doctor` lists all)" if others else ""
        raise SettingsError(f"{first}{more}")
    return examined.settings, examined.warnings


def examine(
    environ: Mapping[str, str] | None = None,
    dotenv_path: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Examined:
    """Load the settings and report all errors; the arguments are the same as for ``load``."""
    environ = os.environ if environ is None else environ
    errors: list[str] = []
    found: dict[str, str | None] = {}
    try:
        found |= read_env_file(Path(".env") if dotenv_path is None else dotenv_path)
    except SettingsError as error:
        errors.append(str(error))
    found |= {**environ, **(overrides or {})}
    known = catalogue()
    values = _values(known, found, errors)
    settings = None
    try:
        settings = _with_traces(Settings(**values), environ)
    except SettingsError as error:
        errors.append(str(error))
    misspelled = list(_misspelled(found, [one.variable for one in known]))
    return Examined(None if errors else settings, errors, misspelled)


def _values(
    known: Sequence[Setting], found: Mapping[str, str | None], errors: list[str]
) -> dict[str, Any]:
    """Return the valid values by field, and append the errors of the others."""
    values = {}
    for setting in known:
        if text := (found.get(setting.variable) or "").strip():
            try:
                values[setting.field] = _parse(setting, text)
            except SettingsError as error:
                errors.append(str(error))
    return values


def _with_traces(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Return the settings with ``traces`` resolved from the variables of OpenTelemetry.

    Only the environment counts: OpenTelemetry itself does not read ``.env``.
    """
    otel = {name: environ.get(name, "").strip() for name in _OTEL}
    if settings.traces == "auto" and _is_otlp_configured(otel):
        settings = msgspec.structs.replace(settings, traces="on")
    if settings.is_tracing:
        for name, allowed in _OTEL_ALLOWED.items():
            if otel[name] not in ("", allowed):
                raise SettingsError(
                    f"{name}={otel[name]!r} cannot be used: it must be {allowed}; or set "
                    f"{PREFIX}TRACES=off"
                )
    return settings


def _is_otlp_configured(otel: Mapping[str, str]) -> bool:
    if otel["OTEL_SDK_DISABLED"].lower() == "true":
        return False
    if exporter := otel["OTEL_TRACES_EXPORTER"]:
        return exporter != "none"
    return any(otel[name] for name in _OTEL_ENDPOINTS)


def validated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Validate values of the fields of ``Settings``, as text or as Python has them.

    Raises:
        SettingsError: A value is invalid. The message names the field and the allowed values.
        TypeError: There is no such field.
    """
    known = {setting.field: setting for setting in catalogue()}
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise TypeError(f"there is no setting {name}" + "".join(f"; {one}?" for one in close))
    return {name: _parse(known[name], value, name) for name, value in values.items()}


def _parse(setting: Setting, given: Any, name: str = "") -> Any:
    hint = hints()[setting.field]
    value = _items_of(given) if item_of(hint) and isinstance(given, str) else given
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError:
        shown = "..." if setting.field in SECRETS else repr(given)
        raise SettingsError(
            f"{name or setting.variable}={shown} cannot be used: it must be {setting.allowed}"
        ) from None


def _items_of(text: str) -> list[str]:
    return [item for part in text.split(",") if (item := part.strip())]


def _misspelled(found: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    for variable in sorted(found):
        is_ours = variable.upper().startswith(PREFIX.rstrip("_"))
        if is_ours and variable not in (*known, *_CLIENT_VARIABLES):
            right = _nearest(variable.upper().replace("-", "_"), known)
            hint = f"; did you mean {right}?" if right else ""
            yield f"{variable} is not a setting of TaskFlow{hint}"


def _nearest(variable: str, known: Sequence[str]) -> str | None:
    """Return the setting that was probably meant."""
    # Compared without the prefix, which would make all names similar.
    names = {one.removeprefix(PREFIX): one for one in (*known, *_CLIENT_VARIABLES)}
    name = variable.removeprefix(PREFIX.rstrip("_")).strip("_")
    if meant := _MEANT_BY.get(name):
        return PREFIX + meant
    longer = [one for one in names if one.startswith(f"{name}_")]
    near = [name] if name in names else longer or difflib.get_close_matches(name, names, n=1)
    return names[near[0]] if near and name else None


class SecretFile(NamedTuple):
    """The entries of a file of keys or secrets.

    Attributes:
        entries: The place and the text of each line; empty lines and comments are skipped.
        is_open: Whether other users of the machine may read the file.
    """

    entries: list[tuple[str, str]]
    is_open: bool


def read_secret_file(path: Path, variable: str) -> SecretFile:
    """Read a file of keys or secrets, one per line.

    Args:
        path: The file.
        variable: The setting that names it, for errors.

    Raises:
        SettingsError: The file cannot be read, or is not UTF-8 text.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
        is_open = bool(path.stat().st_mode & _OTHERS_MAY_READ)
    except OSError as error:
        raise SettingsError(f"{variable}={str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}={str(path)!r} is not UTF-8 text") from None
    entries = [
        (f"{path}, line {number}", line.strip())
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return SecretFile(entries, is_open)
