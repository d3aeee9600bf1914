"""All metrics: names, labels, buckets and help texts, from which the reference is generated.

Labels have few values, all known before anything is counted; paths, hosts, keys and ids are not
among them. The exception is ``queue``, with as many values as ``GET /stats`` lists.
"""

from __future__ import annotations

import enum
import itertools
from typing import Final

import msgspec

from taskflow.model.alerts import NoticeKind
from taskflow.model.heartbeat_monitors import HeartbeatState
from taskflow.model.outcome import ErrorType, Refusal
from taskflow.model.task import TaskStatus

Labels = tuple[str, ...]

NO_ROUTE: Final = "none"
OTHER: Final = "other"

# In seconds. Tasks may wait for hours while a target is down.
WAIT_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0),
)
FETCH_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
SETTLE_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
HTTP_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)


class Kind(enum.StrEnum):
    """The type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class AttemptEnd(enum.StrEnum):
    """How a claim ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRIED = "retried"
    """The attempt failed, and there will be another one."""
    INTERRUPTED = "interrupted"
    """A shutdown or a lost lease canceled the fetch, and the task was released."""
    POSTPONED = "postponed"
    """The egress proxy or a token endpoint failed, and the task was released to start later."""
    PARKED = "parked"
    """The target accepted the work; the outcome of the attempt is counted when it is known."""
    UNSTARTED = "unstarted"
    """The task was released before its fetch started."""
    CANCELED = "canceled"
    """The task was canceled."""


class ProxyResult(enum.StrEnum):
    """The result of a request through the egress proxy."""

    RESPONSE = "response"
    """A response arrived."""
    REFUSED = "refused"
    """The proxy did not connect to the target."""
    FAILED = "failed"
    """The proxy failed."""


class TokenResult(enum.StrEnum):
    """The result of a request for an access token."""

    GRANTED = "granted"
    """The endpoint granted a token."""
    REFUSED = "refused"
    """The endpoint rejected the request, or its response has no token."""
    FAILED = "failed"
    """The endpoint did not answer, or asked to try again later."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A metric.

    Attributes:
        name: Name for Prometheus.
        kind: Type.
        help: Help text.
        labels: Names of the labels.
        series: All combinations of label values; ``None`` if only a running service knows them.
        buckets: Upper bounds of a histogram.
        is_of_store: True if it is read from the store at each scrape: then all nodes report the
            same value, which is to be aggregated with ``max``, never ``sum``.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    series: tuple[Labels, ...] | None = ((),)
    buckets: tuple[float, ...] = ()
    is_of_store: bool = False

    @property
    def width(self) -> int:
        """Cells per series: one, or for a histogram its buckets, ``+Inf`` and the sum."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1


def _one_label(values: type[enum.StrEnum] | Labels) -> tuple[Labels, ...]:
    return tuple((str(value),) for value in values)


_FAILURES: Final = (AttemptEnd.FAILED, AttemptEnd.RETRIED)
POSTPONING: Final = (ErrorType.PROXY, ErrorType.KEY_MISSING, ErrorType.TOKEN)
"""The error types that postpone a task without using an attempt."""
_WITH_ERROR_TYPE: Final = (*_FAILURES, AttemptEnd.POSTPONED)

