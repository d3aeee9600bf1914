"""The JSON Schema of ``taskflow.yaml``."""

from __future__ import annotations

import msgspec

from taskflow.cli.remote.configuration.declaration import schema


def schema_text() -> str:
    """Return the schema as ``taskflow config schema`` prints it."""
    return msgspec.json.format(msgspec.json.encode(schema())).decode() + "\n"
