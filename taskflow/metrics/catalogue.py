"""Every metric: name, labels, buckets, meaning. ``docs/reference/metrics.md`` is written from it.

Labels have few values, known before anything is counted: no path, host, key or id is among them.
Queues alone are told by name, as many as ``GET /stats`` lists.
"""

from __future__ import annotations

import enum
import itertools
from typing import Final

import msgspec

from taskflow.model.outcome import ErrorType, Refusal
from taskflow.model.task import TaskStatus

Labels = tuple[str, ...]

NO_ROUTE: Final = "none"
OTHER: Final = "other"

# In seconds. A wait may be long, an outage of a target included.
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
    """What kind of number it is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class AttemptEnd(enum.StrEnum):
    """What came of a claim."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRIED = "retried"
    """It failed, and there will be another attempt."""
    INTERRUPTED = "interrupted"
    """It was cut off by a shutdown or the loss of the lease, and put back."""
    UNSTARTED = "unstarted"
    """It was put back before its fetch began."""
    CANCELED = "canceled"
    """Its task was canceled."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A metric.

    Attributes:
        name: As Prometheus is told it.
        kind: What it is.
        help: What it means, in a line.
        labels: Their names.
        series: All values that the labels have together; ``None`` if only a running service knows.
        buckets: Their upper bounds, of a histogram.
        is_of_store: Whether it is read from the store when it is asked for: then all nodes say the
            same, and ``max`` is to be taken over them, never ``sum``.
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
        """How many numbers a series of it is: one, or each bucket, what is beyond, and the sum."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1


def _one_label(values: type[enum.StrEnum] | Labels) -> tuple[Labels, ...]:
    return tuple((str(value),) for value in values)


_FAILURES: Final = (AttemptEnd.FAILED, AttemptEnd.RETRIED)

