"""Random filters on random tasks: memory, PostgreSQL and a model that checks each task agree."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskflow.model.filter import NO_FILTER, TaskFilter, url_of
from taskflow.model.outcome import ErrorType
from taskflow.model.task import NewTask, Task, TaskStatus
from taskflow.store.base.claims import Settlement
from taskflow.store.base.listing import LARGE_FIELDS
from taskflow.store.memory import listing as memory
from taskflow.store.postgres import search
from tests.store.test_stateful import Stores

QUEUES = ("default", "mail", "Z")
HOSTS = (None, "a.example", "b.example", "::1")
ERRORS = (ErrorType.TIMEOUT, ErrorType.DNS)
# What a payload is, and the URL in it.
PAYLOADS = {
    '"http://a.example/x"': "http://a.example/x",
    r'"http://a.example/\u0078\/%_"': "http://a.example/x/%_",
    ' {"method": "POST", "url": "http://b.example/X?é"}': "http://b.example/X?é",
    '{"ur\\u006c": "http://x/"}': "http://x/",
    '{"url": "http://one/", "url": "http://x/two"}': "http://x/two",
    '{"url": {"url": "http://x/"}}': "",
    '{"url": null}': "",
    '{"body": "\\u0000", "url": "http://x/"}': "http://x/",
    r'"http://x/\u0000/x\\u0000/\\\u0000\u0000"': "http://x/\0/x\\u0000/\\\0\0",
    '{"body": "http://x/"}': "",
    '["http://x/"]': "",
    "12": "",
    "{}": "",
}
TEXTS = ("x", "X", "//x/", "%", "_", "é", "http", "\\u0000", "u0000/\\", "nowhere", "\\", ":")
TAGS = st.dictionaries(
    st.sampled_from(("color", "n", "Z.z")),
    st.sampled_from(("red", "", "true", "7", "it's 100 %", True, False, 7, -1, 2**53 - 1)),
)
TAG_TEXTS = ("red", "", "true", "false", "7", "-1", "it's 100 %", "9007199254740991")


@dataclass
class Made:
    """A task as it is made: what the model goes by."""

    payload: str
    queue: str
    tags: dict
    host: str | None
    status: TaskStatus
    error_type: ErrorType

    def new(self) -> NewTask:
        is_later = self.status in (TaskStatus.PENDING, TaskStatus.CANCELED)
        return NewTask(
            msgspec.Raw(self.payload.encode()),
            queue=self.queue,
            tags=self.tags,
            host=self.host,
            delay_seconds=3600.0 if is_later else 0.0,
        )


MADE = st.builds(
    Made,
    payload=st.sampled_from(list(PAYLOADS)),
    queue=st.sampled_from(QUEUES),
    tags=TAGS,
    host=st.sampled_from(HOSTS),
    status=st.sampled_from(list(TaskStatus)),
    error_type=st.sampled_from(ERRORS),
)


def mostly_not(strategy):
    return st.one_of(st.none(), st.none(), strategy)


PLACE = mostly_not(st.integers(0, 30))
WANTED = st.fixed_dictionaries(
    {
        "statuses": st.lists(st.sampled_from(list(TaskStatus)), max_size=3, unique=True).map(tuple),
        "queue": mostly_not(st.sampled_from((*QUEUES, "none"))),
        "tags": st.one_of(
            st.just({}),
            st.dictionaries(st.sampled_from(("color", "n")), st.sampled_from(TAG_TEXTS)),
        ).map(lambda tags: tuple(tags.items())),
        "host": mostly_not(st.sampled_from(HOSTS[1:])),
        "error_type": mostly_not(st.sampled_from(ERRORS)),
        "url_contains": mostly_not(st.sampled_from(TEXTS)),
        # The ids of the tasks at these indexes, or none.
        "created_after": PLACE,
        "created_before": PLACE,
        "finished_after": PLACE,
        "finished_before": PLACE,
        # And so many digits of the id of one.
        "id_prefix": mostly_not(st.tuples(st.integers(0, 30), st.integers(8, 32))),
    }
)


@pytest.fixture(scope="module")
def stores(postgres_server) -> Iterator[Stores]:
    from tests.api.conftest import open_database

    with open_database(postgres_server) as url, Stores(url) as stores:
        yield stores


@contextlib.contextmanager
def walking(most: int, window: int) -> Iterator[None]:
    """Pages end after so few tasks that were walked through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "MAX_SCANNED", most)
        patch.setattr(memory, "MAX_SCANNED", most)
        patch.setattr(search, "MAX_WINDOW", window)
        patch.setattr(search, "FIRST_WINDOW_SHARE", 1)
        yield


