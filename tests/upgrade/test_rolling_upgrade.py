"""From one schema version to the next while work goes on: nothing is lost, late or done twice."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
import trio
import trio.testing
from msgspec import UNSET

from taskflow import Submission, enqueue_many
from taskflow.model.groups import Group, GroupCounts, GroupStatus, NewGroup
from taskflow.model.task import Claim, NewTask, TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Settlement
from taskflow.store.base.parking import Parking
from taskflow.store.postgres.migrate import migrations
from taskflow.store.postgres.store import open_postgres
from tests.chaos import audit
from tests.chaos.fleet import Fleet
from tests.cli.command import CommandLine
from tests.loopback import SECRET
from tests.receiver import Receiver
from tests.service.database import Row, Tasks
from tests.service.processes import clean_environ, running, started, wait_until
from tests.store.contract import NodeTaker
from tests.upgrade import old
from tests.upgrade.load import Load
from tests.upgrade.target import MoodyTarget

SCHEDULES = ("first", "second", "third")
SOME = 5
FETCHES = {"moody": 2}  # of a task of each kind; of the others one
ENDED = "SELECT FROM taskflow_tasks WHERE status = 'COMPLETED' AND node LIKE %s"
ENQUEUE = """
import sys, psycopg, taskflow
with psycopg.connect(sys.argv[1]) as connection:
    print(taskflow.enqueue(connection, "no url").id)
"""
RUN_NOWHERE = """
    INSERT INTO taskflow_tasks (status, payload, size_bytes, attempt, started_at, node_id,
                                claim_token)
    VALUES ('RUNNING', '"no url"', 8, 1, now(), gen_random_uuid(), gen_random_uuid())
    RETURNING id::text
"""
FIRINGS = """
    SELECT schedule, count(*), count(DISTINCT f.task_id), count(t.id),
           extract(epoch FROM max(at) - min(at))::int + 1
    FROM taskflow_firings AS f
    LEFT JOIN taskflow_tasks AS t ON t.id = f.task_id AND t.status = 'COMPLETED'
    GROUP BY schedule ORDER BY schedule
"""


@pytest.fixture
def tasks(database_url) -> Iterator[Tasks]:
    with Tasks(database_url) as database:
        yield database


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> dict[str, Path]:
    """What a node of the version before is started with."""
    return {"PYTHONPATH": old.unpacked(tmp_path_factory.mktemp("before"))}


def schema_version(tasks: Tasks) -> int:
    [(version,)] = tasks.execute("SELECT max(version) FROM taskflow_migrations").fetchall()
    return version


def test_a_rolling_upgrade_is_not_noticed(tmp_path, tasks, before):
    """Two old nodes are replaced one by one, after a new one has migrated beside them."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_WEBHOOK_SECRETS": SECRET}
    old_ones = {0: before, 1: before}
    with (
        MoodyTarget() as target,
        Receiver() as receiver,
        Fleet(tmp_path, settings, size=2, odd=old_ones) as fleet,
    ):
        up = [0, 1]
        audit.install(tasks)
        assert schema_version(tasks) == old.schema_version()
        put_schedules(fleet, target.url)

        def urls() -> list[str]:
            return [url for place in up if (url := fleet.url_of(place))]

        load = Load(urls, target.url, receiver.url)
        with load:
            wait_for_work(tasks, fleet, up)
            fleet.start(2)
            assert schema_version(tasks) == migrations()[-1].version
            up.append(2)
            # For a while there are both, on the new schema, and all work.
            wait_for_work(tasks, fleet, up)
            old_ones.clear()
            for place in (0, 1):
                assert fleet.end(place) == 0  # not told before: clients are refused, and go on
                fleet.start(place)
                wait_for_work(tasks, fleet, up)
        pause_schedules(fleet)
        wait_until(lambda: is_quiet(tasks))
        check_load(tasks, load, target, receiver)
        check_schedules(tasks, target)
        assert (fleet.gone(), fleet.tracebacks()) == ([], 0)
        print(
            f"{len(load.ids)} tasks and their callbacks, {load.detours} POSTs went to another node"
        )


def put_schedules(fleet: Fleet, target: str) -> None:
    for name in SCHEDULES:
        task = {"payload": f"{target}/now/{name}"}
        body = {"every": 1, "missed": "all", "task": task}
        assert fleet[0].ask("PUT", f"/schedules/{name}", body).status == 201


def pause_schedules(fleet: Fleet) -> None:
    for name in SCHEDULES:
        schedule = fleet[0].ask("GET", f"/schedules/{name}").body
        kept = {field: schedule[field] for field in ("every_seconds", "missed", "task")}
        answer = fleet[0].ask("PUT", f"/schedules/{name}", {**kept, "paused": True})
        assert answer.status == 200