ACCEPTED: Final = Family(
    name="taskflow_accepted_tasks_total",
    kind=Kind.COUNTER,
    help="Tasks that were handed in over HTTP and kept, without those of repeated requests.",
)
CLAIMED: Final = Family(
    name="taskflow_claimed_tasks_total",
    kind=Kind.COUNTER,
    help="Tasks that this node took to run: by a claim, or handed over as they were stored.",
    labels=("way",),
    series=(("claim",), ("direct",)),
)
ATTEMPTS: Final = Family(
    name="taskflow_attempts_total",
    kind=Kind.COUNTER,
    help="Claims that are over, by what came of them; counted when that is written. error_type "
    "says why if it is failed or retried, and is empty otherwise.",
    labels=("outcome", "error_type"),
    series=(
        *((str(end), "") for end in AttemptEnd if end not in _FAILURES),
        *itertools.product(map(str, _FAILURES), map(str, ErrorType)),
    ),
)
DROPPED: Final = Family(
    name="taskflow_outcomes_dropped_total",
    kind=Kind.COUNTER,
    help="Outcomes that were not kept, for the claim was over: the task was canceled (canceled), "
    "or other nodes have it (late).",
    labels=("reason",),
    series=(("canceled",), ("late",)),
)
WAIT: Final = Family(
    name="taskflow_task_wait_seconds",
    kind=Kind.HISTOGRAM,
    help="From when a task is due to when its fetch begins.",
    buckets=WAIT_BUCKETS,
)
FETCH: Final = Family(
    name="taskflow_fetch_seconds",
    kind=Kind.HISTOGRAM,
    help="How long a fetch takes that comes to an answer or a failure.",
    buckets=FETCH_BUCKETS,
)
SETTLE: Final = Family(
    name="taskflow_settle_seconds",
    kind=Kind.HISTOGRAM,
    help="From the end of a fetch to when its outcome is written.",
    buckets=SETTLE_BUCKETS,
)
REFUSALS: Final = Family(
    name="taskflow_guard_refusals_total",
    kind=Kind.COUNTER,
    help="Fetches that the guard refused, by its rule: denied_host, port, address, or "
    "resolved_address, for a name that leads inside.",
    labels=("rule",),
    series=_one_label(Refusal),
)
BREAKER_MOVES: Final = Family(
    name="taskflow_breaker_moves_total",
    kind=Kind.COUNTER,
    help="How often this node had a host left alone (opened), or found it well again (closed).",
    labels=("move",),
    series=(("opened",), ("closed",)),
)
RESCUED: Final = Family(
    name="taskflow_rescued_tasks_total",
    kind=Kind.COUNTER,
    help="Tasks that this node took from dead nodes: to run again (pending), or given up (poison).",
    labels=("fate",),
    series=(("pending",), ("poison",)),
)
LEASES_LOST: Final = Family(
    name="taskflow_leases_lost_total",
    kind=Kind.COUNTER,
    help="How often this node lost its lease, and stopped what it ran.",
)
OUTAGES: Final = Family(
    name="taskflow_store_outages_total",
    kind=Kind.COUNTER,
    help="How often this node found that the store could not be reached.",
)
HTTP_REQUESTS: Final = Family(
    name="taskflow_http_requests_total",
    kind=Kind.COUNTER,
    help="Requests that were answered. route is none for those that no route has, or that were "
    "refused before it was looked for.",
    labels=("method", "route", "code"),
    series=None,
)
HTTP_SECONDS: Final = Family(
    name="taskflow_http_request_seconds",
    kind=Kind.HISTOGRAM,
    help="From the head of a request to the head of its answer; where a client asks to wait for a "
    "task, that wait included.",
    labels=("method", "route"),
    series=None,
    buckets=HTTP_BUCKETS,
)
HTTP_IN_FLIGHT: Final = Family(
    name="taskflow_http_requests_in_flight",
    kind=Kind.GAUGE,
    help="Requests that are being answered; event streams are among them for as long as they last.",
)
PROCESSES: Final = Family(
    name="taskflow_processes",
    kind=Kind.GAUGE,
    help="How many processes these metrics are of: those of one Hypercorn are told together.",
)
ENGINES_RUNNING: Final = Family(
    name="taskflow_engines_running",
    kind=Kind.GAUGE,
    help="In how many of them tasks are taken and run.",
)
STORES_REACHED: Final = Family(
    name="taskflow_engines_reaching_store",
    kind=Kind.GAUGE,
    help="In how many of them the engine got through to the store when it last tried.",
)
WORKERS: Final = Family(
    name="taskflow_workers",
    kind=Kind.GAUGE,
    help="How many fetches may run at once.",
)
CLAIMS_HELD: Final = Family(
    name="taskflow_claims_in_hand",
    kind=Kind.GAUGE,
    help="Claims that wait in the channel to the workers, are being fetched (running), or have an "
    "outcome that is not written yet (unwritten).",
    labels=("state",),
    series=(("waiting",), ("running",), ("unwritten",)),
)
MAX_CLAIMS: Final = Family(
    name="taskflow_claims_in_hand_limit",
    kind=Kind.GAUGE,
    help="How many claims may be in hand.",
)
DATABASE_CONNECTIONS: Final = Family(
    name="taskflow_database_connections",
    kind=Kind.GAUGE,
    help="Connections to the database that are in use or free, by pool: that of all work, and that "
    "of heartbeats.",
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
    help="Connections to targets that serve a request (used) or are kept for another one (idle).",
    labels=("state",),
    series=(("used",), ("idle",)),
)
LISTENERS: Final = Family(
    name="taskflow_listeners",
    kind=Kind.GAUGE,
    help="Listeners for the notifications of other nodes. While one is lost its process looks for "
    "work by the clock. There are none where nobody listens (memory, PgBouncer).",
    labels=("state",),
    series=(("connected",), ("lost",)),
)
BUILD: Final = Family(
    name="taskflow_build_info",
    kind=Kind.GAUGE,
    help="Always 1; its label is the version of TaskFlow.",
    labels=("version",),
    series=None,
)
STORE_UP: Final = Family(
    name="taskflow_store_up",
    kind=Kind.GAUGE,
    help="Whether the store answered this scrape in time. If not, what is read from it is missing, "
    "as it is while too many searches are under way.",
)
STORE_SECONDS: Final = Family(
    name="taskflow_store_scrape_seconds",
    kind=Kind.GAUGE,
    help="How long the store took to answer this scrape, or to fail to.",
)
TASKS: Final = Family(
    name="taskflow_tasks",
    kind=Kind.GAUGE,
    help="How many tasks each queue has of each status, as GET /stats counts them.",
    labels=("queue", "status"),
    series=None,
    is_of_store=True,
)
TASKS_UNLISTED: Final = Family(
    name="taskflow_tasks_unlisted",
    kind=Kind.GAUGE,
    help="The same for the queues that are not listed, for there are more than 1,000.",
    labels=("status",),
    series=_one_label(TaskStatus),
    is_of_store=True,
)
OLDEST_WAITING: Final = Family(
    name="taskflow_oldest_waiting_seconds",
    kind=Kind.GAUGE,
    help="For how long the oldest PENDING task of a queue has been due; 0 if none is.",
    labels=("queue",),
    series=None,
    is_of_store=True,
)
OLDEST_WAITING_OF_ALL: Final = Family(
    name="taskflow_oldest_waiting_of_all_seconds",
    kind=Kind.GAUGE,
    help="For how long the oldest PENDING task of all has been due; 0 if none is.",
    is_of_store=True,
)
BREAKER_HOSTS: Final = Family(
    name="taskflow_breaker_hosts",
    kind=Kind.GAUGE,
    help="Hosts that failed again and again: left alone (open), or tried by one task at a time "
    "(half_open). 1,000 are looked at, at most; all others are well.",
    labels=("state",),
    series=(("open",), ("half_open",)),
    is_of_store=True,
)

CATALOGUE: Final = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""All of them, in the order in which they are told."""
