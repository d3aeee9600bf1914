"""All events of the log, with their levels and wordings."""

from __future__ import annotations

import enum
import logging
from typing import Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Event(enum.Enum):
    """Every event that is logged, with its level and wording."""

    def __init__(self, level: str, wording: str) -> None:
        self.level: Final = level
        self.wording: Final = wording
        self.number: Final = LEVELS[level]

    SETTING_UNKNOWN = ("warning", "unknown setting")
    KEYS_READ = ("info", "API keys loaded")
    KEY_SHORT = (
        "warning",
        "API key is short and can be guessed; create one with `taskflow key new`",
    )
    KEYS_FILE_OPEN = ("warning", "the API keys file is readable by every user of this machine")
    KEYS_NOT_READ = ("error", "API keys not reloaded, the previous keys stay valid")
    SECRETS_READ = ("info", "signing secrets loaded")
    SECRETS_FILE_OPEN = (
        "warning",
        "the webhook secrets file is readable by every user of this machine",
    )
    ENCRYPTION_KEYS_READ = ("info", "encryption keys loaded")
    ENCRYPTION_KEYS_FILE_OPEN = (
        "warning",
        "the encryption keys file is readable by every user of this machine",
    )
    ENCRYPTION_KEY_MISSING = (
        "error",
        "tasks wait: this node lacks the key that decrypts them or their credentials",
    )
    ANONYMOUS_ALLOWED = ("warning", "no API keys: every client that can connect has full access")
    STARTING = ("info", "starting")
    POSTGRES_STARTED = ("info", "embedded PostgreSQL started")
    POSTGRES_ALREADY_RUNNING = ("info", "embedded PostgreSQL is already running")
    POSTGRES_STOPPED = ("info", "embedded PostgreSQL stopped")
    POSTGRES_STOPPING = ("info", "embedded PostgreSQL is still shutting down")
    POSTGRES_EXITED = ("warning", "embedded PostgreSQL exited unexpectedly, restarting it")
    POSTGRES_FAILED = ("error", "embedded PostgreSQL failed to start")
    STORE_OPENED = ("info", "store opened")
    CELL_UNAVAILABLE = ("warning", "a cell cannot be opened, trying again")
    CELLS_CHANGED = ("info", "map of cells read")
    CELL_FENCED = ("warning", "a removed cell is back; its tasks are not served or run")
    MIGRATED = ("info", "migration applied")
    DISTRIBUTED = ("info", "schema adapted to Citus")
    WORKERS_STARTED = ("info", "workers started")
    LISTENING = ("info", "listening")
    PROCESS_NOT_STARTED = ("error", "a process cannot be started")
    PROCESS_EXITED = ("error", "a process exited, restarting it")
    SHUTDOWN_STARTED = ("info", "shutting down")
    SHUTDOWN_FORCED = ("warning", "shutting down at once, without draining")
    STOPPED = ("info", "stopped")
    CRASHED = ("error", "crashed")
    STORE_LOST = ("warning", "store unavailable")
    STORE_BACK = ("info", "store available again")
    DATABASE_HOST_CHANGED = ("warning", "connected to another host of the database")
    LISTENER_LOST = ("warning", "notifications unavailable, polling instead")
    LISTENER_BACK = ("info", "notifications available")
    LEASE_LOST = ("error", "lease lost, running fetches canceled")
    TASKS_RESCUED = ("warning", "tasks of dead nodes rescued")
    TASK_FINISHED = ("debug", "task finished")
    TASK_PARKED = ("debug", "task parked until its target reports the outcome")
    TASK_RETRIED = ("debug", "attempt failed, task will be retried")
    PROMOTION_FAILED = ("error", "cannot start a task that waited for others")
    TASKS_EXPIRED = ("debug", "tasks expired")
    TASKS_DELETED = ("debug", "finished tasks deleted after their retention")
    TASKS_ARCHIVED = ("debug", "finished tasks moved to the archive")
    ARCHIVE_BLOCKED = ("warning", "finished tasks cannot be moved to the archive")
    SCHEDULES_FIRED = ("debug", "schedules fired")
    SCHEDULE_ERROR = ("error", "cannot compute the times of a schedule, left to other nodes")
    HEARTBEAT_DOWN = ("warning", "a heartbeat is down")
    HEARTBEAT_OUTAGE = ("warning", "no node was running for a time, pings may be lost")
    HEARTBEAT_ERROR = ("error", "cannot check a heartbeat, trying again later")
    CLAIMS_RECONCILED = ("warning", "tasks of unconfirmed claims released")
    TASK_RELEASED = ("debug", "task released")
    TASK_POSTPONED = ("debug", "task postponed, the attempt does not count")
    PROXY_FAILED = ("warning", "egress proxy failed, its tasks wait")
    TOKEN_NOT_OBTAINED = ("warning", "no access token from a token endpoint")
    ID_TOKEN_NOT_SIGNED = ("error", "this node cannot sign ID tokens, tasks that need one wait")
    PROXY_BACK = ("info", "egress proxy works again")
    TASK_CANCELED = ("debug", "task canceled")
    OUTCOME_TOO_LATE = ("warning", "outcome dropped, the claim was no longer held")
    OUTCOME_NOT_STORED = ("error", "outcome could not be stored")
    BREAKER_OPENED = ("warning", "circuit breaker opened for a host")
    BREAKER_CLOSED = ("info", "circuit breaker closed for a host")
    ENDPOINT_DISABLED = ("warning", "endpoint disabled")
    ALERT_FIRING = ("warning", "alert fires")
    ALERT_RECOVERED = ("info", "alert recovered")
    ALERT_NOT_EVALUATED = ("warning", "an alert could not be evaluated, trying again")
    FILE_DESCRIPTORS_EXHAUSTED = ("error", "no file descriptors left, fetches are delayed")
    REQUEST_UNSIGNED = (
        "error",
        "request not sent: it must be signed, and TASKFLOW_WEBHOOK_SECRETS is not set on this node",
    )
    COMPLETION_URL_MISSING = (
        "error",
        "request not sent: it needs a completion URL, and TASKFLOW_PUBLIC_URL is not set here",
    )
    FETCH_ERROR = ("error", "internal error in a fetch")
    REQUEST_ERROR = ("error", "internal error in a request")
    DOCUMENT_ERROR = ("error", "the OpenAPI document cannot be built")
    CONNECTION_ERROR = ("error", "internal error in a connection, connection closed")
    CONNECTIONS_FULL = ("warning", "connection limit reached, new connections are rejected")
    ACCEPT_FAILED = ("error", "cannot accept new connections")
    METRICS_NOT_SHARED = ("warning", "/metrics covers this process only, not the others")
    TRACING = ("info", "tracing enabled")
    SPANS_LOST = ("warning", "spans could not be exported")
    LIBRARY_WARNING = ("warning", "warning from a library")
    LINES_LOST = ("warning", "log lines dropped, standard error was not being read")
