"""What the service says of itself: events with fields, and how they are logged.

Every event that is logged anywhere has its level and wording here.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import platform
import sys
import threading
import uuid
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, Literal, TextIO, cast

import structlog
import structlog.tracebacks
import trio

from taskflow.telemetry import repetition
from taskflow.telemetry.nonblocking_stderr import PatientlessLog
from taskflow.telemetry.repetition import MOST_IN_A_PERIOD, Repeats

# Fields that stand before the others of their line.
_FIRST: Final = ("timestamp", "level", "event", "task", "attempt")

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

    def __init__(self, level: str, wording: str) -> None:
        self.level: Final = level
        self.wording: Final = wording
        self.number: Final = _LEVELS[level]

    SETTING_UNKNOWN = ("warning", "unknown setting")
    KEYS_READ = ("info", "keys in use")
    KEY_SHORT = ("warning", "key is short and could be guessed; `taskflow key new` makes long ones")
    KEYS_FILE_OPEN = ("warning", "every user of this machine can read the keys file")
    SECRETS_READ = ("info", "callbacks are signed")
    SECRETS_FILE_OPEN = ("warning", "every user of this machine can read the secrets for callbacks")
    ANONYMOUS_ALLOWED = ("warning", "no keys: whoever reaches this service may use it")
    STARTING = ("info", "taskflow starts")
    POSTGRES_STARTED = ("info", "embedded PostgreSQL started")
    POSTGRES_ALREADY_RUNNING = ("info", "embedded PostgreSQL was running already")
    POSTGRES_STOPPED = ("info", "embedded PostgreSQL stopped")
    POSTGRES_STOPPING = ("info", "embedded PostgreSQL is still stopping, and ends by itself")
    POSTGRES_EXITED = ("warning", "embedded PostgreSQL ended by itself, starting it again")
    POSTGRES_FAILED = ("error", "embedded PostgreSQL does not start")
    STORE_OPENED = ("info", "store opened")
    MIGRATED = ("info", "migration applied")
    WORKERS_STARTED = ("info", "workers started")
    LISTENING = ("info", "listening")
    SHUTDOWN_STARTED = ("info", "shutting down")
    SHUTDOWN_FORCED = ("warning", "shutting down at once")
    STOPPED = ("info", "stopped")
    CRASHED = ("error", "crashed")
    STORE_LOST = ("warning", "store unavailable")
    STORE_BACK = ("info", "store available again")
    LISTENER_LOST = ("warning", "notifications unavailable, polling")
    LISTENER_BACK = ("info", "notifications available")
    LEASE_LOST = ("error", "lease lost, own work stopped")
    TASKS_RESCUED = ("warning", "tasks of dead nodes rescued")
    TASK_FINISHED = ("debug", "task ended")
    TASK_RETRIED = ("debug", "attempt failed, another one later")
    TASKS_EXPIRED = ("debug", "tasks expired")
    TASKS_DELETED = ("debug", "old tasks deleted")
    SCHEDULES_FIRED = ("debug", "schedules fired")
    SCHEDULE_ERROR = ("error", "times of a schedule cannot be told here, left to other nodes")
    CLAIMS_RECONCILED = ("warning", "tasks put back whose claim was not answered")
    TASK_RELEASED = ("debug", "task released")
    TASK_CANCELED = ("debug", "task called off")
    OUTCOME_TOO_LATE = ("warning", "outcome came too late and was dropped")
    OUTCOME_NOT_STORED = ("error", "outcome could not be stored")
    BREAKER_OPENED = ("warning", "host fails again and again, left alone for a while")
    BREAKER_CLOSED = ("info", "host is well again")
    FILE_DESCRIPTORS_EXHAUSTED = ("error", "no file descriptors left, fetches are put off")
    CALLBACK_UNSIGNED = ("error", "no TASKFLOW_WEBHOOK_SECRETS on this node, callbacks are put off")
    FETCH_ERROR = ("error", "fault in the fetch")
    REQUEST_ERROR = ("error", "fault in a request")
    DOCUMENT_ERROR = ("error", "the OpenAPI document cannot be built")
    CONNECTION_ERROR = ("error", "fault in a connection, closed")
    CONNECTIONS_FULL = ("warning", "as many clients as may be, the next ones are turned away")
    ACCEPT_FAILED = ("error", "new connections cannot be taken")
    METRICS_NOT_SHARED = (
        "warning",
        "metrics of this process only, those of its siblings are not told",
    )
    TRACING = ("info", "traces are sent")
    SPANS_LOST = ("warning", "spans cannot be sent")
    LIBRARY_WARNING = ("warning", "a library complains")
    LINES_LOST = ("warning", "log lines lost, nobody was reading them")


_log: PatientlessLog | None = None
_least_level = logging.NOTSET
_writing: Final = threading.RLock()  # some libraries have threads
_repeats: Final = Repeats[tuple[Event, type | None]]()
# Which task the Trio task at hand is about.
_subject: Final = ContextVar[Mapping[str, object]]("subject", default=MappingProxyType({}))


def node_name() -> str:
    """What this process is called in logs, attempts and lists of nodes: host and process."""
    return f"{platform.node()}:{os.getpid()}"


def configure(level: str, log_format: Literal["auto", "console", "json"]) -> None:
    """Send events to standard error from now on, as lines for people or as JSON.

    Args:
        level: The least that is logged.
        log_format: ``auto`` is for people on a terminal, and JSON elsewhere.
    """
    global _log, _least_level  # noqa: PLW0603 - there is one standard error
    _log = _log or PatientlessLog(sys.stderr.fileno())
    _least_level = _LEVELS[level]
    _listen_to_libraries()
    is_for_people = sys.stderr.isatty() if log_format == "auto" else log_format == "console"
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_node,
            *(_for_people() if is_for_people else _for_programs()),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _log)),
        cache_logger_on_first_use=False,
    )


def _for_people() -> list[Any]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            sort_keys=False,
            # With rich at hand it would show the variables of frames: keys are among them.
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _for_programs() -> list[Any]:
    return [_TRACEBACKS, _in_order, structlog.processors.JSONRenderer()]


def _add_node(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Any:
    return {**fields, "node": node_name()}


def _in_order(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Any:
    first = {name: fields[name] for name in _FIRST if name in fields}
    return {**first, **fields}


class _LibraryLog(logging.Handler):
    """What libraries complain of, as events of ours: a line that is no JSON helps nobody."""

    def emit(self, record: logging.LogRecord) -> None:
        emit_throttled(Event.LIBRARY_WARNING, library=record.name, reason=record.getMessage())


def _listen_to_libraries() -> None:
    # Its pool logs every attempt to connect; what matters of that we say ourselves, once.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    root = logging.getLogger()
    if not any(isinstance(handler, _LibraryLog) for handler in root.handlers):
        root.addHandler(_LibraryLog(logging.WARNING))


def bind_task(task: uuid.UUID, attempt: int) -> None:
    """Name this attempt in what is logged from now on in the Trio task at hand."""
    _subject.set({"task": task, "attempt": attempt})


def emit(event: Event, *, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event, unless it was logged very often just now; then it is counted.

    Args:
        event: What happened.
        error: The exception whose traceback belongs to it, if it is a fault of ours.
        fields: What else is known, by name.
    """
    if event.number >= _least_level:  # first of all: most events are of every task
        _emit(event, error, fields, MOST_IN_A_PERIOD)


