"""Writes events to standard error, for people or as JSON, and throttles floods of them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import platform
import select
import stat
import sys
import threading
import time
import uuid
from collections.abc import Hashable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TextIO, TypeVar, cast

import structlog
import structlog.tracebacks
import trio

from taskflow.telemetry.log_events import LEVELS, Event

PERIOD_SECONDS = 10.0
_MUTED_REPORT_SECONDS = 86_400.0
MAX_PER_PERIOD: Final = 20
Key = TypeVar("Key", bound=Hashable)
# Order of the leading fields of a JSON line.
_LEADING_FIELDS: Final = ("timestamp", "level", "event", "task", "attempt")
# Without local variables, which structlog shows by default: they may hold keys and passwords.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_stderr: NonblockingStderr | None = None
_min_level = logging.NOTSET
_is_muted = False
_writing: Final = threading.RLock()  # libraries log from threads of their own
# The TaskFlow task and attempt that the current Trio task runs.
_bound_task: Final = ContextVar[Mapping[str, object]]("bound_task", default=MappingProxyType({}))


@dataclasses.dataclass
class _Count:
    """Counts of one key: logged in the current period, dropped since the last report."""

    period_start: float = -math.inf
    logged: int = 0
    dropped: int = 0


class Throttle(Generic[Key]):
    """Decides which events are logged, and counts the others."""

    def __init__(self) -> None:
        self._counts: dict[Key, _Count] = {}

    def admit(self, key: Key, limit: int = MAX_PER_PERIOD) -> bool:
        """Return whether the event may be logged now; if not, count it as dropped."""
        count = self._counts.setdefault(key, _Count())
        now = time.monotonic()
        if now - count.period_start >= PERIOD_SECONDS:
            count.period_start, count.logged = now, 0
        if count.logged >= limit:
            count.dropped += 1
            return False
        count.logged += 1
        return True

    def take_dropped(self) -> list[tuple[Key, int]]:
        """Return how often each key was dropped since the last call."""
        dropped = [(key, count.dropped) for key, count in [*self._counts.items()] if count.dropped]
        for key, _ in dropped:
            self._counts[key].dropped = 0
        return dropped


_throttle: Final = Throttle[tuple[Event, type | None]]()


def node_name() -> str:
    """Return the name of this process in logs, attempts and lists of nodes: ``host:pid``."""
    return f"{platform.node()}:{os.getpid()}"


def configure(level: str, log_format: Literal["auto", "console", "json"]) -> None:
    """Log to standard error from now on.

    Args:
        level: The minimum level.
        log_format: ``auto`` is the console format on a terminal, and JSON elsewhere.
    """
    global _stderr, _min_level  # noqa: PLW0603 - there is one standard error
    _stderr = _stderr or NonblockingStderr(sys.stderr.fileno())
    _min_level = LEVELS[level]
    _capture_library_logs()
    is_console = sys.stderr.isatty() if log_format == "auto" else log_format == "console"
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_node,
            *(_console_format() if is_console else _json_format()),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _stderr)),
        cache_logger_on_first_use=False,
    )


@contextlib.contextmanager
def muted_log() -> Iterator[None]:
    """Log errors only during the block: for a service within another program.

    Repeats of errors are reported at its end, and hardly ever before: the time of a test may pass
    quickly.
    """
    global _min_level, _is_muted
    before = _min_level, _is_muted
    _min_level, _is_muted = max(_min_level, LEVELS["error"]), True
    try:
        yield
    finally:
        _min_level, _is_muted = before


def _console_format() -> list[Any]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            sort_keys=False,
            # The default uses rich if it is installed, which shows local variables.
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _json_format() -> list[Any]:
    return [_TRACEBACKS, _in_order, structlog.processors.JSONRenderer()]


def _add_node(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Any:
    return {**fields, "node": node_name()}


def _in_order(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Any:
    first = {name: fields[name] for name in _LEADING_FIELDS if name in fields}
    return {**first, **fields}


class _LibraryLog(logging.Handler):
    """Logs warnings of libraries as events, so that every line of the log is JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        emit_throttled(Event.LIBRARY_WARNING, library=record.name, reason=record.getMessage())


