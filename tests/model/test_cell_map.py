"""The map of cells: what is where, and what moves."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from taskflow.model import cell_map
from taskflow.model.cell_map import BUCKETS, CellState, bucket_of, new_map
from taskflow.model.errors import SettingsError

QUEUES = [f"queue-{number}" for number in range(2000)]
TWO = new_map(("a", "b"), secret=b"x")


def homes(known) -> dict[str, int]:
    return {queue: known.home_of(queue) for queue in QUEUES}


def changed(before, after, busy=None, now=1000.0):
    return cell_map.with_stays(before, after, busy or {}, now=now, keys_seconds=60)


def test_queues_are_divided_evenly():
    """Each of several cells has about its share of the queues."""
    counts = Counter(homes(new_map("abcd")).values())
    assert set(counts) == {0, 1, 2, 3}
    assert all(0.15 < count / len(QUEUES) < 0.35 for count in counts.values())


def test_a_new_cell_gets_its_share_and_nothing_else_moves():
    """Queues move to the new cell only, and back to where they were once it drains."""
    three = cell_map.with_added(TWO, ["c"])
    before, after = homes(TWO), homes(three)
    moved = {queue for queue in QUEUES if before[queue] != after[queue]}
    assert 0.2 < len(moved) / len(QUEUES) < 0.45
    assert {after[queue] for queue in moved} == {2}
    drained = cell_map.with_drained(three, "c")
    assert homes(drained) == before
    assert drained.active == [0, 1]
    assert homes(cell_map.with_active(drained, "c")) == after


def test_what_moves_is_frozen_before():
    """The buckets of all queues whose cell differs, and no others."""
    three = cell_map.with_added(TWO, ["c"])
    moved = set(cell_map.moved_buckets(TWO, three))
    assert 0 < len(moved) < BUCKETS / 2
    for queue in QUEUES:
        assert (TWO.home_of(queue) != three.home_of(queue)) == (bucket_of(queue) in moved)
    placed = cell_map.with_placed(TWO, "mail", "ab"[1 - TWO.home_of("mail")])
    assert cell_map.moved_buckets(TWO, placed) == (bucket_of("mail"),)


def test_a_queue_with_unfinished_tasks_stays_until_it_has_none():
    """It is in the old cell in the meantime, and its keys are looked up there after that."""
    three = cell_map.with_added(TWO, ["c"])
    queue = next(one for one in QUEUES if TWO.home_of(one) == 0 and three.home_of(one) == 2)
    other = next(one for one in QUEUES if TWO.home_of(one) == 1 and three.home_of(one) == 2)
    busy = {0: {f"queue {queue}", f"queue {other}", "schedule nightly"}, 1: {f"queue {queue}"}}
    made = changed(TWO, three, busy)
    assert f"queue {queue}" in made.stays
    assert f"queue {other}" not in made.stays  # what is in the cell of another queue does not count
    assert (made.home_of(queue), made.home_of(other)) == (0, 2)
    assert made.former_of(queue, 1059) == [0]
    assert made.former_of(queue, 1061) == []
    assert bucket_of(queue) in cell_map.moved_buckets(made, made)
    again = changed(made, msgspec.structs.replace(made, stays={}), {0: set()}, now=2000)
    assert (again.home_of(queue), again.stays) == (2, {})
    assert again.former_of(queue, 2059) == [0]


def test_a_busy_queue_is_not_placed_elsewhere():
    """It would be in two cells."""
    here = TWO.home_of("mail")
    after = cell_map.with_placed(TWO, "mail", "ab"[1 - here])
    with pytest.raises(SettingsError, match="unfinished"):
        changed(TWO, after, {here: {"queue mail"}})
    assert changed(TWO, after).home_of("mail") == 1 - here


def test_cells_that_cannot_be_added_drained_or_removed():
    """Each error says why."""
    with pytest.raises(SettingsError, match="a cell b already"):
        cell_map.with_added(TWO, ["b"])
    with pytest.raises(SettingsError, match="no cell c"):
        cell_map.with_drained(TWO, "c")
    with pytest.raises(SettingsError, match="only active cell"):
        cell_map.with_drained(cell_map.with_drained(TWO, "a"), "b")
    with pytest.raises(SettingsError, match="is active"):
        cell_map.without(TWO, "a")
    drained = cell_map.with_drained(TWO, "a")
    staying = msgspec.structs.replace(drained, stays={"queue mail": 0})
    with pytest.raises(SettingsError, match="still has queue mail"):
        cell_map.without(staying, "a")
    assert [one.name for one in cell_map.without(drained, "a").cells] == ["b"]


def test_numbers_are_used_again_at_last():
    """A new cell gets a number that no cell had, as long as there is one: ids contain it."""
    left = cell_map.without(cell_map.with_drained(TWO, "a"), "a")
    again = cell_map.with_added(left, ["c"])
    assert {one.name: one.number for one in again.cells} == {"b": 1, "c": 2}
    assert all(one.state is CellState.ACTIVE for one in again.cells)
    full = cell_map.with_added(left, [f"n{number}" for number in range(63)])
    assert {one.number for one in full.cells} == set(range(64))
    assert full.entry("n62").number == 0


def test_a_lost_cell_is_given_up():
    """Its queues are elsewhere, nothing refers to it, and the queues of other cells stay."""
    three = cell_map.with_added(TWO, ["c"])
    in_c = [one for one in QUEUES if three.home_of(one) == 2]
    elsewhere = next(one for one in QUEUES if three.home_of(one) == 1)
    three = cell_map.with_placed(three, elsewhere, "c")
    three = msgspec.structs.replace(
        three,
        stays={"schedule nightly": 2, "queue busy": 0},
        former=(cell_map.Former(bucket_of("mail"), 2, 1e9),),
    )
    given_up = cell_map.without_lost(three, ["c"])
    frozen = cell_map.moved_buckets(three, given_up)
    assert {bucket_of(one) for one in (*in_c, elsewhere)} <= set(frozen)
    made = changed(three, given_up, {0: {"queue busy"}, 1: set()})
    for queue in QUEUES:
        before = three.home_of(queue)
        assert made.home_of(queue) == before if before != 2 else made.home_of(queue) in (0, 1)
    assert 2 not in {*made.buckets, *made.placed.values(), *made.stays.values()}
    assert 2 not in {one.cell for one in made.former}
    assert [one.name for one in made.cells] == ["a", "b"]
    assert cell_map.with_added(made, ["d"]).entry("d").number == 3
    with pytest.raises(SettingsError, match="no active cell"):
        cell_map.without_lost(TWO, ["a", "b"])
    with pytest.raises(SettingsError, match="no active cell"):
        cell_map.without_lost(cell_map.with_drained(TWO, "a"), ["b"])
    with pytest.raises(SettingsError, match="no cell d"):
        cell_map.without_lost(three, ["c", "d"])


def test_a_map_is_kept_as_json():
    """All of it comes back."""
    three = changed(TWO, cell_map.with_added(TWO, ["c"]), {0: {"queue default"}})
    three = cell_map.with_spread(three, "bulk", is_spread=True)
    decoded = msgspec.json.decode(msgspec.json.encode(three), type=cell_map.CellMap)
    assert decoded == three
    assert decoded.is_spread("bulk")