def fill(stores: Stores, made: list[Made]) -> None:
    """Make tasks on both stores, in three steps, so that they differ in when they were made."""
    stores.clear()
    step = len(made) // 3 + 1
    for start in range(0, len(made), step):
        both(stores, "add", tasks=[one.new() for one in made[start : start + step]])
    nodes = both(stores, "register", name="here", lease_seconds=60)
    claims = stores.call("claim", *({"node_id": node, "limit": len(made)} for node in nodes))
    running = [one for one in made if one.status not in (TaskStatus.PENDING, TaskStatus.CANCELED)]
    for place, one in enumerate(running):
        if one.status is not TaskStatus.RUNNING:
            endings = [ending(of_store[place], one) for of_store in claims]
            stores.call("settle", *({"settlements": [one]} for one in endings))
    for place, one in enumerate(made):
        if one.status is TaskStatus.CANCELED:
            ids = [page.tasks[-1 - place].id for page in both(stores, "page", limit=100)]
            stores.call("cancel", *({"task_id": task_id} for task_id in ids))


def ending(claim, one: Made) -> Settlement:
    if one.status is TaskStatus.COMPLETED:
        return Settlement(claim.task_id, claim.token, one.status, result=b"1")
    return Settlement(claim.task_id, claim.token, one.status, error="no", error_type=one.error_type)


def both(stores: Stores, verb: str, **arguments):
    return stores.call(verb, arguments, arguments)


def filter_of(wanted: dict, tasks: list[Task]) -> TaskFilter:
    """With the moments of this store's tasks."""
    moments = {
        name: moment_of(tasks, wanted[name], name.startswith("created"))
        for name in wanted
        if name.endswith(("after", "before"))
    }
    prefix = None
    if wanted["id_prefix"] is not None:
        place, digits = wanted["id_prefix"]
        prefix = tasks[place % len(tasks)].id.hex[:digits]
    return TaskFilter(**{**wanted, **moments, "id_prefix": prefix})


def moment_of(tasks: list[Task], place: int | None, is_creation: bool) -> dt.datetime | None:
    if place is None or not tasks:
        return None
    task = tasks[place % len(tasks)]
    return task.created_at if is_creation else task.finished_at


def is_wanted(one: Made, task: Task, wanted: TaskFilter) -> bool:
    """The model: each thing that is asked for by itself."""
    ended = task.finished_at
    error_type = one.error_type if one.status is TaskStatus.FAILED else None
    tags = {name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in one.tags.items()}
    return not any(
        [
            wanted.statuses and one.status not in wanted.statuses,
            wanted.queue is not None and one.queue != wanted.queue,
            any(tags.get(name) != value for name, value in wanted.tags),
            wanted.host is not None and one.host != wanted.host,
            wanted.error_type is not None and error_type != wanted.error_type,
            wanted.url_contains is not None and wanted.url_contains not in PAYLOADS[one.payload],
            wanted.id_prefix is not None and not task.id.hex.startswith(wanted.id_prefix),
            wanted.created_after and task.created_at < wanted.created_after,
            wanted.created_before and task.created_at >= wanted.created_before,
            wanted.finished_after and (ended is None or ended < wanted.finished_after),
            wanted.finished_before and (ended is None or ended >= wanted.finished_before),
        ]
    )


def walked_to_the_end(stores: Stores, side: int, limit: int, wanted: TaskFilter) -> list[uuid.UUID]:
    """The ids on all pages, each a page after the other."""
    seen, before = [], None
    for _ in range(200):
        requested = {"limit": limit, "before": before, "filter": wanted}
        page = stores.call("page", requested, requested)[side]
        assert len(page.tasks) <= limit
        assert before is None or page.next_before is None or page.next_before < before
        seen += [task.id for task in page.tasks]
        before = page.next_before
        if before is None:
            return seen
    raise AssertionError("the pages do not end")