def _capture_library_logs() -> None:
    # The pool logs every failed attempt to connect; STORE_LOST reports an outage once.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    root = logging.getLogger()
    if not any(isinstance(handler, _LibraryLog) for handler in root.handlers):
        root.addHandler(_LibraryLog(logging.WARNING))


def bind_task(task: uuid.UUID, attempt: int) -> None:
    """Add this attempt to all events that the current Trio task logs from now on."""
    _bound_task.set({"task": task, "attempt": attempt})


def emit(event: Event, *, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event, at most ``MAX_PER_PERIOD`` times per period; further ones are counted.

    Args:
        event: The event.
        error: For internal errors, the exception whose traceback is logged.
        fields: Further fields, by name.
    """
    if event.number >= _min_level:  # first: most events are emitted for every task
        _emit(event, error, fields, MAX_PER_PERIOD)


def emit_throttled(event: Event, *, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event at most once per period; further ones are counted.

    Args:
        event: The event.
        error: The exception whose traceback is logged. Each type of exception counts separately.
        fields: Further fields, by name.
    """
    if event.number >= _min_level:
        _emit(event, error, fields, 1)


async def report_repeats() -> None:
    """Log the number of throttled events once per period and at the end; runs until canceled."""
    try:
        while True:
            await trio.sleep(_MUTED_REPORT_SECONDS if _is_muted else PERIOD_SECONDS)
            _report_repeats()
    finally:
        _report_repeats()


def _report_repeats() -> None:
    for (event, _), times in _throttle.take_dropped():
        _write(event, repeats=times)


def _emit(
    event: Event, error: BaseException | None, fields: dict[str, Any], max_per_period: int
) -> None:
    # Each nursery on the way wraps an exception in a group of one.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    # Debug events are never throttled: that level promises a line per task.
    if event.number == logging.DEBUG or _throttle.admit((event, type(error)), max_per_period):
        exception = {"exc_info": error} if error else {}
        _write(event, **{**_bound_task.get(), **fields, **exception})


def _write(event: Event, **fields: Any) -> None:
    # A closed standard error must not end the process.
    with _writing, contextlib.suppress(OSError, ValueError):
        if _stderr is not None and (lost := _stderr.take_dropped()):
            _write(Event.LINES_LOST, lines=lost)
        values = {name: _as_text(value) for name, value in fields.items()}
        getattr(structlog.get_logger(), event.level)(event.wording, **values)


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, uuid.UUID) else value


class NonblockingStderr:
    """Writes lines to standard error, and drops them while its reader does not read.

    A pipe without a reader is full after 64 KiB; the next blocking write would stop the event
    loop. A line that was written in part is kept and completed later; lines that arrive meanwhile
    are dropped and counted.
    """

    def __init__(self, number: int) -> None:
        self._file = _reopened_nonblocking(number)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLOUT)
        self._rest = b""
        self._dropped = 0

    def write(self, line: str) -> None:
        """Write a line, or drop it."""
        self._write_rest()
        if self._rest:
            self._dropped += 1
            return
        self._rest = line.encode("utf-8", "backslashreplace")
        self._write_rest()

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def take_dropped(self) -> int:
        """Return the number of dropped lines and reset it; 0 while there is no room to report."""
        self._write_rest()
        if self._rest:
            return 0
        dropped, self._dropped = self._dropped, 0
        return dropped

    def _write_rest(self) -> None:
        # A pipe that polls as writable has room for PIPE_BUF bytes (pipe(7)).
        with contextlib.suppress(BlockingIOError):
            while self._rest and self._poll.poll(0):
                self._rest = self._rest[os.write(self._file, self._rest[: select.PIPE_BUF]) :]


def _reopened_nonblocking(number: int) -> int:
    """Open the same pipe again without blocking; other processes keep their blocking end.

    Polling alone is not enough: another process may fill the pipe between poll and write.
    """
    if not stat.S_ISFIFO(os.fstat(number).st_mode):
        return number
    try:
        return os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return number
