"""Templates of pages are compiled once in a process, instead of again for each app.

To compile the templates of the dashboard takes more than the rest of the start of a server.
"""

from __future__ import annotations

from types import CodeType
from typing import Any

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from quart import Quart


class _Compiled(BytecodeCache):
    """The code of templates, by their names, files and texts."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._codes[bucket.key, bucket.checksum] = bucket.code


def keep_templates() -> None:
    """Compile each template once from now on."""
    app_class: Any = Quart
    app_class.jinja_options = {**Quart.jinja_options, "bytecode_cache": _Compiled()}
