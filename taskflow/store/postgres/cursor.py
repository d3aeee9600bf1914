"""Rows that psycopg cannot load are loaded all the same.

PostgreSQL has moments that Python has not: infinity, years before the first and after the 9999th.
Nobody pays for them: only a result that fails to load is loaded again, by loaders that read
such a moment as one far away.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import psycopg
from psycopg.adapt import Buffer, Transformer
from psycopg.types.datetime import TimestamptzBinaryLoader, TimestamptzLoader

# A year or more within what Python has, so that time zones and pauses can be added.
EARLIEST: Final = dt.datetime(2, 1, 1, tzinfo=dt.UTC)
LATEST: Final = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_NOT_LOADED: Final = (psycopg.DataError, OverflowError)


class _BoundedLoader(TimestamptzLoader):
    """Reads any moment, in UTC."""

    def load(self, data: Buffer) -> dt.datetime:
        try:
            return super().load(data).astimezone(dt.UTC)
        except _NOT_LOADED:
            text = bytes(data)
            return EARLIEST if text.startswith(b"-") or text.endswith(b"BC") else LATEST


class _BoundedBinaryLoader(TimestamptzBinaryLoader):
    """The same in the binary format: microseconds since 2000, with a sign."""

    def load(self, data: Buffer) -> dt.datetime:
        try:
            return super().load(data).astimezone(dt.UTC)
        except _NOT_LOADED:
            return EARLIEST if bytes(data)[0] & 0x80 else LATEST


class TolerantCursor(psycopg.Cursor[tuple[Any, ...]]):
    """A cursor whose rows can always be read."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows of the result."""
        try:
            return super().fetchall()
        except _NOT_LOADED:
            return self._load_again()

    def _load_again(self) -> list[tuple[Any, ...]]:
        result = self.pgresult
        assert result is not None
        context = psycopg.Cursor(self.connection)
        context.adapters.register_loader("timestamptz", _BoundedLoader)
        context.adapters.register_loader("timestamptz", _BoundedBinaryLoader)
        transformer = Transformer(context)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)