def wait_for_work(tasks: Tasks, fleet: Fleet, places: list[int]) -> None:
    """Wait until each of these nodes has brought some more tasks to their end."""

    def ended(place: int) -> int:
        return tasks.execute(ENDED, f"%:{fleet[place].process.pid}").rowcount

    wanted = {place: ended(place) + SOME for place in places}
    wait_until(lambda: all(ended(place) >= count for place, count in wanted.items()))


def is_quiet(tasks: Tasks) -> bool:
    query = "SELECT FROM taskflow_tasks WHERE status IN ('PENDING', 'RUNNING') LIMIT 1"
    return not tasks.execute(query).rowcount


def check_load(tasks: Tasks, load: Load, target: MoodyTarget, receiver: Receiver) -> None:
    """No POST failed, and each task has had one end, after as many fetches as it takes."""
    assert load.failures == []
    rows = tasks.execute("SELECT id::text, status, rescues FROM taskflow_tasks").fetchall()
    state = {task_id: (status, rescues) for task_id, status, rescues in rows}
    steps = audit.steps_of(tasks)
    for key, task_id in load.ids.items():
        assert state[task_id] == ("COMPLETED", 0), key
        assert audit.unlawful(steps[task_id]) is None, steps[task_id]
        assert len(target.asked[key]) == FETCHES.get(key.partition("-")[0], 1), key
    reported = [one.path.removeprefix("/") for one in receiver.received]
    assert sorted(reported) == sorted(load.of("told"))
    for one in receiver.received:
        assert one.verified()["id"] == load.ids[one.path.removeprefix("/")]
    callbacks = len(reported)
    firings = sum(len(target.asked[name]) for name in SCHEDULES)
    assert len(rows) == len(load.ids) + callbacks + firings


def check_schedules(tasks: Tasks, target: MoodyTarget) -> None:
    """From the first time to the last there are as many seconds as firings, tasks and fetches."""
    rows = tasks.execute(FIRINGS).fetchall()
    assert [name for name, *_ in rows] == sorted(SCHEDULES)
    for name, count, *others in rows:
        assert others == [count] * 3, (name, count, others)
        assert len(target.asked[name]) == count


def test_the_version_before_does_not_start_any_more(tmp_path, tasks, before):
    """It says in one line that the database is newer; it changes nothing, and new ones go on."""
    assert old.schema_version() < migrations()[-1].version
    with running("serve", tmp_path, DATABASE_URL=tasks.url) as node:
        with started("serve", tmp_path, DATABASE_URL=tasks.url, **before) as late:
            ended = late.wait_for_end()
        [line] = [line for line in ended.stderr.splitlines() if line.startswith("taskflow: ")]
        assert ended.code == 1
        assert "newer than this TaskFlow" in line
        assert "install the version that made it, or a later one" in line
        assert "Traceback" not in ended.stderr
        assert schema_version(tasks) == migrations()[-1].version
        assert node.ask("GET", "/readyz").status == 200


def test_processes_of_the_previous_version_continue(tmp_path, tasks, before):
    """A node that loses its lease begins anew, and programs hand tasks in by their transactions."""
    quick = {"TASKFLOW_HEARTBEAT_SECONDS": 0.2, "TASKFLOW_LEASE_SECONDS": 2}
    with running("serve", tmp_path, DATABASE_URL=tasks.url, **quick, **before) as node:
        migrated = CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=tasks.url)
        assert migrated.code == 0, migrated
        assert schema_version(tasks) == migrations()[-1].version
        [(first,)] = tasks.execute("UPDATE taskflow_nodes SET expires_at = now() RETURNING id")
        query = "SELECT FROM taskflow_nodes WHERE id <> %s AND expires_at > now()"
        wait_until(lambda: tasks.execute(query, first).rowcount)
        task_id = run_python(tmp_path, ENQUEUE, tasks.url, **before)
        wait_until(lambda: tasks.row(task_id).status == "FAILED")
        assert node.ask("GET", f"/tasks/{task_id}").body["error_type"] == "invalid_url"


