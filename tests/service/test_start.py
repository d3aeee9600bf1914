"""Starts that cannot be: one clear line and a non-zero exit, in every entry point."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import psycopg
import pytest

from tests import forking
from tests.service.database import COMPLETED, url_of
from tests.service.processes import (
    COMMANDS,
    PATIENCE_SECONDS,
    REPOSITORY,
    START_SECONDS,
    clean_environ,
    running,
    started,
)

ENTRY_POINTS = ["serve", "worker", "migrate", "hypercorn"]
OTHERS = {"migrate": ["-m", "taskflow", "migrate"], "hypercorn": COMMANDS["hypercorn"]}


def start(name, folder, *arguments, **settings) -> subprocess.CompletedProcess[str]:
    """Start an entry point that is to end by itself."""
    command = [*COMMANDS.get(name, OTHERS.get(name, [])), *arguments]
    if name == "hypercorn":
        command += ["--bind", "127.0.0.1:0"]
    return forking.run(
        [sys.executable, *command],
        text=True,
        cwd=folder,
        env=clean_environ(**{"TASKFLOW_BIND": "127.0.0.1:0", **settings}),
        timeout=PATIENCE_SECONDS,
    )


def complaint_of(ended: subprocess.CompletedProcess[str]) -> str:
    """The one line that it said beside its log."""
    assert ended.returncode != 0, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    lines = [
        line
        for line in ended.stderr.splitlines()
        if not re.match(r"\d{4}-\d\d-\d\dT|\[\d{4}-\d\d-\d\d ", line)
    ]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("taskflow: ")
    return lines[0].removeprefix("taskflow: ")


@pytest.mark.parametrize("name", ENTRY_POINTS)
@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("postgresql://127.0.0.1:1/tasks", "PostgreSQL: connection failed"),
        ("postgresql://[bad", "DATABASE_URL cannot be used: "),
        ("mysql://localhost/tasks", "DATABASE_URL must be postgresql://..., or memory://"),
    ],
)
def test_invalid_database_urls(tmp_path, name, url, complaint):
    """Unreachable, unreadable, or of another kind."""
    assert complaint_of(start(name, tmp_path, DATABASE_URL=url)).startswith(complaint)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_database_that_is_not_there(tmp_path, database_url, name):
    """The server answers, and has no such database."""
    url = url_of(psycopg.conninfo.make_conninfo(database_url, dbname="no_such_database"))
    complaint = complaint_of(start(name, tmp_path, DATABASE_URL=url))
    assert 'database "no_such_database" does not exist' in complaint


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_setting_that_cannot_be_used(tmp_path, name):
    """It is named, with what is allowed."""
    ended = start(name, tmp_path, DATABASE_URL="memory://", TASKFLOW_WORKERS="many")
    assert complaint_of(ended) == (
        "TASKFLOW_WORKERS='many' cannot be used: it must be a whole number from 1 to 1000"
    )
    assert ended.returncode == (-signal.SIGUSR1 if name == "hypercorn" else 2)


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_an_option_that_cannot_be_used(tmp_path, name):
    """Options are held to the same bounds as the settings that they stand for."""
    ended = start(name, tmp_path, "--workers", "0", DATABASE_URL="memory://")
    assert ended.returncode == 2
    assert "1<=x<=1000" in ended.stderr


def test_an_address_that_makes_no_sense(tmp_path):
    """--bind is held to the bounds of TASKFLOW_BIND."""
    complaint = complaint_of(start("serve", tmp_path, "--bind", "8080", DATABASE_URL="memory://"))
    assert complaint.startswith("TASKFLOW_BIND='8080' cannot be used: it must be an address")


def test_a_port_in_use(tmp_path):
    """The error has the address, the reason, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        # Hypercorn leaves the socket to the garbage collector, which Python would mention.
        ended = start(
            "serve", tmp_path, "--bind", bind, DATABASE_URL="memory://", PYTHONWARNINGS=""
        )
    assert complaint_of(ended) == (
        f"cannot listen on {bind}: Address already in use; stop the process that listens "
        "there, or set TASKFLOW_BIND to another address"
    )


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_data_folder_that_cannot_be_used(tmp_path, shared_folder, name):
    """A file where the folder should be."""
    data = shared_folder / "data"
    data.write_text("not a folder")
    assert str(data) in complaint_of(start(name, tmp_path, TASKFLOW_DATA_DIR=data))


def test_a_misspelt_name_is_warned_about(tmp_path):
    """The nearest right one is said, and the start goes on."""
    with running("serve", tmp_path, DATABASE_URL="memory://", TASKFLOW_WORKRES="3") as service:
        assert "TASKFLOW_WORKRES is not a setting" in service.log
        assert "did you mean TASKFLOW_WORKERS?" in service.log
        assert service.end().code == 0


def test_dotenv_is_read(tmp_path, tasks, target):
    """.env in the working directory sets what the environment does not."""
    (tmp_path / ".env").write_text(f'DATABASE_URL="{tasks.url}"\nTASKFLOW_WORKERS=2\n')
    with running("serve", tmp_path) as service:
        assert "workers=2" in service.log
        tasks.wait_for(service.post(f"{target.url}/now"), COMPLETED)
        assert service.end().code == 0


def test_json_logs(tmp_path):
    """With TASKFLOW_LOG_FORMAT=json every line of the log is a JSON object."""
    settings = {"DATABASE_URL": "memory://", "TASKFLOW_LOG_FORMAT": "json"}
    with started("worker", tmp_path, **settings) as service:
        service.wait_for_log('"event": "workers started"')
        ended = service.end()
    assert ended.code == 0
    assert all(line.startswith("{") for line in ended.stderr.splitlines())


def test_migrate(tmp_path, database_url):
    """It applies what is missing and says so; a second time there is nothing to do."""
    first = start("migrate", tmp_path, DATABASE_URL=url_of(database_url))
    assert first.returncode == 0
    assert "applied 0001 tasks\n" in first.stdout
    second = start("migrate", tmp_path, DATABASE_URL=url_of(database_url))
    assert second.returncode == 0
    assert "applied" not in second.stdout
    assert "is up to date" in second.stdout
    memory = start("migrate", tmp_path, DATABASE_URL="memory://")
    assert (memory.returncode, memory.stdout) == (0, "the memory store needs no migration\n")


def test_a_database_that_is_newer(tmp_path, database_url):
    """No process works on an unknown schema."""
    url = url_of(database_url)
    assert start("migrate", tmp_path, DATABASE_URL=url).returncode == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO taskflow_migrations (version, name) VALUES (9999, 'x')")
    for name in ENTRY_POINTS:
        assert "newer than this TaskFlow" in complaint_of(start(name, tmp_path, DATABASE_URL=url))


def test_several_first_starts_at_once(tmp_path, empty_database_url):
    """Five processes that migrate the same empty database together: all are up."""
    command = [sys.executable, *OTHERS["migrate"]]
    processes = [
        forking.Popen(
            command,
            cwd=tmp_path,
            env=clean_environ(DATABASE_URL=url_of(empty_database_url)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(5)
    ]
    assert [process.wait(START_SECONDS) for process in processes] == [0] * 5


def test_help_and_version(tmp_path):
    """The command line explains itself."""
    reported = start("serve", tmp_path, "--help")
    assert reported.returncode == 0
    assert "SIGTERM" in reported.stdout
    version = subprocess.run(
        [sys.executable, "-m", "taskflow", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env=dict(os.environ),
    )
    assert re.fullmatch(r"taskflow, version \d+\.\d+\.\d+\n", version.stdout)