ACCEPTED: Final = Family(
    name="taskflow_accepted_tasks_total",
    kind=Kind.COUNTER,
    help="Tasks submitted over HTTP and stored, without repeated requests.",
)
CLAIMED: Final = Family(
    name="taskflow_claimed_tasks_total",
    kind=Kind.COUNTER,
    help="Tasks that this node claimed: by a claim, or directly when they were stored.",
    labels=("way",),
    series=(("claim",), ("direct",)),
)
ATTEMPTS: Final = Family(
    name="taskflow_attempts_total",
    kind=Kind.COUNTER,
    help="Claims that have ended, by outcome; counted when the outcome is written. error_type is "
    "the error of failed, retried and postponed attempts, and empty otherwise.",
    labels=("outcome", "error_type"),
    series=(
        *((str(end), "") for end in AttemptEnd if end not in _WITH_ERROR_TYPE),
        *itertools.product(map(str, _FAILURES), map(str, ErrorType)),
        *((str(AttemptEnd.POSTPONED), str(kind)) for kind in POSTPONING),
    ),
)
DROPPED: Final = Family(
    name="taskflow_outcomes_dropped_total",
    kind=Kind.COUNTER,
    help="Outcomes that were dropped because the claim was no longer held: the task was canceled "
    "(canceled), or rescued by another node (late).",
    labels=("reason",),
    series=(("canceled",), ("late",)),
)
WAIT: Final = Family(
    name="taskflow_task_wait_seconds",
    kind=Kind.HISTOGRAM,
    help="Time from when a task is due until its fetch starts.",
    buckets=WAIT_BUCKETS,
)
FETCH: Final = Family(
    name="taskflow_fetch_seconds",
    kind=Kind.HISTOGRAM,
    help="Duration of fetches that ended with a response or a failure.",
    buckets=FETCH_BUCKETS,
)
SETTLE: Final = Family(
    name="taskflow_settle_seconds",
    kind=Kind.HISTOGRAM,
    help="Time from the end of a fetch until its outcome is written.",
    buckets=SETTLE_BUCKETS,
)
REFUSALS: Final = Family(
    name="taskflow_guard_refusals_total",
    kind=Kind.COUNTER,
    help="Fetches that the guard refused, by rule: denied_host, port, address, "
    "resolved_address (a host name that resolves to an internal address), internal_name (an "
    "internal name that only the egress proxy could resolve), or credential (the credential of the "
    "task may not be sent there).",
    labels=("rule",),
    series=_one_label(Refusal),
)
PROXIED: Final = Family(
    name="taskflow_proxy_requests_total",
    kind=Kind.COUNTER,
    help="Requests through the egress proxy, by result: response, refused (the proxy did not "
    "connect to the target), or failed (the proxy failed).",
    labels=("result",),
    series=_one_label(ProxyResult),
)
TOKEN_REQUESTS: Final = Family(
    name="taskflow_token_requests_total",
    kind=Kind.COUNTER,
    help="Requests to token endpoints of OAuth 2.0, by result: granted, refused (the endpoint "
    "rejected the credential), or failed (the endpoint did not answer, or asked to try later).",
    labels=("result",),
    series=_one_label(TokenResult),
)
BREAKER_MOVES: Final = Family(
    name="taskflow_breaker_moves_total",
    kind=Kind.COUNTER,
    help="Circuit breakers that this node opened or closed.",
    labels=("move",),
    series=(("opened",), ("closed",)),
)
ENDPOINTS_DISABLED: Final = Family(
    name="taskflow_endpoints_disabled_total",
    kind=Kind.COUNTER,
    help="Endpoints of topics that this node disabled, because their attempts had failed for "
    "`TASKFLOW_ENDPOINT_DISABLE_SECONDS` or were answered with 410.",
)
ALERT_NOTIFICATIONS: Final = Family(
    name="taskflow_alert_notifications_total",
    kind=Kind.COUNTER,
    help="Notifications of alerts that this node stored, by what they say: that the alert fires, "
    "that it recovered, or that it fired and recovered since the last one. Tests are not counted.",
    labels=("kind",),
    series=tuple((kind.value,) for kind in NoticeKind if kind is not NoticeKind.TEST),
)
RESCUED: Final = Family(
    name="taskflow_rescued_tasks_total",
    kind=Kind.COUNTER,
    help="Tasks that this node rescued from dead nodes, now pending or failed as poison.",
    labels=("fate",),
    series=(("pending",), ("poison",)),
)
LEASES_LOST: Final = Family(
    name="taskflow_leases_lost_total",
    kind=Kind.COUNTER,
    help="Number of times this node lost its lease and canceled its running fetches.",
)
OUTAGES: Final = Family(
    name="taskflow_store_outages_total",
    kind=Kind.COUNTER,
    help="Number of times the store became unavailable for this node.",
)
HTTP_REQUESTS: Final = Family(
    name="taskflow_http_requests_total",
    kind=Kind.COUNTER,
    help="Responses to requests. route is none if no route matches, or if the request was rejected "
    "before routing.",
    labels=("method", "route", "code"),
    series=None,
)
HTTP_SECONDS: Final = Family(
    name="taskflow_http_request_seconds",
    kind=Kind.HISTOGRAM,
    help="Time from the headers of a request to the headers of its response, including the time "
    "that a client asked to wait for a task.",
    labels=("method", "route"),
    series=None,
    buckets=HTTP_BUCKETS,
)
HTTP_IN_FLIGHT: Final = Family(
    name="taskflow_http_requests_in_flight",
    kind=Kind.GAUGE,
    help="Requests in progress, including open event streams.",
)
PROCESSES: Final = Family(
    name="taskflow_processes",
    kind=Kind.GAUGE,
    help="Number of processes of one `taskflow serve` or Hypercorn that these metrics cover.",
)
ENGINES_RUNNING: Final = Family(
    name="taskflow_engines_running",
    kind=Kind.GAUGE,
    help="Processes of these that claim and run tasks.",
)
STORES_REACHED: Final = Family(
    name="taskflow_engines_reaching_store",
    kind=Kind.GAUGE,
    help="Processes of these whose engine reached the store at its last attempt.",
)
WORKERS: Final = Family(
    name="taskflow_workers",
    kind=Kind.GAUGE,
    help="Maximum number of simultaneous fetches.",
)
CLAIMS_HELD: Final = Family(
    name="taskflow_claims_in_hand",
    kind=Kind.GAUGE,
    help="Claims that wait for a worker (waiting), are being fetched (running), or have an outcome "
    "that is not written yet (unwritten).",
    labels=("state",),
    series=(("waiting",), ("running",), ("unwritten",)),
)
MAX_CLAIMS: Final = Family(
    name="taskflow_claims_in_hand_limit",
    kind=Kind.GAUGE,
    help="Maximum number of claims that may be held.",
)
DATABASE_CONNECTIONS: Final = Family(
    name="taskflow_database_connections",
    kind=Kind.GAUGE,
    help="Connections to the database, used or free, by pool: one for heartbeats, one for all "
    "other work.",
    labels=("pool", "state"),
    series=tuple(itertools.product(("work", "heartbeats"), ("used", "free"))),
)
DATABASE_WAITING: Final = Family(
    name="taskflow_database_calls_waiting",
    kind=Kind.GAUGE,
    help="Calls that wait for a connection to the database.",
    labels=("pool",),
    series=(("work",), ("heartbeats",)),
)
FETCH_CONNECTIONS: Final = Family(
    name="taskflow_fetch_connections",
    kind=Kind.GAUGE,
    help="Connections to targets: with a request in progress (used), or kept alive (idle).",
    labels=("state",),
    series=(("used",), ("idle",)),
)
LISTENERS: Final = Family(
    name="taskflow_listeners",
    kind=Kind.GAUGE,
    help="Listeners for notifications of other nodes. While one is lost, its process polls. Zero "
    "with the memory store and behind PgBouncer, where nodes do not listen.",
    labels=("state",),
    series=(("connected",), ("lost",)),
)
BUILD: Final = Family(
    name="taskflow_build_info",
    kind=Kind.GAUGE,
    help="Always 1; the label is the version of TaskFlow.",
    labels=("version",),
    series=None,
)
STORE_UP: Final = Family(
    name="taskflow_store_up",
    kind=Kind.GAUGE,
    help="Whether the store answered this scrape in time. If not, or while too many searches are "
    "in progress, the metrics that are read from it are missing.",
)
CELL_UP: Final = Family(
    name="taskflow_cell_up",
    kind=Kind.GAUGE,
    help="Whether a cell of the store answered this scrape in time; only if there are cells. The "
    "metrics that are read from the store leave out cells that did not.",
    labels=("cell",),
    series=None,
)
CELL_HAS_NODES: Final = Family(
    name="taskflow_cell_has_nodes",
    kind=Kind.GAUGE,
    help="Whether a node runs the tasks of a cell of the store; only if there are cells, and only "
    "for cells that answered this scrape in time.",
    labels=("cell",),
    series=None,
)
STORE_SECONDS: Final = Family(
    name="taskflow_store_scrape_seconds",
    kind=Kind.GAUGE,
    help="Time that the store took to answer this scrape, or to fail.",
)
TASKS: Final = Family(
    name="taskflow_tasks",
    kind=Kind.GAUGE,
    help="Tasks by queue and status, as counted by GET /stats.",
    labels=("queue", "status"),
    series=None,
    is_of_store=True,
)
TASKS_UNLISTED: Final = Family(
    name="taskflow_tasks_unlisted",
    kind=Kind.GAUGE,
    help="Tasks by status in the queues beyond the first 1,000, which are not listed.",
    labels=("status",),
    series=_one_label(TaskStatus),
    is_of_store=True,
)
OLDEST_WAITING: Final = Family(
    name="taskflow_oldest_waiting_seconds",
    kind=Kind.GAUGE,
    help="Time that the oldest PENDING task of a queue has been due; 0 if none is due.",
    labels=("queue",),
    series=None,
    is_of_store=True,
)
OLDEST_WAITING_OF_ALL: Final = Family(
    name="taskflow_oldest_waiting_of_all_seconds",
    kind=Kind.GAUGE,
    help="Time that the oldest PENDING task of all queues has been due; 0 if none is due.",
    is_of_store=True,
)
HEARTBEATS: Final = Family(
    name="taskflow_heartbeats",
    kind=Kind.GAUGE,
    help="Heartbeats of jobs by state.",
    labels=("state",),
    series=_one_label(HeartbeatState),
    is_of_store=True,
)
BREAKER_HOSTS: Final = Family(
    name="taskflow_breaker_hosts",
    kind=Kind.GAUGE,
    help="Hosts whose circuit breaker is open, or half-open (one task at a time probes the host). "
    "At most 1,000 are counted; all other breakers are closed.",
    labels=("state",),
    series=(("open",), ("half_open",)),
    is_of_store=True,
)

CATALOGUE: Final = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""All metrics, in the order of the reference and of ``/metrics``."""
