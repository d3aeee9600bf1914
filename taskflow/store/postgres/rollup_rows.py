"""Rows of roll-ups, and what folded changes add to them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from taskflow.model.rollups import (
    FINAL_STATUSES,
    HOUR_SECONDS,
    MAX_HOSTS,
    MAX_QUEUES,
    MINUTE_SECONDS,
    Histogram,
    Rollup,
)
from taskflow.model.task_status import TaskStatus
from taskflow.store.postgres.rows import Execute, Row

PERIODS_SECONDS: Final = (MINUTE_SECONDS, HOUR_SECONDS)
_MAX_COUNT: Final = 2**62
_FINISHED: Final = msgspec.json.Decoder(list[tuple[int, str, TaskStatus, int]])
_MEASURED: Final = msgspec.json.Decoder(
    list[tuple[int, str, TaskStatus, str, int | None, int | None, int]]
)


class RollupKey(NamedTuple):
    """The key of a row; the queue and the host are empty in the row of all tasks."""

    period_seconds: int
    at: dt.datetime
    queue: str
    host: str

    @property
    def is_total(self) -> bool:
        """True for the row of all tasks."""
        return not self.queue and not self.host


Rollups = dict[RollupKey, Rollup]


def keys_at(second: int, queue: str = "", host: str = "") -> list[RollupKey]:
    """Return the keys of the minute and of the hour of a time, in seconds since 1970."""
    return [
        RollupKey(period, dt.datetime.fromtimestamp(second - second % period, dt.UTC), queue, host)
        for period in PERIODS_SECONDS
    ]


def rollups_of(finished: str, measured: str) -> Rollups:
    """Return what the folded changes add to each roll-up.

    Args:
        finished: The numbers of finished tasks by minute, queue and status, as JSON.
        measured: The same for tasks that still exist, by minute, queue, status, host and buckets.
    """
    found: Rollups = {}
    for minute, queue, status, count in _FINISHED.decode(finished):
        for key in (*keys_at(minute), *keys_at(minute, queue=queue)):
            found.setdefault(key, Rollup()).finished[status] += count
    for minute, queue, status, host, wait, run, count in _MEASURED.decode(measured):
        times = Rollup(
            wait=Counter() if wait is None else Counter({wait: count}),
            run=Counter() if run is None else Counter({run: count}),
        )
        for key in (*keys_at(minute), *keys_at(minute, queue=queue)):
            found.setdefault(key, Rollup()).add(times)
        times.finished[status] = count
        for key in keys_at(minute, host=host) if host else ():
            found.setdefault(key, Rollup()).add(times)
    return found


def add_rollups(execute: Execute, added: Rollups) -> None:
    """Add to the stored roll-ups. The transaction holds the right to do so (``hold_rollups``)."""
    if not added:
        return
    stored = {_key_of(row): _rollup_of(row) for row in execute("read_rollups", _columns_of(added))}
    for key in _with_room(execute, added, stored):
        stored.setdefault(key, Rollup()).add(added[key])
    rows = [_document_of(key, rollup) for key, rollup in stored.items()]
    execute("write_rollups", {"rows": msgspec.json.encode(rows).decode()})


def read_rollups(execute: Execute, keys: Iterable[RollupKey]) -> Rollups:
    """Return the stored roll-ups with these keys."""
    rows = execute("read_rollups", _columns_of(keys))
    return {_key_of(row): _rollup_of(row) for row in rows}


def _with_room(execute: Execute, added: Rollups, stored: Rollups) -> list[RollupKey]:
    """Return the keys that there is room for: new queues and hosts only up to a number."""
    new = [key for key in added if key not in stored and not key.is_total]
    if not new:
        return list(added)
    periods = {(key.period_seconds, key.at) for key in new}
    columns = {"periods": [one for one, _ in periods], "ats": [at for _, at in periods]}
    room = dict.fromkeys(periods, (MAX_QUEUES, MAX_HOSTS))
    for period_seconds, at, queues, hosts in execute("count_rollups", columns):
        room[period_seconds, at] = (MAX_QUEUES - queues, MAX_HOSTS - hosts)
    busiest = sorted(new, key=lambda key: -_size_of(added[key]))
    rejected: set[RollupKey] = set()
    for place, left in room.items():
        mine = [key for key in busiest if key[:2] == place]
        rejected.update([key for key in mine if key.queue][max(0, left[0]) :])
        rejected.update([key for key in mine if key.host][max(0, left[1]) :])
    return [key for key in added if key not in rejected]


def _size_of(rollup: Rollup) -> int:
    return sum(rollup.finished.values()) + (rollup.backlog or 0)


def _columns_of(keys: Iterable[RollupKey]) -> Mapping[str, list[Any]]:
    periods, ats, queues, hosts = map(list, zip(*keys, strict=True))
    return {"periods": periods, "ats": ats, "queues": queues, "hosts": hosts}


def _key_of(row: Row) -> RollupKey:
    return RollupKey(*row[:4])


def _rollup_of(row: Row) -> Rollup:
    completed, failed, canceled, *histograms, backlog = row[4:]
    return Rollup(
        Counter(dict(zip(FINAL_STATUSES, (completed, failed, canceled), strict=True))),
        histogram_of(*histograms[:2]),
        histogram_of(*histograms[2:]),
        backlog,
    )


def histogram_of(buckets: Sequence[int] | None, counts: Sequence[int] | None) -> Histogram:
    """Return a histogram of its columns."""
    pairs = zip(buckets or (), counts or (), strict=False)
    return Counter(
        {
            bucket: int(count)
            for bucket, count in pairs
            if isinstance(bucket, int) and isinstance(count, int | Decimal)
        }
    )


def _document_of(key: RollupKey, rollup: Rollup) -> dict[str, Any]:
    completed, failed, canceled = (_bounded(rollup.finished[status]) for status in FINAL_STATUSES)
    return {
        **key._asdict(),
        "completed": completed,
        "failed": failed,
        "canceled": canceled,
        "wait_buckets": list(rollup.wait),
        "wait_counts": [_bounded(count) for count in rollup.wait.values()],
        "run_buckets": list(rollup.run),
        "run_counts": [_bounded(count) for count in rollup.run.values()],
        "backlog": None if rollup.backlog is None else _bounded(rollup.backlog),
    }


def _bounded(count: int) -> int:
    return max(-_MAX_COUNT, min(count, _MAX_COUNT))
