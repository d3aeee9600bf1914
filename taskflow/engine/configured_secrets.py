"""Reads the secrets that sign requests and callbacks.

They are listed in ``TASKFLOW_WEBHOOK_SECRETS``, or one per line in the file that
``TASKFLOW_WEBHOOK_SECRETS_FILE`` names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from taskflow.model.errors import SettingsError
from taskflow.model.signature import SECRET_SHAPE, Signer, secret_of
from taskflow.settings import Settings
from taskflow.settings.loading import read_secret_file
from taskflow.telemetry import Event, emit


def read_signer(settings: Settings) -> Signer:
    """Return the signer of requests and callbacks.

    Raises:
        SettingsError: A secret is not valid. The message names its position, not the secret.
    """
    secrets: list[bytes] = []
    for place, text in _entries(settings):
        try:
            secret = secret_of(text)
        except ValueError as error:
            raise SettingsError(f"{place}: {error}") from None
        if secret in secrets:
            raise SettingsError(f"{place}: this secret is listed twice")
        secrets.append(secret)
    if secrets:
        emit(Event.SECRETS_READ, secrets=len(secrets))
    return Signer(secrets)


def _entries(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the position and the text of each secret."""
    if settings.webhook_secrets:
        texts = [text.strip() for text in settings.webhook_secrets.split(",") if text.strip()]
        if not texts:
            raise SettingsError(f"TASKFLOW_WEBHOOK_SECRETS is empty; each secret is {SECRET_SHAPE}")
        for number, text in enumerate(texts, start=1):
            yield f"TASKFLOW_WEBHOOK_SECRETS, entry {number}", text
    if settings.webhook_secrets_file:
        yield from _lines_of(Path(settings.webhook_secrets_file))


def _lines_of(path: Path) -> Iterator[tuple[str, str]]:
    entries, is_open = read_secret_file(path, "TASKFLOW_WEBHOOK_SECRETS_FILE")
    if is_open:
        emit(Event.SECRETS_FILE_OPEN, path=str(path))
    if not entries:
        raise SettingsError(f"{path} contains no secrets; create one with `taskflow secret new`")
    yield from entries
