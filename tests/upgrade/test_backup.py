"""Backups that are taken while work goes on, and restored: what was accepted by then is run."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from taskflow.store.embedded.binaries import locate_binaries
from tests.api.sse import open_stream
from tests.folders import open_folder
from tests.loopback import SECRET
from tests.receiver import Receiver
from tests.replicas import Server, primary_in, server_gone_afterwards
from tests.service.database import Tasks
from tests.service.processes import REPOSITORY, running, wait_until
from tests.service.targets import Target

QUICK = {"TASKFLOW_LEASE_SECONDS": 2, "TASKFLOW_HEARTBEAT_SECONDS": 0.5}


def run(program: str, *arguments: str | Path) -> None:
    path = locate_binaries().program(program)
    subprocess.run([path, *arguments], check=True, capture_output=True)


def restored(server: str, dump: Path) -> str:
    """A new database with what is in the dump."""
    conninfo = make_conninfo(server, dbname=f"taskflow_restored_{uuid.uuid4().hex}")
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={conninfo}", dump)
    return conninfo


@pytest.fixture
def dropped(postgres_server):
    """Databases that are gone at the end."""
    names: list[str] = []
    yield names
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        for name in names:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_tasks_that_ran_at_the_backup_run_again(tmp_path, postgres_server, database_url, dropped):
    """The node that ran it is dead there, so it is taken over; what waited runs, too."""
    with Target() as target, Tasks(database_url) as tasks:
        with running("serve", tmp_path, DATABASE_URL=tasks.url, **QUICK) as node:
            node.ask("POST", "/queues/later/pause")
            body = {"payload": f"{target.url}/now", "queue": "later"}
            waiting = node.ask("POST", "/tasks", body).body["id"]
            running_one = node.post(f"{target.url}/held")
            target.wait_for("/held")
            run("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", database_url)
            target.release()
        conninfo = restored(postgres_server, tmp_path / "dump")
        dropped.append(psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"])
        with (
            Tasks(conninfo) as copies,
            running("serve", tmp_path, DATABASE_URL=copies.url, **QUICK) as node,
        ):
            node.ask("POST", "/queues/later/resume")
            for task_id in (waiting, running_one):
                wait_until(lambda: copies.row(task_id).status == "COMPLETED")  # noqa: B023 - now
            assert copies.row(running_one).rescues == 1


POINT = "yesterday"
PAGE = REPOSITORY / "docs" / "how-to" / "high-availability.md"
# Number of tasks of a schedule that has missed four times.
MISSED = {"skip": 0, "once": 1, "all": 4}


class Before:
    """What clients do before and after the point that is restored.

    Attributes:
        ids: Tasks by name.
        webhook_ids: The ``webhook-id`` of each callback that was received.
        position: The id of the last event that a client received.
    """

    def __init__(self, node, target: Target, receiver: Receiver) -> None:
        self._node = node
        self._target = target
        self._receiver = receiver
        self.ids: dict[str, str] = {}
        self.webhook_ids: dict[str, str] = {}
        self.position = ""

    def submit(self, name: str, **fields: object) -> str:
        """Submit a task to the target's path of this name, with this idempotency key."""
        body = {"payload": f"{self._target.url}/{name}", **fields}
        answer = self._node.ask("POST", "/tasks", body, {"Idempotency-Key": name})
        assert answer.status == 201, answer
        self.ids[name] = answer.body["id"]
        return answer.body["id"]

    def act_before(self) -> None:
        """One task runs, two wait, one has finished; its callback waits, too."""
        for queue in ("later", "callbacks"):
            assert self._node.ask("POST", f"/queues/{queue}/pause").status < 300
        # Far from now: times that are less than a minute late are not missed.
        minute = (dt.datetime.now(dt.UTC).minute + 30) % 60
        for missed in MISSED:
            task = {"payload": f"{self._target.url}/now", "queue": missed}
            body = {"cron": f"{minute} */6 * * *", "missed": missed, "task": task}
            assert self._node.ask("PUT", f"/schedules/{missed}", body).status == 201
        self.submit("now-finished", callback_url=f"{self._receiver.url}/finished")
        self.submit("now-late", queue="later", callback_url=f"{self._receiver.url}/late")
        self.submit("now-waiting", queue="later")
        self.submit("held")
        self._target.wait_for("/held")
        path = f"/tasks/{self.ids['now-finished']}?wait=60"
        assert self._node.ask("GET", path).body["status"] == "COMPLETED"

    def act_after(self, tasks: Tasks) -> None:
        """All of them finish, another one is accepted, and the callbacks are received."""
        self._target.release()
        self.submit("now-new", queue="later")
        with open_stream(self._node.url, "/events") as stream:
            stream.begin()
            for queue in ("later", "callbacks"):
                assert self._node.ask("POST", f"/queues/{queue}/resume").status < 300
            for name, task_id in self.ids.items():
                wait_until(lambda: tasks.row(task_id).status == "COMPLETED")  # noqa: B023 - now
                assert len(self._target.wait_for(f"/{name}")) == 1
            for path in ("/finished", "/late"):
                [received] = self._receiver.wait_for(path)
                self.webhook_ids[path] = received.headers["webhook-id"]
            stream.take(6)
            self.position = stream.last_event_id


