"""Session settings of every connection, whatever its role or database sets.

Settings of a role, a database, a service file or the environment change what a statement means or
how its result is formatted. So each connection sends the values below with its first message, which
overrides them all. PgBouncer in transaction mode accepts no such values: there results are binary
(``BinaryCursor``), which depends on none of the formats, and ``requirements`` checks the rest.
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
# Formats of values in text; the binary format depends on none of them.
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
# Settings that change the meaning of statements, or suppress warnings.
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
# Statements are written for the indexes that they use, and planned once per connection: planning a
# claim or a submission takes longer than executing it. The planner does not know how many entries
# of an index are dead, and tables may be empty when it plans: it would read the whole table, until
# the next ANALYZE. The operator's options override these.
PLANS: Final = MappingProxyType(
    {
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "jit": "off",
    }
)
# Timeouts, which TaskFlow sets itself.
BOUNDS: Final = MappingProxyType(
    {
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "lock_timeout": "0",
        "statement_timeout": "0",
    }
)
# Since PostgreSQL 17; an older server rejects connections that set it.
TRANSACTION_TIMEOUT: Final = "transaction_timeout"
HAS_TRANSACTION_TIMEOUT: Final = 170_000
# Tells the functions of the database that the session announces its commits itself. They send it
# what to announce in notices with this SQLSTATE (migration 0031).
WORK_CHANNEL: Final = "taskflow_work"
ANNOUNCES_LATER: Final = "taskflow.announces_later"
_TO_ANNOUNCE: Final = "TF001"
_TO_NOTIFY: Final = "TF002"
# For a schema that Citus distributes, after all other options. Citus cannot plan most statements
# without the values of their parameters. It passes messages of workers on from this level.
DISTRIBUTED: Final = MappingProxyType(
    {"plan_cache_mode": "force_custom_plan", "citus.worker_min_messages": "info"}
)
# At least a year within the range of Python, so that time zones and delays can be added.
EARLIEST: Final = dt.datetime(2, 1, 1, tzinfo=dt.UTC)
LATEST: Final = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_NOT_LOADED: Final = (psycopg.DataError, OverflowError)
# PGDATESTYLE and PGTZ override the options; the server reports the result.
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
    """Detects commits of which it is unknown whether a standby has them."""

    def __init__(self) -> None:
        self.is_unknown = False

    def hear(self, diagnostic: Diagnostic) -> None:
        """Process a notice of the server."""
        self.is_unknown |= is_unreplicated(diagnostic)

    def forget(self) -> None:
        """Begin anew: what failed after such a commit has reported its own error."""
        self.is_unknown = False

    def check(self) -> None:
        """Treat such a commit like a lost response.

        Raises:
            StoreUnavailable: There was one since the last call.
        """
        was_unknown, self.is_unknown = self.is_unknown, False
        if was_unknown:
            raise StoreUnavailable(
                "PostgreSQL: the wait for the synchronous standby was canceled: it is unknown "
                "whether the commit was replicated"
            )


class UnsentNotifications:
    """Collects the notifications that are to be sent once a transaction has committed."""

    def __init__(self) -> None:
        self._notifications: list[tuple[str, str]] = []

    def hear(self, diagnostic: Diagnostic) -> None:
        """Process a notice of the server."""
        message = diagnostic.message_primary or ""
        if diagnostic.sqlstate == _TO_ANNOUNCE:
            self._notifications.append((WORK_CHANNEL, message))
        elif diagnostic.sqlstate == _TO_NOTIFY:
            channel, _, payload = message.partition(" ")
            self._notifications.append((channel, payload))

    def take(self) -> list[tuple[str, str]]:
        """Return the notifications, each with its channel, and forget them."""
        notifications, self._notifications = self._notifications, []
        return notifications


def is_unreplicated(diagnostic: Diagnostic) -> bool:
    """Return whether a notice warns that a commit may not have been replicated.

    Its SQLSTATE (01000) is generic and its text is translated; the function in PostgreSQL that
    sends it (``syncrep.c``) sends nothing else.
    """
    return diagnostic.source_function == "SyncRepWaitForLSN"


class _BoundedLoader(TimestamptzLoader):
    """Loads any timestamp, in UTC, bounded to the range of Python."""

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
    """A cursor whose rows can always be loaded.

    PostgreSQL has timestamps that Python has not: infinity, years before 1 and after 9999. A result
    that fails to load is loaded again, with bounded timestamps.
    """

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows of the result."""
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
    """A connection of TaskFlow."""

    def __init__(
        self,
        pgconn: PGconn,
        row_factory: RowFactory[tuple[object, ...]] = tuple_row,
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.cursor_factory = TolerantCursor
        self.commits = CommitWatch()
        self.unsent = UnsentNotifications()
        self.is_pinned = False
        self.add_notice_handler(self.commits.hear)
        self.add_notice_handler(self.unsent.hear)

    def pin(self) -> None:
        """Set what the first message could not, once; nearly always there is nothing to set."""
        if self.is_pinned:
            return
        reported = {name: self.info.parameter_status(name) for name in _REPORTED}
        for name, value in _REPORTED.items():
            if reported[name] != value:
                self.execute("SELECT set_config(%s, %s, false)", [name, value])
        self.is_pinned = True


class BinaryCursor(TolerantCursor):
    """A cursor that reads results in the binary format."""

    def __init__(
        self,
        connection: psycopg.Connection[tuple[object, ...]],
        row_factory: RowFactory[tuple[object, ...]] = tuple_row,
    ) -> None:
        super().__init__(connection, row_factory=row_factory)
        self.format = Format.BINARY


class PooledConnection(OwnConnection):
    """A connection through a pooler in transaction mode, which shares its sessions."""

    def __init__(
        self,
        pgconn: PGconn,
        row_factory: RowFactory[tuple[object, ...]] = tuple_row,
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.cursor_factory = BinaryCursor
        self.is_pinned = True  # as far as possible


class UtcLoader(TimestamptzLoader):
    """Loads timestamps of a session with any time zone."""

    def load(self, data: Buffer) -> dt.datetime:
        """Load a timestamp."""
        return super().load(data).astimezone(dt.UTC)


class UtcBinaryLoader(TimestamptzBinaryLoader):
    """The same in the binary format."""

    def load(self, data: Buffer) -> dt.datetime:
        """Load a timestamp."""
        return super().load(data).astimezone(dt.UTC)


def utc_adapters() -> AdaptersMap:
    """Return adapters for sessions whose time zone is unknown."""
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_loader("timestamptz", UtcLoader)
    adapters.register_loader("timestamptz", UtcBinaryLoader)
    return adapters


def startup_options(conninfo: str, bounds: Mapping[str, str], schemas: Sequence[str] | None) -> str:
    """Return the settings of the first message: timeouts, the operator's options, pinned values."""
    theirs = conninfo_to_dict(conninfo).get("options") or _default_options()
    pinned = {**FORMATS, **MEANINGS}
    if schemas is not None:
        pinned["search_path"] = search_path_of(schemas)
    parts = [_assignments({**BOUNDS, **bounds}), str(theirs), _assignments(pinned)]
    return " ".join(part for part in parts if part)


def announcing_later(options: Mapping[str, object]) -> dict[str, object]:
    """Return these parameters of a connection for a session that announces its commits itself.

    A pooler accepts no settings; its sessions notify in their transactions.
    """
    first_message = options.get("options")
    if first_message is None:
        return dict(options)
    return {**options, "options": f"{first_message} -c {ANNOUNCES_LATER}=on"}


def for_distributed_schema(options: Mapping[str, object]) -> dict[str, object]:
    """Return these parameters of a connection for a schema that Citus distributes."""
    return {**options, "options": f"{options.get('options', '')} {_assignments(DISTRIBUTED)}"}


def search_path_of(schemas: Sequence[str]) -> str:
    """Return the search path of these schemas; temporary tables come last."""
    return ",".join([*(quoted(schema) for schema in schemas), "pg_temp"])


def quoted(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _assignments(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _default_options() -> str:
    """Return the options that libpq uses if the address has none: PGOPTIONS."""
    values = [one.val for one in Conninfo.get_defaults() if one.keyword == b"options"]
    return (values[0] or b"").decode()
