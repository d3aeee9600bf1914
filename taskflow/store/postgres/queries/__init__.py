"""The SQL statements of the PostgreSQL store: all blocks ``-- name: ...`` of the files here.

A name that ends in ``_if_...`` states the condition under which the statement changes anything.

Arrays are passed as ``%(...)b``, in the binary format: in the text format psycopg searches each
element for characters to quote, which took seven times as long as all the rest of sending 16
results.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^--.*\n", re.MULTILINE)


@functools.cache
def load() -> Mapping[str, str]:
    """Return the statements by name, without their comments.

    Raises:
        ValueError: Two have the same name.
    """
    statements: dict[str, str] = {}
    for file in resources.files(__name__).iterdir():
        if file.name.endswith(".sql"):
            _, *parts = _NAME.split(file.read_text("utf-8"))
            for name, body in zip(parts[::2], parts[1::2], strict=True):
                if name in statements:
                    raise ValueError(f"two statements are named {name}")
                statements[name] = _COMMENT.sub("", body).strip()
    return MappingProxyType(statements)
