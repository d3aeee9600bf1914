"""Checks of the settings, of API keys, and of secrets."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from taskflow.api.access.api_keys import MIN_SAFE_KEY_LENGTH, entries_of, read_keys
from taskflow.api.access.request_head import is_loopback_bind
from taskflow.cli.local.checks import Finding, failed, ok, warning
from taskflow.engine.configured_secrets import read_keyring, read_signer
from taskflow.model.errors import SettingsError
from taskflow.settings import Examined, Settings, variable_of
from taskflow.settings.fields import SECRETS

_OTHERS: Final = 0o077
# A line of .env that sets a secret.
_SECRET_LINE: Final = re.compile(
    r"^\s*(export\s+)?(TASKFLOW_API_KEY|"
    + "|".join(variable_of(field) for field in sorted(SECRETS))
    + r")\s*=\s*\S",
    re.MULTILINE,
)
_WEEK_SECONDS: Final = 604_800
_MIN_ARCHIVE_WEEKS: Final = 4


def settings_findings(examined: Examined) -> Iterator[Finding]:
    """Report all invalid settings, and valid ones that contradict each other."""
    for error in examined.errors:
        yield failed("settings", error, "correct it in the environment or in .env")
    for line in examined.warnings:
        yield warning("settings", line)
    if (settings := examined.settings) is None:
        return
    changed = [
        field.name
        for field in msgspec.structs.fields(settings)
        if getattr(settings, field.name) != field.default
    ]
    yield ok("settings", f"{len(changed)} set, all valid")
    yield from _contradictions(settings)


def _contradictions(settings: Settings) -> Iterator[Finding]:
    """Return warnings about valid settings that contradict each other."""
    if settings.drain_deadline_seconds < settings.fetch_timeout_seconds:
        yield warning(
            "settings",
            "a shutdown interrupts fetches before their time limit, and they start again",
            "set TASKFLOW_DRAIN_SECONDS higher than TASKFLOW_FETCH_TIMEOUT_SECONDS",
        )
    retention = settings.retention_seconds
    if retention is not None and retention < min(settings.idempotency_seconds, _WEEK_SECONDS):
        yield warning(
            "settings",
            "tasks are deleted before their Idempotency-Key expires: a repeated request gets a 410",
            "set TASKFLOW_RETENTION_SECONDS to at least TASKFLOW_IDEMPOTENCY_SECONDS",
        )
    yield from _archive_contradictions(settings)


def _archive_contradictions(settings: Settings) -> Iterator[Finding]:
    archive_after, retention = settings.archive_after_seconds, settings.retention_seconds
    if archive_after is None or retention is None:
        return
    if archive_after >= retention:
        yield warning(
            "settings",
            "tasks are deleted before they are moved to the archive",
            "set TASKFLOW_ARCHIVE_AFTER_SECONDS lower than TASKFLOW_RETENTION_SECONDS",
        )
    elif retention < _MIN_ARCHIVE_WEEKS * _WEEK_SECONDS:
        yield warning(
            "settings",
            "archived tasks are deleted by the week, so they are kept for up to 8 days longer than "
            "TASKFLOW_RETENTION_SECONDS",
            "unset TASKFLOW_ARCHIVE_AFTER_SECONDS if that is too long",
        )


def access_findings(settings: Settings) -> Iterator[Finding]:
    """Check keys and secrets, and the permissions of their files."""
    yield from _read("keys", lambda: _keys(settings))
    yield from _read("signatures", lambda: _secrets(settings))
    yield from _read("encryption", lambda: _encryption_keys(settings))
    for path in (
        settings.api_keys_file,
        settings.webhook_secrets_file,
        settings.encryption_keys_file,
    ):
        if path and Path(path).exists():
            yield _permissions_of(Path(path))
    dotenv = Path(".env")
    if dotenv.is_file() and _SECRET_LINE.search(dotenv.read_text("utf-8")):
        yield _permissions_of(dotenv)


def _read(check: str, read: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield read()
    except SettingsError as error:
        yield failed(check, str(error), "correct it: the service does not start")


def _keys(settings: Settings) -> Finding:
    keys = read_keys(settings)
    if len(keys):
        short = any(
            len(one.rpartition(":")[2]) < MIN_SAFE_KEY_LENGTH for one in _listed_keys(settings)
        )
        if short:
            return warning(
                "keys",
                "a key is short enough to be guessed",
                "create one with `taskflow key new NAME`",
            )
        return ok("keys", f"{len(keys)} keys")
    if is_loopback_bind(settings.bind):
        return ok(
            "keys", f"none, and none required: {settings.bind} is reachable from this machine only"
        )
    if settings.allow_anonymous:
        return warning(
            "keys",
            f"none: everyone who can reach {settings.bind} may use the service",
            "create one with `taskflow key new NAME`",
        )
    return failed(
        "keys",
        f"none, so the service refuses to listen on {settings.bind}",
        "create one with `taskflow key new NAME` for TASKFLOW_API_KEYS_FILE",
    )


def _listed_keys(settings: Settings) -> list[str]:
    return entries_of(settings.api_keys)


def _secrets(settings: Settings) -> Finding:
    read_signer(settings)
    if settings.has_webhook_secrets:
        return ok(
            "signatures", "requests and callbacks can be signed; all nodes need the same secrets"
        )
    return ok("signatures", "no secret is set, so callback_url and sign are rejected")


def _encryption_keys(settings: Settings) -> Finding:
    keyring = read_keyring(settings)
    if not keyring:
        return ok("encryption", "no key is set, so credentials cannot be stored")
    first = keyring.key_ids[0]
    return ok("encryption", f"{len(keyring)} keys, key {first} encrypts; keep a copy of each")


def _permissions_of(path: Path) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        return warning(
            "files", f"{path} can be read by other users (mode {mode:o})", f"chmod 600 {path}"
        )
    return ok("files", f"only the owner can read {path}")
