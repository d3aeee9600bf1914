"""Reads signing secrets and encryption keys from the settings.

Both are listed in a setting, or in the file that another setting names, one per line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from taskflow.fetch.mail import Mailer
from taskflow.model.errors import SettingsError
from taskflow.model.keyring import KEY_SHAPE, Keyring, key_of
from taskflow.model.signature import SECRET_SHAPE, Signer, secret_of
from taskflow.model.smtp import parse_smtp_url
from taskflow.settings import Settings, variable_of
from taskflow.settings.loading import read_secret_file
from taskflow.telemetry import Event, emit


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of secrets.

    Attributes:
        name: The name of the kind in errors.
        field: The setting that lists the secrets.
        file_field: The setting that names a file with more secrets.
        parse: Returns the bytes of a secret, or raises ``ValueError``.
        shape: The format of a secret, in words.
        command: The command that creates a secret.
        is_open: The event to log if all users can read the file.
    """

    name: str
    field: str
    file_field: str
    parse: Callable[[str], bytes]
    shape: str
    command: str
    is_open: Event


_SIGNING: Final = _Kind(
    name="secret",
    field="webhook_secrets",
    file_field="webhook_secrets_file",
    parse=secret_of,
    shape=SECRET_SHAPE,
    command="taskflow secret new",
    is_open=Event.SECRETS_FILE_OPEN,
)
_ENCRYPTION: Final = _Kind(
    name="key",
    field="encryption_keys",
    file_field="encryption_keys_file",
    parse=key_of,
    shape=KEY_SHAPE,
    command="taskflow secret new --encryption",
    is_open=Event.ENCRYPTION_KEYS_FILE_OPEN,
)


def read_mailer(settings: Settings) -> Mailer:
    """Return what sends e-mail; without a mail server, each e-mail fails.

    Raises:
        SettingsError: The settings are invalid. The message does not repeat the URL.
    """
    if not settings.smtp_url:
        return Mailer()
    if not settings.smtp_from:
        raise SettingsError("TASKFLOW_SMTP_FROM is required with TASKFLOW_SMTP_URL")
    try:
        return Mailer(parse_smtp_url(settings.smtp_url), settings.smtp_from)
    except ValueError as error:
        raise SettingsError(f"TASKFLOW_SMTP_URL {error}") from None


def read_signer(settings: Settings) -> Signer:
    """Return the signer of requests and callbacks.

    Raises:
        SettingsError: A secret is not valid. The message names its position, not the secret.
    """
    secrets = _read(_SIGNING, settings)
    if secrets:
        emit(Event.SECRETS_READ, secrets=len(secrets))
    return Signer(secrets)


def read_keyring(settings: Settings) -> Keyring:
    """Return the keys that encrypt data at rest.

    Raises:
        SettingsError: A key is not valid. The message names its position, not the key.
    """
    keys = _read(_ENCRYPTION, settings)
    if keys:
        emit(Event.ENCRYPTION_KEYS_READ, keys=len(keys))
    return Keyring(keys)


def _read(kind: _Kind, settings: Settings) -> list[bytes]:
    found: list[bytes] = []
    for place, text in _entries(kind, settings):
        try:
            secret = kind.parse(text)
        except ValueError as error:
            raise SettingsError(f"{place}: {error}") from None
        if secret in found:
            raise SettingsError(f"{place}: this {kind.name} is listed twice")
        found.append(secret)
    return found


def _entries(kind: _Kind, settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the position and the text of each secret."""
    variable = variable_of(kind.field)
    if listed := getattr(settings, kind.field):
        texts = [text.strip() for text in listed.split(",") if text.strip()]
        if not texts:
            raise SettingsError(f"{variable} is empty; each {kind.name} is {kind.shape}")
        for number, text in enumerate(texts, start=1):
            yield f"{variable}, entry {number}", text
    if path := getattr(settings, kind.file_field):
        yield from _lines_of(Path(path), kind)


def _lines_of(path: Path, kind: _Kind) -> Iterator[tuple[str, str]]:
    entries, is_open = read_secret_file(path, variable_of(kind.file_field))
    if is_open:
        emit(kind.is_open, path=str(path))
    if not entries:
        raise SettingsError(f"{path} contains no {kind.name}s; create one with `{kind.command}`")
    yield from entries
