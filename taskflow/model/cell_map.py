"""The map of cells: which cell has the tasks of a queue.

A cell is a database, or a schema of one. Names are mapped to 1,024 buckets, and buckets to cells by
rendezvous hashing: if a cell is added or drained, only the buckets move that it gets or had.
"""

from __future__ import annotations

import enum
import hashlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from taskflow.model.errors import SettingsError, Unprocessable

BUCKETS: Final = 1024
MAX_CELLS: Final = 64
MARKS: Final = 256
"""Number of values of the last byte of an id, which names the cell that made it."""


class CellState(enum.StrEnum):
    """The state of a cell."""

    ACTIVE = "active"
    """It gets new tasks."""
    DRAINING = "draining"
    """It gets no new tasks, except of queues that still have unfinished tasks in it."""


class CellEntry(msgspec.Struct, frozen=True):
    """A cell in the map.

    Attributes:
        number: Its number, which is the last byte of the ids that it makes.
        name: Its name.
        state: Its state.
    """

    number: int
    name: str
    state: CellState = CellState.ACTIVE


class Former(msgspec.Struct, frozen=True):
    """A cell that a bucket had before, which may still know idempotency keys.

    Attributes:
        bucket: The bucket.
        cell: The number of the cell.
        until: When all keys of that time have expired, in seconds since 1970.
    """

    bucket: int
    cell: int
    until: float


class CellMap(msgspec.Struct, frozen=True):
    """The cells, and where each queue is.

    Attributes:
        version: The number of the version; the map with the highest one applies.
        cells: The cells.
        buckets: The number of the cell of each bucket.
        placed: Queues that are not in the cell of their bucket, because an operator said so.
        stays: Queues, schedules, topics and heartbeats that are still in a cell that lost their
            bucket, as ``queue NAME``, ``schedule NAME``, ``topic NAME`` and ``heartbeat NAME``.
        spread: Queues whose tasks are spread over all active cells; they have no limits.
        frozen: Buckets that are about to move, and of which no cell takes tasks for a moment.
        former: The cells that buckets had before.
        retired: Numbers of removed cells. Ids and positions in the events contain them, so they
            are used again only when there are no others.
        secret: Random bytes from which the secrets that all nodes share are derived.
    """

    version: int
    cells: tuple[CellEntry, ...]
    buckets: tuple[int, ...]
    placed: Mapping[str, int] = {}
    stays: Mapping[str, int] = {}
    spread: tuple[str, ...] = ()
    frozen: tuple[int, ...] = ()
    former: tuple[Former, ...] = ()
    retired: tuple[int, ...] = ()
    secret: bytes = b""

    def home_of(self, queue: str) -> int:
        """Return the number of the cell that a queue belongs to."""
        placed = self.placed.get(queue)
        return self.cell_of("queue", queue) if placed is None else placed

    def cell_of(self, kind: str, name: str) -> int:
        """Return the number of the cell of a queue, schedule, topic, heartbeat or key."""
        stays = self.stays.get(f"{kind} {name}") if self.stays else None
        return self.buckets[bucket_of(name)] if stays is None else stays

    def is_frozen(self, name: str) -> bool:
        """Return whether what has this name is about to move."""
        return bool(self.frozen) and bucket_of(name) in self.frozen

    def is_spread(self, queue: str) -> bool:
        """Return whether the tasks of a queue are spread over all active cells."""
        return queue in self.spread

    def former_of(self, name: str, now: float) -> list[int]:
        """Return the numbers of the cells that may know an idempotency key of a name.

        Args:
            name: The queue, or the key of a task that is spread.
            now: The time, in seconds since 1970.
        """
        if not self.former:
            return []
        bucket = bucket_of(name)
        return [one.cell for one in self.former if one.bucket == bucket and one.until > now]

    @property
    def active(self) -> list[int]:
        """The numbers of the cells that get new tasks."""
        return [one.number for one in self.cells if one.state is CellState.ACTIVE]

    def entry(self, name: str) -> CellEntry | None:
        """Return the cell with a name; ``None`` if there is none."""
        return next((one for one in self.cells if one.name == name), None)


NO_MAP: Final = CellMap(0, (), ())
"""What is known before a map was read."""


def new_map(names: Sequence[str], *, secret: bytes = b"") -> CellMap:
    """Return the first map of these cells, all active."""
    cells = tuple(CellEntry(number, name) for number, name in enumerate(names))
    return CellMap(1, cells, assigned([one.number for one in cells]), secret=secret)


