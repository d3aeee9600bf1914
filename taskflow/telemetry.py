"""What the service says of itself: events with fields, and how they are logged.

Every event that is logged anywhere has its level and wording here.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import math
import os
import select
import stat
import sys
import time
import uuid
from typing import Any, Final, Literal, TextIO, cast

import structlog
import structlog.tracebacks

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# Without the variables of the frames, which structlog would show: keys and passwords pass through
# them.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


class Event(enum.Enum):
    """Everything that is logged: its level and its wording."""

    SETTING_UNKNOWN = ("warning", "unknown setting")
    KEYS_READ = ("info", "keys in use")
    KEY_SHORT = ("warning", "key is short and could be guessed; `taskflow key new` makes long ones")
    KEYS_FILE_OPEN = ("warning", "every user of this machine can read the keys file")
    SECRETS_READ = ("info", "callbacks are signed")
    SECRETS_FILE_OPEN = ("warning", "every user of this machine can read the secrets for callbacks")
    ANONYMOUS_ALLOWED = ("warning", "no keys: whoever reaches this service may use it")
    STARTING = ("info", "taskflow starts")
    POSTGRES_STARTED = ("info", "embedded PostgreSQL started")
    POSTGRES_SHARED = ("info", "embedded PostgreSQL was running already")
    POSTGRES_STOPPED = ("info", "embedded PostgreSQL stopped")
    POSTGRES_ENDED = ("warning", "embedded PostgreSQL ended by itself, starting it again")
    POSTGRES_FAILED = ("error", "embedded PostgreSQL does not start")
    STORE_OPENED = ("info", "store opened")
    MIGRATED = ("info", "migration applied")
    WORKERS_STARTED = ("info", "workers started")
    LISTENING = ("info", "listening")
    SHUTDOWN_BEGUN = ("info", "shutting down")
    SHUTDOWN_HURRIED = ("warning", "shutting down at once")
    STOPPED = ("info", "stopped")
    CRASHED = ("error", "crashed")
    STORE_LOST = ("warning", "store unavailable")
    STORE_BACK = ("info", "store available again")
    LISTENER_LOST = ("warning", "notifications unavailable, polling")
    LISTENER_BACK = ("info", "notifications available")
    LEASE_LOST = ("error", "lease lost, own work stopped")
    TASKS_RESCUED = ("warning", "tasks of dead nodes rescued")
    TASK_ENDED = ("debug", "task ended")
    TASK_RETRIED = ("debug", "attempt failed, another one later")
    TASKS_EXPIRED = ("debug", "tasks expired")
    TASKS_DELETED = ("debug", "old tasks deleted")
    SCHEDULES_FIRED = ("debug", "schedules fired")
    SCHEDULE_FAULT = ("error", "times of a schedule cannot be told here, left to other nodes")
    CLAIMS_RECONCILED = ("warning", "tasks put back whose claim was not answered")
    TASK_RELEASED = ("debug", "task released")
    TASK_CALLED_OFF = ("debug", "task called off")
    TASK_WRITE_LATE = ("warning", "outcome came too late and was dropped")
    TASK_WRITE_REFUSED = ("error", "outcome could not be stored")
    HOST_HELD = ("warning", "host fails again and again, left alone for a while")
    HOST_FREED = ("info", "host is well again")
    FILES_USED_UP = ("error", "no file descriptors left, fetches are put off")
    CALLBACK_UNSIGNED = ("error", "no TASKFLOW_WEBHOOK_SECRETS on this node, callbacks are put off")
    FETCH_FAULT = ("error", "fault in the fetch")
    REQUEST_FAULT = ("error", "fault in a request")
    CONNECTION_FAULT = ("error", "fault in a connection, closed")
    CONNECTIONS_FULL = ("warning", "as many clients as may be, the next ones are turned away")
    ACCEPT_FAILED = ("error", "new connections cannot be taken")
    METRICS_APART = ("warning", "metrics of this process only, those of its siblings are not told")
    LINES_LOST = ("warning", "log lines lost, nobody was reading them")


# How often those events are logged that may come in floods.
SELDOM_SECONDS: Final = 10.0

_said_at: dict[Event, float] = {}


class PatientlessLog:
    """Standard error, for lines that nobody waits for.

    When its reader stops reading, a pipe is full after 64 KiB, and the next write would stop the
    whole event loop. So a line is written only while there is room; of those that come meanwhile
    the first is kept, for it may be half-written, and the others are dropped and counted.
    """

    def __init__(self, number: int) -> None:
        self._file = _without_waiting(number)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLOUT)
        self._rest = b""
        self._lost = 0

    def write(self, line: str) -> None:
        """Write a line, or drop it."""
        self._write_rest()
        if self._rest:
            self._lost += 1
            return
        self._rest = line.encode("utf-8", "backslashreplace")
        self._write_rest()

    def flush(self) -> None:
        """Do nothing: what could be written is."""

    def take_lost(self) -> int:
        """How many lines were dropped, once there is room to say so."""
        self._write_rest()
        if self._rest:
            return 0
        lost, self._lost = self._lost, 0
        return lost

    def _write_rest(self) -> None:
        # Where there is room at all there is room for PIPE_BUF bytes (pipe(7)).
        with contextlib.suppress(BlockingIOError):
            while self._rest and self._poll.poll(0):
                self._rest = self._rest[os.write(self._file, self._rest[: select.PIPE_BUF]) :]


def _without_waiting(number: int) -> int:
    """The same pipe opened anew, so that nobody who shares the old one feels it.

    Another process may take the room between the look and the write; only then this matters.
    """
    if not stat.S_ISFIFO(os.fstat(number).st_mode):
        return number
    try:
        return os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return number


_log: PatientlessLog | None = None
_least_level = logging.NOTSET


def configure(level: str, log_format: Literal["auto", "console", "json"]) -> None:
    """Send events to standard error from now on, as lines for people or as JSON."""
    global _log, _least_level  # noqa: PLW0603 - there is one standard error
    _log = _log or PatientlessLog(sys.stderr.fileno())
    _least_level = _LEVELS[level]
    # Its pool logs every attempt to connect; what matters of that we say ourselves, once.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    renderers: list[Any] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # With rich at hand it would show the variables of frames: keys are among them.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
        if log_format != "json"
        else [_TRACEBACKS, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _log)),
        cache_logger_on_first_use=False,
    )


def emit(event: Event, *, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event.

    Args:
        event: What happened.
        error: The exception whose traceback belongs to it, if it is a fault of ours.
        fields: What else is known, by name.
    """
    level, wording = event.value
    if _LEVELS[level] < _least_level:  # first of all: most events are of every task
        return
    # Every nursery on the way wraps a fault once more; what went wrong is inside.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    logger = structlog.get_logger()
    # A log that nobody reads any more (a closed pipe) must not end what it tells of.
    with contextlib.suppress(OSError, ValueError):
        if _log is not None and (lost := _log.take_lost()):
            emit(Event.LINES_LOST, lines=lost)
        shown = {name: _shown(value) for name, value in fields.items()}
        getattr(logger, level)(wording, **shown, **({"exc_info": error} if error else {}))


def _shown(value: object) -> object:
    return str(value) if isinstance(value, uuid.UUID) else value


def emit_seldom(event: Event, **fields: Any) -> None:
    """Log an event that may come in floods, unless it was logged just now."""
    now = time.monotonic()
    if now - _said_at.get(event, -math.inf) >= SELDOM_SECONDS:
        _said_at[event] = now
        emit(event, **fields)
