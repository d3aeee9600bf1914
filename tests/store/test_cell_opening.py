"""The cells of a running process: opened by the file and the map, again and again."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
import trio

from taskflow.cell_service import read_cells_file
from taskflow.model.cell_map import new_map, with_added, with_drained, without, without_lost
from taskflow.model.errors import CellsChange, CellUnavailable, SettingsError, StoreUnavailable
from taskflow.settings import Settings
from taskflow.store.cells.map_changes import MAP_SECONDS, OpenCell
from taskflow.store.cells.opening import START_SECONDS, opened_cells
from taskflow.store.cells.store import CellStore
from taskflow.store.memory.store import MemoryStore
from tests.store.contract import new_task

URLS = {name: f"postgresql://{name}.example/tasks" for name in "abc"}


class Map:
    """The copy of the map of a cell that may be down."""

    def __init__(self) -> None:
        self.kept = None
        self.is_up = True
        self.read_seconds = 0.0

    async def read(self, known: int = 0):
        await trio.sleep(self.read_seconds)
        if not self.is_up:
            raise StoreUnavailable
        return self.kept if self.kept and self.kept.version > known else None

    async def write(self, cell_map) -> bool:
        await trio.lowlevel.checkpoint()
        if not self.is_up:
            raise StoreUnavailable
        if self.kept is not None and self.kept.version >= cell_map.version:
            return False
        self.kept = cell_map
        return True


class Databases:
    """Databases by their URLs, of which some may be down."""

    def __init__(self, known=None) -> None:
        self.maps = {url: Map() for url in URLS.values()}
        self.set(known)
        self.working: set[str] = set()
        self.worked: set[str] = set()

    def set(self, known) -> None:
        for one in self.maps.values():
            one.kept = known

    @contextlib.asynccontextmanager
    async def open(self, url: str):
        await trio.lowlevel.checkpoint()
        if not self.maps[url].is_up:
            raise StoreUnavailable
        yield OpenCell(MemoryStore(), self.maps[url])

    async def work(self, cell) -> None:
        self.working.add(cell.name)
        self.worked.add(cell.name)
        try:
            await trio.sleep_forever()
        finally:
            self.working.remove(cell.name)


async def test_a_start_does_not_need_all_cells(autojump_clock):
    """One that is down is opened as soon as it is back; its queues are unavailable until then."""
    databases = Databases(new_map("abc"))
    databases.maps[URLS["b"]].is_up = False
    began = trio.current_time()
    async with opened_cells(URLS, databases.open, databases.work) as cells:
        assert trio.current_time() - began == START_SECONDS
        await trio.sleep(1)
        assert databases.working == {"a", "c"}
        queue = next(one for n in range(99) if cells.home_of(one := f"q{n}").name == "b")
        with pytest.raises(CellUnavailable, match="cell b"):
            await CellStore(cells).add([new_task(queue=queue)])
        databases.maps[URLS["b"]].is_up = True
        await trio.sleep(5)
        assert databases.working == {"a", "b", "c"}
        assert await CellStore(cells).add([new_task(queue=queue)])
    assert databases.working == set()


async def test_the_map_is_followed(autojump_clock):
    """Cells come and go, and an outage of all cells ends the writes, as the map may change."""
    known = new_map("ab")
    databases = Databases(known)
    async with opened_cells(URLS, databases.open, databases.work) as cells:
        await trio.sleep(2)
        assert databases.working == {"a", "b"}
        three = with_added(known, ["c"])
        databases.set(known := _next(three))
        await trio.sleep(2)
        assert (databases.working, cells.map) == ({"a", "b", "c"}, known)
        databases.set(known := _next(without(with_drained(known, "b"), "b")))
        await trio.sleep(2)
        assert (databases.working, [one.name for one in cells]) == ({"a", "c"}, ["a", "c"])
        databases.set(with_added(known, ["b"]))  # of the same version: it is not read
        for one in databases.maps.values():
            one.is_up = False
        await trio.sleep(MAP_SECONDS - 2)
        assert await CellStore(cells).add([new_task()])
        await trio.sleep(3)
        with pytest.raises(CellsChange):
            await CellStore(cells).add([new_task()])
        next(iter(databases.maps.values())).is_up = True  # one is enough
        await trio.sleep(2)
        assert await CellStore(cells).add([new_task()])
        assert [one.name for one in cells] == ["a", "c"]


def _next(known):
    return msgspec.structs.replace(known, version=known.version + 1)


@pytest.mark.parametrize("late", ["a", "b", "c", ""])
async def test_a_removed_cell_that_comes_back(autojump_clock, late):
    """A node that starts never works in it, whichever cell answers first, and says so to it."""
    before = new_map("abc")
    after = _next(without_lost(before, ["c"]))
    databases = Databases(after)
    databases.maps[URLS["c"]].kept = before
    if late:
        databases.maps[URLS[late]].read_seconds = 1.0
    async with opened_cells(URLS, databases.open, databases.work) as cells:
        await trio.sleep(5)
        assert databases.worked == databases.working == {"a", "b"}
        assert [one.name for one in cells] == ["a", "b"]
    assert databases.maps[URLS["c"]].kept == after


async def test_a_removed_cell_that_comes_back_to_a_running_node(autojump_clock):
    """It gets the map of the others, so that a node that reaches it alone does not work in it."""
    before = new_map("abc")
    databases = Databases(before)
    async with opened_cells(URLS, databases.open, databases.work) as cells:
        await trio.sleep(2)
        databases.maps[URLS["c"]].is_up = False
        after = _next(without_lost(before, ["c"]))
        for name in "ab":
            databases.maps[URLS[name]].kept = after
        await trio.sleep(2)
        assert (databases.working, [one.name for one in cells]) == ({"a", "b"}, ["a", "b"])
        databases.maps[URLS["c"]].is_up = True
        await trio.sleep(5)
        assert databases.working == {"a", "b"}
        assert databases.maps[URLS["c"]].kept == after
    databases.worked.clear()
    for name in "ab":
        databases.maps[URLS[name]].is_up = False
    with trio.move_on_after(60):
        async with opened_cells(URLS, databases.open, databases.work):
            pytest.fail("it serves without a member")
    assert databases.worked == set()


async def test_cells_without_a_map_are_not_in_it_yet(autojump_clock):
    """The file may name a cell that is to be added: whichever is asked first."""
    for name in URLS:
        databases = Databases(new_map("abc".replace(name, "")))
        databases.maps[URLS[name]].kept = None
        async with opened_cells(URLS, databases.open, databases.work) as cells:
            await trio.sleep(2)
            assert len(list(cells)) == len(databases.working) == 2


async def test_a_start_without_a_map(autojump_clock):
    """It says what to run."""
    databases = Databases()
    with pytest.raises(ExceptionGroup) as raised:
        async with opened_cells(URLS, databases.open, databases.work):
            pass
    assert raised.group_contains(SettingsError, match="taskflow cells add")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "names no cell"),
        ("a", "line 1: a line has a name and the URL"),
        ("a mysql://db.example/tasks", "line 1: a line has"),
        ("a b postgresql://db.example/tasks", "line 1: a line has"),
        ("a postgresql://x\n\n# c\na postgresql://y", "line 4: the cell a is listed twice"),
    ],
)
def test_invalid_files(tmp_path, text, error):
    """The error names the line, and no password."""
    file = tmp_path / "cells"
    file.write_text(text)
    with pytest.raises(SettingsError, match=error):
        read_cells_file(Settings(cells_file=str(file)))


def test_a_valid_file(tmp_path):
    """In the order of its lines, with any spaces."""
    file = tmp_path / "cells"
    file.write_text("b   postgres://b.example/x?sslmode=require\n# a comment\n a postgresql://a\n")
    assert list(read_cells_file(Settings(cells_file=str(file))).items()) == [
        ("b", "postgres://b.example/x?sslmode=require"),
        ("a", "postgresql://a"),
    ]
