"""Rows of failures, and what folded changes do to them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from taskflow.model.grouped_failures import (
    MAX_FAILURES,
    MAX_READ_CHARACTERS,
    Cause,
    Occurrences,
    normalized_message,
    not_once,
    once,
)
from taskflow.model.masking import Masking
from taskflow.store.postgres.rows import Execute, Row

_MAX_COUNT: Final = 2**62


class StoredFailure(msgspec.Struct):
    """A row of a failure."""

    cause: Cause
    failing: int
    occurrences: Occurrences


class FailureUpdates:
    """Updates failures.

    Args:
        masking: What is masked in errors.
    """

    def __init__(self, masking: Masking) -> None:
        self._masking = masking

    def update(
        self, execute: Execute, failed: Sequence[uuid.UUID], left: Sequence[uuid.UUID]
    ) -> None:
        """Bring tasks into their failures, or out of these, as they are now.

        The transaction holds the right to do so (``hold_rollups``).

        Args:
            execute: Executes statements in the transaction.
            failed: Tasks that failed; each one that is FAILED now has occurred once more.
            left: Tasks that may not be FAILED any more.
        """
        ids, new = [*failed, *left], set(failed)
        if not ids:
            return
        rows = execute("read_failed", {"ids": ids, "max_characters": MAX_READ_CHARACTERS})
        found = [
            (row[0], self._cause_of(row), once(row[6]) if row[0] in new else not_once(row[6]))
            for row in rows
        ]
        gone = Counter(one for (one,) in execute("leave_failures", {"ids": ids}))
        causes = {cause.id: cause for _, cause, _ in found}
        stored = _stored(execute, causes.keys() | gone.keys())
        for failure_id in gone.keys() & stored.keys():
            stored[failure_id].failing -= gone[failure_id]
        room = _make_room(execute, causes.values(), stored)
        members = {}
        for task_id, known, occurrence in found:
            cause = known if known.id in room else known.without_details
            members[task_id] = cause.id
            if cause.id in stored:
                stored[cause.id].failing += 1
                stored[cause.id].occurrences.add(occurrence)
            else:
                stored[cause.id] = StoredFailure(cause, 1, occurrence)
        _write(execute, stored, members)

    def _cause_of(self, row: Row) -> Cause:
        _, queue, host, error_type, status_code, error, _ = row
        message = normalized_message(self._masking.text(error), status_code)
        return Cause(queue, host or "", error_type, status_code, message)


def _stored(execute: Execute, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, StoredFailure]:
    rows = execute("read_failures", {"ids": list(ids)}) if ids else []
    return {row[0]: _stored_failure_of(row) for row in rows}


def counts_by_hour(hours: Sequence[int | None], counts: Sequence[int | None]) -> dict[int, int]:
    """Return the numbers of occurrences by hour, as far as they can be read."""
    pairs = zip(hours, counts, strict=False)
    return {
        hour: count for hour, count in pairs if isinstance(hour, int) and isinstance(count, int)
    }


def _stored_failure_of(row: Row) -> StoredFailure:
    _, *cause, failing, count, first_at, last_at, hours, per_hour = row
    return StoredFailure(
        Cause(*cause),
        failing,
        Occurrences(count, first_at, last_at, counts_by_hour(hours, per_hour)),
    )


def _make_room(
    execute: Execute, causes: Iterable[Cause], stored: dict[uuid.UUID, StoredFailure]
) -> set[uuid.UUID]:
    """Return the ids of the causes that have a failure of their own, or may get one.

    Adds the stored failures that stand for the other causes.
    """
    causes = list(causes)
    known = {cause.id for cause in causes if cause.id in stored}
    new = [cause for cause in causes if cause.id not in stored]
    if not new:
        return known
    [(count,)] = execute("count_failures", {})
    room = max(0, MAX_FAILURES - count)
    others = {cause.without_details.id for cause in new[room:]}
    stored |= _stored(execute, others - stored.keys())
    return known | {cause.id for cause in new[:room]}


def _write(
    execute: Execute,
    stored: Mapping[uuid.UUID, StoredFailure],
    members: Mapping[uuid.UUID, uuid.UUID],
) -> None:
    if not stored:
        return
    rows = [_document_of(failure_id, one) for failure_id, one in stored.items()]
    execute("write_failures", {"rows": msgspec.json.encode(rows).decode()})
    if members:
        columns = {"ids": list(members), "failures": list(members.values())}
        execute("join_failures", columns)


def _document_of(failure_id: uuid.UUID, one: StoredFailure) -> dict[str, Any]:
    occurrences = one.occurrences
    return {
        "id": failure_id,
        **one.cause._asdict(),
        "failing": max(0, min(one.failing, _MAX_COUNT)),
        "occurrences": min(occurrences.count, _MAX_COUNT),
        "first_at": occurrences.first_at,
        "last_at": occurrences.last_at,
        "hours": list(occurrences.by_hour),
        "per_hour": [min(count, _MAX_COUNT) for count in occurrences.by_hour.values()],
    }
