"""What every connection of TaskFlow's is set to, whatever its role or database says.

Settings of a role, a database, a service file or the environment change what a statement means or
what its result looks like. So each connection sends the values below with its first message, which
goes before them all. PgBouncer in transaction mode takes no such values: there results are binary
(``BinaryCursor``), which depends on none of the formats, and ``fitness.py`` compares the rest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import psycopg
from psycopg.adapt import AdaptersMap, Buffer, Transformer
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import Diagnostic
from psycopg.pq import Conninfo, Format
from psycopg.pq.abc import PGconn
from psycopg.rows import RowFactory, tuple_row
from psycopg.types.datetime import TimestamptzBinaryLoader, TimestamptzLoader

from taskflow.model.errors import StoreUnavailable

ENCODING: Final = "UTF8"
# Formats of values. The binary format depends on none of them.
FORMATS: Final = MappingProxyType(
    {
        "DateStyle": "ISO,MDY",
        "IntervalStyle": "postgres",
        "TimeZone": "UTC",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "quote_all_identifiers": "off",
    }
)
# What statements mean, and whether what they say of themselves arrives.
MEANINGS: Final = MappingProxyType(
    {
        "array_nulls": "on",
        "backslash_quote": "safe_encoding",
        "check_function_bodies": "on",
        "client_min_messages": "warning",
        "default_table_access_method": "heap",
        "default_transaction_deferrable": "off",
        "default_transaction_isolation": "read committed",
        "row_security": "on",
        "standard_conforming_strings": "on",
        "transform_null_equals": "off",
        "xmloption": "content",
    }
)
# Bounds: ours take their place.
BOUNDS: Final = MappingProxyType(
    {
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "lock_timeout": "0",
        "statement_timeout": "0",
    }
)
# Of PostgreSQL 17 and later; an older server refuses connections that name it.
TRANSACTION_TIMEOUT: Final = "transaction_timeout"
HAS_TRANSACTION_TIMEOUT: Final = 170_000
# A year or more within what Python has, so that time zones and pauses can be added.
EARLIEST: Final = dt.datetime(2, 1, 1, tzinfo=dt.UTC)
LATEST: Final = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_NOT_LOADED: Final = (psycopg.DataError, OverflowError)
# PGDATESTYLE and PGTZ go to the server after all options; what arrived is reported by it.
_REPORTED: Final = MappingProxyType(
    {
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "TimeZone": "UTC",
        "client_encoding": ENCODING,
        "standard_conforming_strings": "on",
    }
)


class CommitWatch:
    """Notices a commit of which it is unknown whether a standby has it."""

    def __init__(self) -> None:
        self.is_unknown = False

    def hear(self, diagnostic: Diagnostic) -> None:
        """Take a notice of the server's."""
        self.is_unknown |= is_unreplicated(diagnostic)

    def check(self) -> None:
        """Treat such a commit like a lost answer.

        Raises:
            StoreUnavailable: Since the last call there was one.
        """
        was_unknown, self.is_unknown = self.is_unknown, False
        if was_unknown:
            raise StoreUnavailable(
                "PostgreSQL: the wait for the synchronous standby was canceled: it is unknown "
                "whether the commit was replicated"
            )


def is_unreplicated(diagnostic: Diagnostic) -> bool:
    """True for the warning that a commit might not have been replicated, in any language.

    Its SQLSTATE (01000) says nothing and its text is translated; the function in PostgreSQL that
    sends it (``syncrep.c``) sends nothing else.
    """
    return diagnostic.source_function == "SyncRepWaitForLSN"


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


class OwnConnection(psycopg.Connection[tuple[object, ...]]):
    """A connection of TaskFlow's."""

    def __init__(
        self,
        pgconn: PGconn,
        row_factory: RowFactory[tuple[object, ...]] = tuple_row,
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.cursor_factory = TolerantCursor
        self.commits = CommitWatch()
        self.is_pinned = False
        self.add_notice_handler(self.commits.hear)

    def pin(self) -> None:
        """Once, set what the first message could not; nearly always there is nothing."""
        if self.is_pinned:
            return
        reported = {name: self.info.parameter_status(name) for name in _REPORTED}
        for name, value in _REPORTED.items():
            if reported[name] != value:
                self.execute("SELECT set_config(%s, %s, false)", [name, value])
        self.is_pinned = True


class BinaryCursor(TolerantCursor):
    """Reads results in the binary format."""

    def __init__(
        self,
        connection: psycopg.Connection[tuple[object, ...]],
        row_factory: RowFactory[tuple[object, ...]] = tuple_row,
    ) -> None:
        super().__init__(connection, row_factory=row_factory)
        self.format = Format.BINARY


class PooledConnection(OwnConnection):
    """A connection through a pooler in transaction mode, whose session is another's in a moment."""

    def __init__(
        self,
        pgconn: PGconn,
        row_factory: RowFactory[tuple[object, ...]] = tuple_row,
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.cursor_factory = BinaryCursor
        self.is_pinned = True  # as far as can be


class UtcLoader(TimestamptzLoader):
    """Reads timestamps of a session that may have any time zone."""

    def load(self, data: Buffer) -> dt.datetime:
        """Read one."""
        return super().load(data).astimezone(dt.UTC)


class UtcBinaryLoader(TimestamptzBinaryLoader):
    """The same in the binary format."""

    def load(self, data: Buffer) -> dt.datetime:
        """Read one."""
        return super().load(data).astimezone(dt.UTC)


def utc_adapters() -> AdaptersMap:
    """How values are read where the time zone of the session is not ours."""
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_loader("timestamptz", UtcLoader)
    adapters.register_loader("timestamptz", UtcBinaryLoader)
    return adapters


def startup_options(conninfo: str, bounds: Mapping[str, str], schemas: Sequence[str] | None) -> str:
    """Settings for the first message: our bounds, the operator's own, and what is pinned."""
    theirs = conninfo_to_dict(conninfo).get("options") or _default_options()
    pinned = {**FORMATS, **MEANINGS}
    if schemas is not None:
        pinned["search_path"] = search_path_of(schemas)
    parts = [_assignments({**BOUNDS, **bounds}), str(theirs), _assignments(pinned)]
    return " ".join(part for part in parts if part)


def search_path_of(schemas: Sequence[str]) -> str:
    """The setting that leads to these schemas; temporary tables come last."""
    return ",".join([*(quoted(schema) for schema in schemas), "pg_temp"])


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _assignments(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _default_options() -> str:
    """What libpq takes where an address names none: PGOPTIONS."""
    values = [one.val for one in Conninfo.get_defaults() if one.keyword == b"options"]
    return (values[0] or b"").decode()