def emit_throttled(event: Event, *, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event that may come in floods, unless it was logged just now; then it is counted.

    Args:
        event: What happened.
        error: The exception whose traceback belongs to it; those of other types are other events.
        fields: What else is known, by name.
    """
    if event.number >= _least_level:
        _emit(event, error, fields, 1)


async def report_repeats() -> None:
    """Say now and then, until cancelled and then once more, what came too often to be logged."""
    try:
        while True:
            await trio.sleep(repetition.PERIOD_SECONDS)
            _tell_repeats()
    finally:
        _tell_repeats()


def _tell_repeats() -> None:
    for (event, _), times in _repeats.take_unsaid():
        _write(event, repeats=times)


def _emit(event: Event, error: BaseException | None, fields: dict[str, Any], most: int) -> None:
    # Every nursery on the way wraps a fault once more; what went wrong is inside.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    # Whoever asks for debugging asks for a line a task.
    if event.number == logging.DEBUG or _repeats.admit((event, type(error)), most):
        exception = {"exc_info": error} if error else {}
        _write(event, **{**_subject.get(), **fields, **exception})


def _write(event: Event, **fields: Any) -> None:
    # A log that nobody reads any more (a closed pipe) must not end what it tells of.
    with _writing, contextlib.suppress(OSError, ValueError):
        if _log is not None and (lost := _log.take_lost()):
            _write(Event.LINES_LOST, lines=lost)
        shown = {name: _shown(value) for name, value in fields.items()}
        getattr(structlog.get_logger(), event.level)(event.wording, **shown)


def _shown(value: object) -> object:
    return str(value) if isinstance(value, uuid.UUID) else value
