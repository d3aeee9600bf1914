"""Loads ``queries.sql``: blocks that start with ``-- name: ...``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^--.*\n", re.MULTILINE)


def load() -> Mapping[str, str]:
    """The statements by name, without their comments."""
    text = resources.files("taskflow.store").joinpath("queries.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    return MappingProxyType(
        {name: _COMMENT.sub("", body).strip() for name, body in zip(names, bodies, strict=True)}
    )