def test_tasks_with_an_order_key_beside_the_version_before(tmp_path, tasks, before):
    """A node of that version runs each in its turn, and frees its key for the next one."""
    with running("serve", tmp_path, DATABASE_URL=tasks.url, **before) as node:
        migrated = CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=tasks.url)
        assert migrated.code == 0, migrated
        with psycopg.connect(tasks.url) as connection:
            made = enqueue_many(connection, [Submission("no url", order_key="a")] * 3)
        ids = [str(task.id) for task in made]
        assert {tasks.row(task_id).status for task_id in ids} == {"PENDING"}
        for task_id in ids:
            trio.run(promote, tasks.url)
            wait_until(lambda task_id=task_id: tasks.row(task_id).status == "FAILED")
        times = "SELECT started_at, finished_at FROM taskflow_tasks WHERE id = %s"
        moments = [at for task_id in ids for at in tasks.execute(times, task_id).fetchone()]
        assert moments == sorted(moments)
        assert node.ask("GET", f"/tasks/{ids[-1]}").body["error_type"] == "invalid_url"


def test_graphs_beside_the_version_before(tmp_path, tasks, before):
    """A node of that version runs each task after its parents, and their ends count."""
    items = [
        Submission("no url", name="a"),
        Submission("no url", name="b", after=["a"], on_parent_failure="run"),
        Submission("no url", after=["b"]),
    ]
    with running("serve", tmp_path, DATABASE_URL=tasks.url, **before):
        migrated = CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=tasks.url)
        assert migrated.code == 0, migrated
        with psycopg.connect(tasks.url) as connection:
            first, child, last = (str(task.id) for task in enqueue_many(connection, items))
        wait_until(lambda: tasks.row(first).status == "FAILED")
        assert tasks.row(child).status == "PENDING"
        trio.run(promote, tasks.url)
        wait_until(lambda: tasks.row(child).status == "FAILED")
        trio.run(promote, tasks.url)
        assert tasks.row(last).status == "CANCELED"


def test_tasks_with_keys_beside_the_version_before(tmp_path, tasks, before):
    """A node of that version runs them, and frees their keys."""
    items = [
        Submission("no url", unique={"key": "a"}),
        Submission("no url", debounce={"key": "a", "delay_seconds": 0.001}),
    ]
    with running("serve", tmp_path, DATABASE_URL=tasks.url, **before) as node:
        migrated = CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=tasks.url)
        assert migrated.code == 0, migrated
        for _ in range(2):
            with psycopg.connect(tasks.url) as connection:
                made = enqueue_many(connection, items)
            assert [task.existing for task in made] == [UNSET, UNSET]
            for task in made:
                wait_until(lambda task_id=str(task.id): tasks.row(task_id).status == "FAILED")
        body = node.ask("GET", f"/tasks/{made[0].id}").body
        assert (body["error_type"], "unique" in body) == ("invalid_url", False)


def test_a_group_beside_the_version_before(tmp_path, tasks, before):
    """A node of that version finishes its tasks, which completes it, and runs the task of that."""
    with running("serve", tmp_path, DATABASE_URL=tasks.url, **before) as node:
        migrated = CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=tasks.url)
        assert migrated.code == 0, migrated
        group = trio.run(add_group, tasks.url)
        ended = "SELECT options ->> 'completion_of' FROM taskflow_tasks WHERE status = 'FAILED'"
        wait_until(lambda: tasks.execute(ended).rowcount == SOME + 1)
        done = trio.run(group_now, tasks.url, group.id)
        assert (done.status, done.completions) == (GroupStatus.COMPLETED, 1)
        assert done.counts == GroupCounts(FAILED=SOME)
        assert str(group.id) in [value for (value,) in tasks.execute(ended)]
        body = node.ask("GET", f"/tasks/{done.completion_task_id}").body
        assert (body["status"], body["error_type"]) == ("FAILED", "invalid_url")


@pytest.mark.parametrize("end", ["cancel", "settle"])
def test_a_parked_task_beside_the_version_before(tmp_path, tasks, before, end):
    """A node of that version rescues others, but not this one, and may cancel it."""
    quick = {"TASKFLOW_HEARTBEAT_SECONDS": 0.2, "TASKFLOW_LEASE_SECONDS": 2}
    with running("serve", tmp_path, DATABASE_URL=tasks.url, **quick, **before) as node:
        migrated = CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=tasks.url)
        assert migrated.code == 0, migrated
        parked = trio.run(park, tasks.url)
        for _ in range(2):
            # Its node has no row. Of those that are lost, the node of that version takes all.
            [(lost,)] = tasks.execute(RUN_NOWHERE)
            wait_until(lambda lost=lost: tasks.row(lost).status == "FAILED")
            assert tasks.row(lost).rescues == 1
        assert tasks.row(str(parked.task_id)) == Row("RUNNING", attempt=1, rescues=0)
        assert node.ask("GET", f"/tasks/{parked.task_id}").body["status"] == "RUNNING"
        assert tasks.execute("SELECT FROM taskflow_parked").rowcount == 1
        if end == "cancel":
            assert node.ask("POST", f"/tasks/{parked.task_id}/cancel").status == 200
        else:
            trio.run(complete, tasks.url, parked)
        wanted = {"cancel": "CANCELED", "settle": "COMPLETED"}[end]
        assert node.ask("GET", f"/tasks/{parked.task_id}").body["status"] == wanted
        assert tasks.execute("SELECT FROM taskflow_parked").rowcount == 0


