"""Claims of tasks, from the claim to its outcome: the store interface.

Each write that ends a claim carries the claim's token: it changes a task only while the task is
RUNNING under that token, and returns the ids of the changed tasks. So a late write of a node that
was presumed dead changes nothing.

A cancel ends the claim in the same statement, and reports which claim it was: to a node of this
process by a call, to other nodes by a notification. The token identifies the claim there too,
because the same node may have claimed the task again before the notification arrives.
"""

from __future__ import annotations

import abc
import contextlib
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from taskflow.checkpoints import Checkpoints
from taskflow.model.claim_selection import HostShares
from taskflow.model.masking import Masking
from taskflow.model.outcome import ErrorType
from taskflow.model.task import Claim, ClaimKey, NewTask, TaskStatus
from taskflow.wakeup import WakeUp

CANCELLATIONS_CHANNEL: Final = "taskflow_canceled"
# Claims that are kept for a node until it reads them: far more than a node may hold.
MAX_UNDELIVERED: Final = 10_000


class Settlement(msgspec.Struct, frozen=True):
    """The final outcome of a claim.

    Attributes:
        task_id: The task.
        token: The claim's token.
        status: COMPLETED or FAILED.
        result: JSON text, if COMPLETED.
        error: Message, if FAILED.
        error_type: Kind of the error, if FAILED.
        status_code: HTTP status of the response, if there was one.
        elapsed_seconds: Duration of the fetch.
        makes_room: True if other tasks may wait for the end of this one (``Claim.is_limited``).
        response: A ``KeptResponse`` as JSON text, if FAILED.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    status: TaskStatus
    result: bytes | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    status_code: int | None = None
    elapsed_seconds: float | None = None
    makes_room: bool = False
    response: bytes | None = None


class Retry(msgspec.Struct, frozen=True):
    """A failed attempt of a claim whose task is to be tried again after a delay.

    The other fields mean the same as in ``Settlement``.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    delay_seconds: float
    error: str
    error_type: ErrorType
    status_code: int | None = None
    elapsed_seconds: float | None = None
    makes_room: bool = False
    response: bytes | None = None