@given(
    made=st.lists(MADE, min_size=1, max_size=24),
    asked=st.lists(WANTED, min_size=6, max_size=6),
    limit=st.integers(1, 6),
    most=st.sampled_from([1, 5, 50_000]),
    window=st.sampled_from([1, 3, 20_000]),
)
@settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
def test_pages_have_the_matching_tasks(stores, made, asked, limit, most, window):
    """Following next_before to the end gives each task that matches, once, the newest first."""
    fill(stores, made)
    pages = both(stores, "page", limit=100)
    for wanted in asked:
        found = []
        for side, page in enumerate(pages):
            tasks = page.tasks[::-1]
            assert [task.status for task in tasks] == [one.status for one in made]
            sought = filter_of(wanted, tasks)
            expected = [
                place
                for place, (one, task) in enumerate(zip(made, tasks, strict=True))
                if is_wanted(one, task, sought)
            ]
            with walking(most, window):
                seen = walked_to_the_end(stores, side, limit, sought)
            assert seen == [tasks[place].id for place in reversed(expected)]
            found.append(expected)
        # Stores give other ids, and other times of the ends.
        if all(wanted[name] is None for name in ("finished_after", "finished_before", "id_prefix")):
            assert found[0] == found[1]


def test_each_thing_alone(stores):
    """Every kind of filter finds some and leaves some, on both stores the same."""
    made = [
        Made(
            list(PAYLOADS)[n % len(PAYLOADS)],
            QUEUES[n % 3],
            {"n": n % 2, "color": "red"},
            HOSTS[n % 4],
            list(TaskStatus)[n % 5],
            ERRORS[n % 2],
        )
        for n in range(60)
    ]
    fill(stores, made)
    moment = {"created_after": 30, "created_before": 30, "finished_after": 32, "finished_before": 3}
    for name, value in {
        "statuses": (TaskStatus.RUNNING, TaskStatus.FAILED),
        "queue": "default",
        "tags": (("color", "red"), ("n", "1")),
        "host": "::1",
        "error_type": ErrorType.DNS,
        "url_contains": "http://x/",
        "id_prefix": (30, 32),
        **moment,
    }.items():
        for side, page in enumerate(both(stores, "page", limit=100)):
            tasks = page.tasks[::-1]
            known = dict.fromkeys((*moment, "id_prefix")) | {name: value}
            sought = filter_of(known, tasks)
            expected = [
                task.id
                for one, task in zip(made, tasks, strict=True)
                if is_wanted(one, task, sought)
            ]
            assert 0 < len(expected) < 60, name
            assert walked_to_the_end(stores, side, 7, sought) == expected[::-1], name


def test_large_fields_may_be_left_out(stores):
    """They do not make a page shorter then, and the others are as ever."""
    large = NewTask(msgspec.Raw(b'"' + b"x" * 2**20 + b'"'))
    stores.clear()
    both(stores, "add", tasks=[large] * 20)
    for whole, small in zip(
        both(stores, "page", limit=30),
        both(stores, "page", limit=30, without=LARGE_FIELDS),
        strict=True,
    ):
        assert (len(whole.tasks), whole.next_before is None) == (16, False)
        assert (len(small.tasks), small.next_before) == (20, None)
        for one, other in zip(whole.tasks, small.tasks, strict=False):
            assert msgspec.structs.replace(other, payload=one.payload) == one


def test_tasks_that_are_being_stored_are_found_by_time(stores):
    """An id is made later than the time beside it: the bound by ids leaves room for that."""
    stores.clear()
    stores.connection.execute(
        "INSERT INTO taskflow_tasks (payload, size_bytes, created_at) "
        "SELECT '1', 1, now() - interval '30 seconds'"
    )
    [task] = both(stores, "page", limit=1)[1].tasks
    for shift, count in ((0, 0), (1, 1)):
        wanted = TaskFilter(created_before=task.created_at + dt.timedelta(seconds=shift))
        assert len(walked_to_the_end(stores, 1, 5, wanted)) == count


ENDS = [end.replace(tzinfo=dt.UTC) for end in (dt.datetime.min, dt.datetime.max)]  # noqa: DTZ901


@pytest.mark.parametrize("moment", ENDS)
def test_extreme_times(stores, moment):
    """The first and the last possible time are valid bounds."""
    stores.clear()
    both(stores, "add", tasks=[NewTask(msgspec.Raw(b"1"))])
    for side in (0, 1):
        before = walked_to_the_end(stores, side, 5, TaskFilter(created_before=moment))
        after = walked_to_the_end(stores, side, 5, TaskFilter(created_after=moment))
        assert len(before) + len(after) == 1
        assert walked_to_the_end(stores, side, 5, NO_FILTER) == before + after


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_url_of_a_payload(payload):
    """Of text the whole, of a request what its ``url`` says, of all else none."""
    assert url_of(msgspec.Raw(payload.encode())) == PAYLOADS[payload]