def with_added(known: CellMap, names: Sequence[str]) -> CellMap:
    """Return a map with more cells, which get their share of the buckets.

    Raises:
        SettingsError: A cell has the name, or there are too many.
    """
    used = {cell.number for cell in known.cells}
    free = [one for one in range(MAX_CELLS) if one not in used and one not in known.retired]
    free += [one for one in known.retired if one not in used]
    for name in names:
        if known.entry(name) is not None or names.count(name) > 1:
            raise SettingsError(f"there is a cell {name} already")
    if len(names) > len(free):
        raise SettingsError(f"there can be at most {MAX_CELLS} cells")
    added = tuple(map(CellEntry, free, names))
    return _with_cells(known, (*known.cells, *added))


def with_drained(known: CellMap, name: str) -> CellMap:
    """Return a map in which a cell has no buckets.

    Raises:
        SettingsError: There is no such cell, or no other active one.
    """
    entry = _entry(known, name)
    if known.active in ([], [entry.number]):
        raise SettingsError(f"{name} is the only active cell: add another one first")
    placed = {queue: number for queue, number in known.placed.items() if number != entry.number}
    drained = _with_state(known, entry, CellState.DRAINING)
    return msgspec.structs.replace(drained, placed=placed)


def with_active(known: CellMap, name: str) -> CellMap:
    """Return a map in which a draining cell has its buckets again.

    Raises:
        SettingsError: There is no such cell.
    """
    return _with_state(known, _entry(known, name), CellState.ACTIVE)


def without(known: CellMap, name: str) -> CellMap:
    """Return a map without a cell that has drained.

    Raises:
        SettingsError: There is no such cell, or it is not draining, or something stays in it.
    """
    entry = _entry(known, name)
    if entry.state is not CellState.DRAINING:
        raise SettingsError(f"the cell {name} is active: run `taskflow cells drain {name}` first")
    staying = [key for key, number in known.stays.items() if number == entry.number]
    placed = [queue for queue, number in known.placed.items() if number == entry.number]
    if left := [*staying, *(f"queue {queue}" for queue in placed)]:
        raise SettingsError(
            f"the cell {name} still has {', '.join(left[:10])}: run `taskflow cells drain {name}` "
            "again when their tasks have finished"
        )
    return _without_cells(known, [entry])


def without_lost(known: CellMap, names: Collection[str]) -> CellMap:
    """Return a map without cells that are lost for good, with whatever they have.

    Raises:
        SettingsError: There is no such cell, or no other active one.
    """
    entries = [_entry(known, name) for name in dict.fromkeys(names)]
    if not set(known.active) - {one.number for one in entries}:
        raise SettingsError(f"without {', '.join(names)} there is no active cell: add one first")
    rest = _without_cells(known, entries)
    return _with_cells(rest, rest.cells)


def with_placed(known: CellMap, queue: str, name: str) -> CellMap:
    """Return a map in which a queue is in a cell.

    Raises:
        SettingsError: There is no such cell.
    """
    number = _entry(known, name).number
    placed = {**known.placed, queue: number}
    stays = {key: cell for key, cell in known.stays.items() if key != f"queue {queue}"}
    return msgspec.structs.replace(known, placed=placed, stays=stays)


def with_spread(known: CellMap, queue: str, *, is_spread: bool) -> CellMap:
    """Return a map in which the tasks of a queue are spread over all active cells, or not."""
    others = tuple(one for one in known.spread if one != queue)
    return msgspec.structs.replace(known, spread=(*others, queue) if is_spread else others)


def moved_buckets(before: CellMap, after: CellMap) -> tuple[int, ...]:
    """Return the buckets whose queues may be in another cell, or that leave a cell at last."""
    pairs = zip(before.buckets, after.buckets, strict=True)
    moved = {bucket for bucket, (old, new) in enumerate(pairs) if old != new}
    moved |= {bucket_of(key.split(" ", 1)[1]) for key in before.stays}
    placed = before.placed.keys() | after.placed.keys()
    moved |= {bucket_of(one) for one in placed if before.home_of(one) != after.home_of(one)}
    return tuple(sorted(moved))