class Release(msgspec.Struct, frozen=True):
    """A claim that is released without an outcome.

    Attributes:
        task_id: The task.
        token: The claim's token.
        elapsed_seconds: Time until its fetch was interrupted; ``None`` if it never began.
        makes_room: As in ``Settlement``.
        delay_seconds: Delay until the task is due again; 0 leaves the due time as it is.
        error: Why it is released; ``None`` leaves the error of the task as it is.
        error_type: Kind of this error.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    elapsed_seconds: float | None = None
    makes_room: bool = False
    delay_seconds: float = 0.0
    error: str | None = None
    error_type: ErrorType | None = None


class Reservation(msgspec.Struct, frozen=True):
    """Room of a node for tasks that are being stored.

    Attributes:
        node_id: The node.
        token: The token of the claims.
        count: Number of tasks.
        deliver: Accepts the claims once they are made, in the order in which they are to run.
    """

    node_id: uuid.UUID
    token: uuid.UUID
    count: int
    deliver: Callable[[Sequence[Claim]], None]


_NO_ROOM: Final = Reservation(uuid.UUID(int=0), uuid.UUID(int=0), 0, lambda _: None)


class IdleNode(abc.ABC):
    """A node that waits for work, and would run new tasks at once."""

    @abc.abstractmethod
    def reserve(self, limit: int) -> contextlib.AbstractContextManager[Reservation]:
        """Reserve room for up to ``limit`` tasks within the block.

        If the block fails it is unknown whether the claims were made; the node has to find out.
        """


class DirectClaims:
    """Claims of new tasks in the statement that stores them, for a node that waits for work.

    Without them an idle node would claim a new task a moment later: another statement, another
    commit, two more versions of the row, and two more milliseconds before the task runs. Older
    tasks are not overtaken, because a node that has something to claim does not wait.

    Belongs to the Trio thread.
    """

    def __init__(self) -> None:
        self._node: IdleNode | None = None

    @contextlib.contextmanager
    def to(self, node: IdleNode | None) -> Iterator[None]:
        """Claim new tasks for this node within the block."""
        self._node = node
        try:
            yield
        finally:
            self._node = None

    @contextlib.contextmanager
    def reserved(self, tasks: Sequence[NewTask]) -> Iterator[tuple[Reservation, list[int]]]:
        """Reserve room for new tasks within the block.

        Yields the reservation and the indexes of the tasks that it is for, in the order in which
        they are to run.
        """
        due = [index for index, task in enumerate(tasks) if _is_due(task)]
        if self._node is None or not due:
            yield _NO_ROOM, []
            return
        with self._node.reserve(len(due)) as reservation:
            due.sort(key=lambda index: -tasks[index].priority)
            yield reservation, due[: reservation.count]


async def masked_claims(masking: Masking, claims: Iterable[Claim]) -> list[Claim]:
    """Return claims with the tasks in callbacks masked, of which each may have some MiB."""
    masked, checkpoints = [], Checkpoints()
    for claim in claims:
        masked.append(masking.claim(claim))
        await checkpoints.after(len(bytes(claim.payload)))
    return masked


def _is_due(task: NewTask) -> bool:
    """Return whether a task may run at once; times are for the store's clock to compare.

    Some tasks have to wait for others.
    """
    if task.waits:
        return False
    return task.delay_seconds <= 0 and task.run_at is None and task.expires_at is None


class ClaimStore(abc.ABC):
    """Claims tasks and writes their outcomes; a part of ``TaskStore``."""

    @abc.abstractmethod
    async def claim(
        self,
        node_id: uuid.UUID,
        *,
        limit: int,
        by_age: int = 0,
        token: uuid.UUID | None = None,
        shares: HostShares | None = None,
    ) -> list[Claim]:
        """Claim up to ``limit`` startable due tasks: by priority, then ``run_at``, then id.

        No task is claimed twice at once, and a node whose lease has ended gets none. The limits of
        queues hold across all nodes (see ``model.queue_limits``). Tasks of hosts that exceed their
        share come last (see ``model.claim_selection``).

        Args:
            node_id: The node.
            limit: Maximum number of tasks.
            by_age: Number of these that go to the tasks that have been due longest, whatever
                their priority.
            token: Token of the claims; made up if not given.
            shares: The node's tasks by host; without them hosts need not share.
        """

    @abc.abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        """Finish the tasks of these claims, where still held."""

    @abc.abstractmethod
    async def schedule_retries(self, retries: Sequence[Retry]) -> set[uuid.UUID]:
        """Make the tasks of these claims PENDING, due after a delay, where still held."""

    @abc.abstractmethod
    async def release(self, releases: Sequence[Release]) -> set[uuid.UUID]:
        """Make the tasks of these claims PENDING as if never claimed, where still held.

        They are due at once, or after the delay of the release.

        Attempts that had begun are recorded as interrupted.
        """

    @abc.abstractmethod
    async def lost_claims(self, claims: Collection[ClaimKey]) -> set[ClaimKey]:
        """Return the claims, of these, that are no longer held."""

    @abc.abstractmethod
    async def wait_for_work(self, node: IdleNode | None = None) -> None:
        """Return when there may be something new to claim.

        That is when tasks were submitted or released, when one becomes due, and when a held one
        may start. Until then new tasks are claimed for the node as they are stored, as long as it
        has room; this does not return for these.

        Returns at once if there was something since the last call. One task at a time may wait. It
        is a hint: it may return for nothing, and (rarely) not return at all, so callers also claim
        periodically.
        """

    @abc.abstractmethod
    async def wait_for_cancellations(self, node_id: uuid.UUID) -> set[ClaimKey]:
        """Return claims of this node whose tasks were canceled, as soon as there are any.

        Nothing is missed between two calls, from ``register`` to ``retire``. One task at a time
        may wait. It is a hint, too: nodes also call ``lost_claims`` periodically.
        """


class _Mailbox:
    """Canceled claims that a node has not read yet."""

    def __init__(self) -> None:
        self.filled: Final = WakeUp()
        self.keys: set[ClaimKey] = set()


class Cancellations:
    """Canceled claims of the nodes of this process. Belongs to the Trio thread."""

    def __init__(self) -> None:
        self._mailboxes: dict[uuid.UUID, _Mailbox] = {}

    def register(self, node_id: uuid.UUID) -> None:
        """Keep cancellations for this node from now on."""
        self._mailboxes[node_id] = _Mailbox()

    def unregister(self, node_id: uuid.UUID) -> None:
        """Stop keeping cancellations for this node."""
        self._mailboxes.pop(node_id, None)

    def notify(self, node_id: uuid.UUID, key: ClaimKey) -> None:
        """Report that the task of this claim was canceled; nodes of other processes are ignored."""
        mailbox = self._mailboxes.get(node_id)
        if mailbox is not None and len(mailbox.keys) < MAX_UNDELIVERED:
            mailbox.keys.add(key)
            mailbox.filled.notify()

    def receive(self, payload: str) -> None:
        """Process a notification of another node."""
        for node_id, key in parse_cancellations(payload):
            self.notify(node_id, key)

    async def wait(self, node_id: uuid.UUID) -> set[ClaimKey]:
        """Wait until claims of the node were canceled since the last wait, and return them."""
        mailbox = self._mailboxes[node_id]
        await mailbox.filled.wait()
        keys, mailbox.keys = mailbox.keys, set()
        return keys


def parse_cancellations(payload: str) -> Iterator[tuple[uuid.UUID, ClaimKey]]:
    """Yield the nodes and claims of a notification (see ``cancel_if_open``); ignore the rest."""
    for word in payload.split():
        try:
            node_id, token, task_id = map(uuid.UUID, word.split(":"))
        except ValueError:  # from another program
            continue
        yield node_id, ClaimKey(task_id, token)