def test_a_restore_to_a_point_in_time(tmp_path):
    """From a base backup and the log: all is as it was then, and what was done since runs again."""
    settings = {
        **QUICK,
        "TASKFLOW_WEBHOOK_SECRETS": SECRET,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": 600,
    }
    with open_folder() as folder, Target() as target, Receiver() as receiver:
        archive = folder / "archive"
        archive.mkdir(0o777)
        archive.chmod(0o777)
        archiving = {"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"}
        restored = Server(folder, "restored")
        with primary_in(folder, **archiving) as primary, Tasks(primary.conninfo) as tasks:
            with running("serve", tmp_path, DATABASE_URL=tasks.url, **settings) as node:
                before = Before(node, target, receiver)
                primary.back_up(restored)
                before.act_before()
                tasks.execute("SELECT pg_create_restore_point(%s)", POINT)
                before.act_after(tasks)
            [(last,)] = tasks.execute("SELECT pg_walfile_name(pg_switch_wal())")
            wait_until((archive / last).exists)
        with server_gone_afterwards(restored):
            recover(restored, archive)
            with (
                Tasks(restored.conninfo) as copies,
                running("serve", tmp_path, DATABASE_URL=copies.url, **settings) as node,
            ):
                check_restored(node, copies, before, target, receiver)


def recover(server: Server, archive: Path) -> None:
    """Replay the log up to the point, as the guide says, with its statements."""
    server.write(
        "postgresql.auto.conf",
        f"restore_command = 'cp {archive}/%f %p'\n"
        f"recovery_target_name = '{POINT}'\n"
        "recovery_target_action = promote\n",
    )
    server.write("recovery.signal", "")
    server.start()
    [statements] = re.findall("```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        query = "SELECT pg_is_in_recovery()"
        wait_until(lambda: connection.execute(query).fetchone() == (False,))
        connection.execute(statements)
        # A day passes between the point and the restore: each schedule has missed four times.
        connection.execute("UPDATE taskflow_schedules SET next_at = next_at - interval '1 day'")


def check_restored(node, copies: Tasks, before: Before, target: Target, receiver: Receiver) -> None:
    """Check what the guide says about leases, keys, events, schedules and callbacks."""
    ids = before.ids
    # What was accepted since does not exist, and its idempotency key is unknown.
    assert node.ask("GET", f"/tasks/{ids['now-new']}").status == 404
    again = Before(node, target, receiver)
    assert again.submit("now-new", queue="later") != ids["now-new"]
    headers = {"Idempotency-Key": "now-waiting"}
    body = {"payload": f"{target.url}/now-waiting", "queue": "later"}
    repeated = node.ask("POST", "/tasks", body, headers)
    assert (repeated.body["id"], repeated.body["status"]) == (ids["now-waiting"], "PENDING")
    # The lease of the node of then has expired.
    wait_until(lambda: copies.row(ids["held"]).status == "COMPLETED")
    assert copies.row(ids["held"]).rescues == 1
    # A client that has seen later events learns that it must read the tasks.
    with open_stream(node.url, "/events", after=before.position) as stream:
        assert stream.next().event == "reset"
    for queue in ("later", "callbacks"):
        assert node.ask("POST", f"/queues/{queue}/resume").status < 300
    # The callback that waited keeps its id; the one that is made again has a new one.
    for path, name, is_same in (("/finished", "now-finished", True), ("/late", "now-late", False)):
        received = receiver.wait_for(path, times=2)[-1]
        assert received.verified()["id"] == ids[name]
        assert (received.headers["webhook-id"] == before.webhook_ids[path]) is is_same
    # What had finished by then does not run again.
    fetches = dict.fromkeys(ids, 2) | {"now-finished": 1}
    for name, count in fetches.items():
        assert len(target.wait_for(f"/{name}", times=count)) == count
    for missed, count in MISSED.items():
        query = "SELECT next_at > now() FROM taskflow_schedules WHERE name = %s"
        wait_until(lambda: copies.execute(query, missed).fetchone() == (True,))  # noqa: B023 - now
        found = copies.execute("SELECT FROM taskflow_tasks WHERE queue = %s", missed)
        assert (missed, found.rowcount) == (missed, count)
