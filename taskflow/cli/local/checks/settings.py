"""Settings, the files that they name, keys and secrets."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from taskflow.api.access.api_keys import SHORT_KEY, read_keys
from taskflow.api.access.hosts import is_loopback_bind
from taskflow.cli.local.checks.check import Finding, failed, ok, warning
from taskflow.engine.callback_secrets import read_signer
from taskflow.model.errors import SettingsError
from taskflow.settings import Examined, Settings, variable_of
from taskflow.settings.fields import SECRETS

_OTHERS: Final = 0o077
# A line of .env that sets something which others must not read.
_SECRET_LINE: Final = re.compile(
    r"^\s*(export\s+)?(TASKFLOW_API_KEY|"
    + "|".join(variable_of(field) for field in sorted(SECRETS))
    + r")\s*=\s*\S",
    re.MULTILINE,
)
_WEEK_SECONDS: Final = 604_800


def settings_findings(examined: Examined) -> Iterator[Finding]:
    """Whether they can be used: each that cannot be, and not only the first."""
    for fault in examined.faults:
        yield failed("settings", fault, "correct it in the environment or in .env")
    for line in examined.warnings:
        yield warning("settings", line)
    if (settings := examined.settings) is None:
        return
    changed = [
        field.name
        for field in msgspec.structs.fields(settings)
        if getattr(settings, field.name) != field.default
    ]
    yield ok("settings", f"{len(changed)} set, all of them can be used")
    yield from _sense_of(settings)


def _sense_of(settings: Settings) -> Iterator[Finding]:
    """What can be used but may not be meant."""
    if settings.drain_deadline_seconds < settings.fetch_timeout_seconds:
        yield warning(
            "settings",
            "fetches may take longer than they are given at a shutdown, and are then run again",
            "set TASKFLOW_DRAIN_SECONDS to more than TASKFLOW_FETCH_TIMEOUT_SECONDS",
        )
    retention = settings.retention_seconds
    if retention is not None and retention < min(settings.idempotency_seconds, _WEEK_SECONDS):
        yield warning(
            "settings",
            "tasks are deleted while their Idempotency-Key is known: a repeated request gets a 410",
            "set TASKFLOW_RETENTION_SECONDS to no less than TASKFLOW_IDEMPOTENCY_SECONDS",
        )


def access_findings(settings: Settings) -> Iterator[Finding]:
    """Keys, secrets, and who may see the files that they are in."""
    yield from _read("keys", lambda: _keys(settings))
    yield from _read("callbacks", lambda: _secrets(settings))
    for path in (settings.api_keys_file, settings.webhook_secrets_file):
        if path and Path(path).exists():
            yield _privacy_of(Path(path))
    dotenv = Path(".env")
    if dotenv.is_file() and _SECRET_LINE.search(dotenv.read_text("utf-8")):
        yield _privacy_of(dotenv)


def _read(check: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield look()
    except SettingsError as error:
        yield failed(check, str(error), "no start is possible until it is corrected")


def _keys(settings: Settings) -> Finding:
    keyring = read_keys(settings)
    if len(keyring):
        short = any(len(one.rpartition(":")[2]) < SHORT_KEY for one in _written(settings))
        if short:
            return warning(
                "keys",
                "a key is so short that it can be guessed",
                "`taskflow key new NAME` makes one",
            )
        return ok("keys", f"{len(keyring)} keys")
    if is_loopback_bind(settings.bind):
        return ok("keys", f"none, and none needed: {settings.bind} is for this machine only")
    if settings.allow_anonymous:
        return warning(
            "keys",
            f"none: whoever reaches {settings.bind} may use the service",
            "`taskflow key new NAME` makes one",
        )
    return failed(
        "keys",
        f"none, so the service will not serve on {settings.bind}",
        "`taskflow key new NAME` makes one for TASKFLOW_API_KEYS_FILE",
    )


def _written(settings: Settings) -> list[str]:
    return [entry.strip() for entry in settings.api_keys.split(",") if entry.strip()]


def _secrets(settings: Settings) -> Finding:
    read_signer(settings)
    if settings.has_webhook_secrets:
        return ok("callbacks", "can be signed; all nodes need the same secrets")
    return ok("callbacks", "no secrets, so no callback_url is taken")


def _privacy_of(path: Path) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        return warning(
            "files", f"{path} can be read by others (mode {mode:o})", f"chmod 600 {path}"
        )
    return ok("files", f"{path} is its owner's alone")