def with_stays(
    before: CellMap,
    after: CellMap,
    busy: Mapping[int, Collection[str]],
    *,
    now: float,
    keys_seconds: float,
) -> CellMap:
    """Return a map to which only that moves which has nothing unfinished.

    A queue has its limits and keys in one cell, so it stays in the cell that has its tasks.

    Args:
        before: The map that applies.
        after: The map to change to.
        busy: What has something unfinished, by the number of the cell: ``queue NAME`` and so on.
        now: The time, in seconds since 1970.
        keys_seconds: How long idempotency keys are kept.

    Raises:
        SettingsError: A queue is to be placed in another cell, and has unfinished tasks.
    """
    stays = {}
    for number, keys in busy.items():
        for key in keys:
            kind, name = key.split(" ", 1)
            home = before.home_of(name) if kind == "queue" else before.cell_of(kind, name)
            if home != number:
                continue
            if kind == "queue" and name in after.placed:
                if after.placed[name] != number:
                    raise SettingsError(
                        f"the queue {name} has unfinished tasks, keys or groups: place it when "
                        "they have finished"
                    )
            elif after.buckets[bucket_of(name)] != number:
                stays[key] = number
    return msgspec.structs.replace(
        after,
        stays=stays,
        frozen=(),
        former=_former(before, after, now=now, until=now + keys_seconds),
    )


def _former(before: CellMap, after: CellMap, *, now: float, until: float) -> tuple[Former, ...]:
    """Return the former cells of buckets, including the buckets that move now.

    A cell that was lost is none of them: what it knew is lost, too.
    """
    left = {
        (bucket, old)
        for bucket, (old, new) in enumerate(zip(before.buckets, after.buckets, strict=True))
        if old != new
    }
    left |= {(bucket_of(key.split(" ", 1)[1]), cell) for key, cell in before.stays.items()}
    left |= {
        (bucket_of(queue), before.home_of(queue))
        for queue in before.placed.keys() | after.placed.keys()
    }
    known = [one for one in before.former if one.until > now and (one.bucket, one.cell) not in left]
    made = (*known, *(Former(bucket, cell, until) for bucket, cell in sorted(left)))
    numbers = {one.number for one in after.cells}
    return tuple(one for one in made if one.cell in numbers)


def _entry(known: CellMap, name: str) -> CellEntry:
    entry = known.entry(name)
    if entry is None:
        raise SettingsError(f"there is no cell {name}: `taskflow cells list` shows all")
    return entry


def _without_cells(known: CellMap, entries: Collection[CellEntry]) -> CellMap:
    """Return a map without cells, and without what is known to be in them."""
    gone = {one.number for one in entries}
    numbers = (*(one for one in known.retired if one not in gone), *sorted(gone))
    return msgspec.structs.replace(
        known,
        cells=tuple(one for one in known.cells if one.number not in gone),
        placed={queue: cell for queue, cell in known.placed.items() if cell not in gone},
        stays={key: cell for key, cell in known.stays.items() if cell not in gone},
        former=tuple(one for one in known.former if one.cell not in gone),
        retired=numbers,
    )


def _with_state(known: CellMap, entry: CellEntry, state: CellState) -> CellMap:
    changed = msgspec.structs.replace(entry, state=state)
    return _with_cells(known, tuple(changed if one is entry else one for one in known.cells))


def _with_cells(known: CellMap, cells: tuple[CellEntry, ...]) -> CellMap:
    active = [one.number for one in cells if one.state is CellState.ACTIVE]
    return msgspec.structs.replace(known, cells=cells, buckets=assigned(active))


def bucket_of(name: str) -> int:
    """Return the bucket of a name."""
    digest = hashlib.blake2b(name.encode(), digest_size=4, person=b"bucket").digest()
    return int.from_bytes(digest) % BUCKETS


def assigned(numbers: Collection[int]) -> tuple[int, ...]:
    """Return the cell of each bucket: the one with the highest hash (rendezvous hashing)."""
    return tuple(
        max(numbers, key=lambda number: _weight(bucket, number)) for bucket in range(BUCKETS)
    )


def _weight(bucket: int, number: int) -> bytes:
    return hashlib.blake2b(b"%d:%d" % (bucket, number), digest_size=8, person=b"cell").digest()


def mark_of(task_id: uuid.UUID) -> int:
    """Return the number of the cell that made an id, if a cell did."""
    return task_id.bytes[15]


def refuse_two_cells(what: str) -> Unprocessable:
    """Return the error of a request whose parts belong to different cells."""
    return Unprocessable(
        f"{what}; what belongs together is stored in one cell: see `taskflow cells place`"
    )
