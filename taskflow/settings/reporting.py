"""What a node reports of its settings, so that operators can compare nodes."""

from __future__ import annotations

import hashlib
from typing import Final

from taskflow.settings.documentation import variable_of
from taskflow.settings.fields import FINGERPRINTED, REPORTED, Settings

_DIGEST_BYTES: Final = 4


def reported_settings(settings: Settings) -> dict[str, str]:
    """Return settings by the name of their variable, as text; empty if not set.

    Settings that name hosts and networks are reported as a fingerprint, and secrets not at all.
    """
    values = {name: _text(getattr(settings, name)) for name in REPORTED}
    fingerprints = {name: _fingerprint(getattr(settings, name)) for name in FINGERPRINTED}
    return {variable_of(name): text for name, text in (values | fingerprints).items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _fingerprint(value: tuple[str, ...]) -> str:
    if not value:
        return ""
    text = "\n".join(sorted(value)).encode()
    return f"fingerprint {hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()}"
