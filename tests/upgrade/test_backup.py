"""A backup that is taken while work goes on, and restored: what was accepted by then is run."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from taskflow.store.embedded.binaries import locate_binaries
from tests.service.database import Tasks
from tests.service.processes import running, wait_until
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