def test_the_archive_waits_for_the_version_before(tmp_path, tasks, before):
    """A node of that version reads one table: nothing is archived until it has ended."""
    archiving = {"DATABASE_URL": tasks.url, "TASKFLOW_ARCHIVE_AFTER_SECONDS": 0.2}
    with running("serve", tmp_path, DATABASE_URL=tasks.url, **before) as node:
        task_id = node.post("no url")
        wait_until(lambda: tasks.row(task_id).status == "FAILED")
        with running("serve", tmp_path, **archiving) as new:
            new.wait_for_log("finished tasks cannot be moved to the archive")
            assert node.ask("GET", f"/tasks/{task_id}").body["status"] == "FAILED"
            assert tasks.execute("SELECT FROM taskflow_archive").rowcount == 0
            assert node.end().code == 0
            wait_until(lambda: tasks.execute("SELECT FROM taskflow_archive").rowcount == 1)
            assert new.ask("GET", f"/tasks/{task_id}").body["status"] == "FAILED"
            assert new.ask("POST", f"/tasks/{task_id}/retry").status == 200


async def park(url: str) -> Claim:
    """Park a task that a node of this version has claimed: the other one does not get it."""
    async with open_postgres(url, Settings()) as store:
        node = await store.register("new", lease_seconds=30)
        taker = NodeTaker(node, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taker.wait, store)
            while not taker.claims:  # the other node gets those that are added between two waits
                await trio.testing.wait_all_tasks_blocked(0.05)
                await store.add([NewTask(msgspec.Raw(b'"no url"'))])
            nursery.cancel_scope.cancel()
        [claim] = taker.claims
        parking = Parking(claim.task_id, claim.token, within_seconds=3600)
        assert await store.parking.park([parking]) == {claim.task_id}
        await store.retire(node)
        return claim


async def complete(url: str, claim: Claim) -> None:
    settlement = Settlement(claim.task_id, claim.token, TaskStatus.COMPLETED, result=b"1")
    async with open_postgres(url, Settings()) as store:
        assert await store.settle([settlement]) == {claim.task_id}


async def add_group(url: str) -> Group:
    """Create a group, as a node of this version does."""
    completion = NewTask(msgspec.Raw(b'{"url":"no url","method":"POST"}'))
    new = NewGroup(on_complete=msgspec.Raw(b"{}"), completion=completion, is_open=False)
    async with open_postgres(url, Settings()) as store:
        tasks = [NewTask(msgspec.Raw(b'"no url"')) for _ in range(SOME)]
        group = (await store.groups.add(new, tasks)).group
        assert group is not None
        return group


async def group_now(url: str, group_id: uuid.UUID) -> Group | None:
    async with open_postgres(url, Settings()) as store:
        return await store.groups.get(group_id)


async def promote(url: str) -> None:
    """Start what a node of this version starts."""
    async with open_postgres(url, Settings()) as store:
        await store.promote()


def run_python(folder: Path, program: str, *arguments: str, **settings: object) -> str:
    command = [sys.executable, "-c", program, *arguments]
    environ = clean_environ(**settings)
    ended = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environ, cwd=folder
    )
    return ended.stdout.strip()


def test_a_migration_does_not_hold_up_nodes_for_long(tmp_path, tasks, before):
    """Where a backup holds its locks it gives way, well within a lease, and says what it wants."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_LEASE_SECONDS": 20}
    with running("serve", tmp_path, **settings, **before) as node:
        with tasks.transaction():
            tasks.execute("LOCK TABLE taskflow_nodes, taskflow_tasks IN ACCESS SHARE MODE")
            with started("serve", tmp_path, **settings) as early:
                ended = early.wait_for_end()
            task_id = node.post("no url")
        assert (ended.code, "Traceback" in ended.stderr) == (1, False)
        [line] = [line for line in ended.stderr.splitlines() if line.startswith("taskflow: ")]
        assert "waits for another transaction (a backup?)" in line
        assert schema_version(tasks) == old.schema_version()
        wait_until(lambda: tasks.row(task_id).status == "FAILED")
        with running("serve", tmp_path, **settings):
            assert schema_version(tasks) == migrations()[-1].version
        assert "lease" not in node.log
