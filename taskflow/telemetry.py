"""What the service says of itself: events with fields, and how they are logged.

Every event that is logged anywhere has its level and wording here.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import sys
from typing import Any, Final, Literal

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
    TASKS_DELETED = ("debug", "old tasks deleted")
    CLAIMS_RECONCILED = ("warning", "tasks put back whose claim was not answered")
    TASK_RELEASED = ("debug", "task released")
    TASK_WRITE_LATE = ("warning", "outcome came too late and was dropped")
    TASK_WRITE_REFUSED = ("error", "outcome could not be stored")
    FILES_USED_UP = ("error", "no file descriptors left, fetches are put off")
    FETCH_FAULT = ("error", "fault in the fetch")
    REQUEST_FAULT = ("error", "fault in a request")
    CONNECTION_FAULT = ("error", "fault in a connection, closed")


def configure(level: str, log_format: Literal["auto", "console", "json"]) -> None:
    """Send events to standard error from now on, as lines for people or as JSON."""
    # Its pool logs every attempt to connect; what matters of that we say ourselves, once.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderers: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if is_console or log_format == "auto"
        else [_TRACEBACKS, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def emit(event: Event, *, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event.

    Args:
        event: What happened.
        error: The exception whose traceback belongs to it, if it is a fault of ours.
        fields: What else is known, by name.
    """
    # Every nursery on the way wraps a fault once more; what went wrong is inside.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    level, wording = event.value
    logger = structlog.get_logger()
    # A log that nobody reads any more (a closed pipe) must not end what it tells of.
    with contextlib.suppress(OSError, ValueError):
        getattr(logger, level)(wording, **fields, **({"exc_info": error} if error else {}))
