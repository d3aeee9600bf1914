"""The PostgreSQL that TaskFlow runs itself: real servers in folders of their own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import psutil
import psycopg
import pytest
import trio

from taskflow import telemetry
from taskflow.model.errors import StoreUnusable
from taskflow.store.embedded.account import account_for
from taskflow.store.embedded.binaries import Binaries, locate_binaries
from taskflow.store.embedded.shared_server import (
    EmbeddedServer,
    default_data_dir,
    embedded_postgres,
)
from taskflow.telemetry import Event
from tests.folders import open_folder
from tests.store.test_sessions import use

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="about running as root")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="about running as an ordinary user")

USER_PROGRAM = """
import json, sys, trio
from pathlib import Path
from taskflow import telemetry
from taskflow.store.embedded.shared_server import embedded_postgres

async def main():
    async with embedded_postgres(Path(sys.argv[1])) as server:
        told = {"conninfo": server.conninfo, "was_running": server.was_running}
        print(json.dumps(told), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)

telemetry.configure("error", "json")
trio.run(main)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path
        for pid_file in path.rglob("postmaster.pid"):
            end_postmaster(pid_file)


@pytest.fixture
def new_dir(folder) -> Path:
    """A data folder that is still to be made."""
    return folder / "data"


@pytest.fixture(scope="module")
def model() -> Iterator[Path]:
    """A data folder with data in it, to be copied: making one takes longer."""
    with open_folder() as path:
        trio.run(make_data, path / "data")
        yield path / "data"


@pytest.fixture
def data_dir(new_dir, model) -> Path:
    """A data folder with data in it: in the table ``kept``."""
    subprocess.run(["cp", "-a", model, new_dir], check=True)
    return new_dir


@pytest.fixture
def events(monkeypatch) -> list[Event]:
    """What is logged from now on."""
    reported: list[Event] = []
    monkeypatch.setattr(telemetry, "emit", lambda event, **_: reported.append(event))
    return reported


def end_postmaster(pid_file: Path) -> None:
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if process.cwd() == str(pid_file.parent):
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGQUIT)


def postmaster(data_dir: Path) -> psutil.Process | None:
    """The server that runs on this data, if one does."""
    try:
        pid = int((data_dir / "pgdata" / "postmaster.pid").read_text().split()[0])
        return psutil.Process(pid)
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None


def execute(conninfo: str, query: str) -> list[tuple]:
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def socket_folder_of(server: EmbeddedServer) -> Path:
    return Path(psycopg.conninfo.conninfo_to_dict(server.conninfo)["host"])


def statuses(paths: list[Path]) -> list[tuple]:
    return [(s.st_mode, s.st_uid, s.st_gid) for s in (path.stat() for path in paths)]


def install_in(closed: Path) -> Binaries:
    """Copy the PostgreSQL programs into a folder that only its owner can enter."""
    closed.mkdir(0o700)
    found = locate_binaries()
    unused = shutil.ignore_patterns("pginstall", "include", "__pycache__")
    for source in (found.package, *found.library_folders()):
        inside = source.relative_to(found.package.parent)
        shutil.copytree(source, closed / inside, ignore=unused)
    package = closed / found.package.name
    return Binaries(package=package, prefix=package / found.prefix.name, release=found.release)


@contextlib.asynccontextmanager
async def another_process(data_dir: Path) -> AsyncIterator[tuple[trio.Process, dict]]:
    """A process that uses the server until its standard input is closed."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", USER_PROGRAM, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        output = b""
        while not output.endswith(b"\n"):
            part = await process.stdout.receive_some()
            assert part, "it ended without a word"
            output += part
        yield process, json.loads(output)
        await process.stdin.aclose()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        await process.stdin.aclose()
        await process.stdout.aclose()


async def make_data(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as server:
        execute(server.conninfo, "CREATE TABLE kept AS SELECT 42 AS answer")


async def test_starts_keeps_its_data_and_stops(new_dir):
    """The data of one run is there in the next, and no server is left between them."""
    await make_data(new_dir)
    assert postmaster(new_dir) is None
    async with embedded_postgres(new_dir) as server:
        assert execute(server.conninfo, "SELECT answer FROM kept") == [(42,)]
        assert server.version.startswith("18.")
        assert not server.was_running
        assert server.data_dir == new_dir
    assert postmaster(new_dir) is None


async def test_is_durable_and_private(new_dir):
    """Nothing trades durability for speed, and no port is opened."""
    settings = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
    async with embedded_postgres(new_dir) as server:
        for setting in settings:
            assert execute(server.conninfo, f"SHOW {setting}") == [("on",)]
        assert execute(server.conninfo, "SHOW listen_addresses") == [("",)]
        assert execute(
            server.conninfo,
            "SELECT current_database(), current_user, pg_encoding_to_char(encoding), datcollate"
            " FROM pg_database WHERE datname = current_database()",
        ) == [("taskflow", "taskflow", "UTF8", "C")]


async def test_the_last_of_two_processes_stops_it(data_dir):
    """Two processes share one server; it goes on without the first and ends with the second."""
    async with another_process(data_dir) as (first, reported):
        assert not reported["was_running"]
        async with embedded_postgres(data_dir) as server:
            assert server.was_running
            assert server.conninfo == reported["conninfo"]
            await first.stdin.aclose()
            assert await first.wait() == 0
            assert execute(server.conninfo, "SELECT 1") == [(1,)]
        assert postmaster(data_dir) is None


async def test_the_first_of_two_users_leaves_it_running(data_dir):
    """The process that started it does not stop it while another uses it."""
    async with embedded_postgres(data_dir) as server:
        async with embedded_postgres(data_dir) as same:
            assert same.was_running
        assert execute(server.conninfo, "SELECT 1") == [(1,)]
    assert postmaster(data_dir) is None


async def test_a_server_of_a_killed_process_is_reused(data_dir):
    """After kill -9 of its only user the same server serves the next, who then stops it."""
    async with another_process(data_dir) as (process, _):
        left = postmaster(data_dir)
        process.kill()
        await process.wait()
        async with embedded_postgres(data_dir) as server:
            assert server.was_running
            assert postmaster(data_dir) == left
        assert postmaster(data_dir) is None


async def test_server_does_not_inherit_the_locks(data_dir):
    """PostgreSQL inherits none of TaskFlow's locks, else no process would ever be the last."""
    async with embedded_postgres(data_dir):
        server = postmaster(data_dir)
        held = set()
        for process in (server, *server.children()):
            with contextlib.suppress(psutil.NoSuchProcess):  # some are short-lived
                held |= {file.path for file in process.open_files()}
    assert any(path.startswith(str(data_dir)) for path in held)
    assert not any(path.endswith(".lock") for path in held)


async def test_a_killed_server_is_started_again(data_dir):
    """After kill -9 of PostgreSQL itself the next start recovers what was committed."""
    async with another_process(data_dir) as (process, server):
        execute(server["conninfo"], "UPDATE kept SET answer = 43")
        process.kill()
        await process.wait()
        postmaster(data_dir).kill()
        async with embedded_postgres(data_dir) as again:
            assert not again.was_running
            assert execute(again.conninfo, "SELECT answer FROM kept") == [(43,)]


async def test_a_killed_server_is_restarted(data_dir, events):
    """Of its users one starts it again; also when it ends once more, though not at once then."""
    async with embedded_postgres(data_dir) as server, embedded_postgres(data_dir):
        for answer in (43, 44):
            events.clear()
            execute(server.conninfo, f"UPDATE kept SET answer = {answer}")
            postmaster(data_dir).kill()
            with trio.fail_after(90):
                while len(events) < 4:
                    await trio.sleep(0.02)
            assert execute(server.conninfo, "SELECT answer FROM kept") == [(answer,)]
            assert events[:2] == 2 * [Event.POSTGRES_EXITED]
            assert set(events[2:]) == {Event.POSTGRES_STARTED, Event.POSTGRES_ALREADY_RUNNING}
    assert postmaster(data_dir) is None


async def test_failed_restarts_are_repeated(data_dir, events):
    """The obstacle is logged; once it is removed, the server starts."""
    async with embedded_postgres(data_dir) as server:
        events.clear()
        control = data_dir / "pgdata" / "global" / "pg_control"
        hidden = control.rename(control.with_suffix(".hidden"))
        postmaster(data_dir).kill()
        with trio.fail_after(90):
            while Event.POSTGRES_FAILED not in events:
                await trio.sleep(0.02)
            hidden.rename(control)
            while Event.POSTGRES_STARTED not in events:
                await trio.sleep(0.02)
        assert execute(server.conninfo, "SELECT answer FROM kept") == [(42,)]


async def test_a_reused_process_number_does_not_fool_it(data_dir):
    """A stale pid file may name a living process of the same user that is no server."""
    account = account_for(data_dir / "pgdata")
    other = await trio.lowlevel.open_process(["sleep", "60"], **account.process_arguments())
    try:
        lines = [other.pid, data_dir / "pgdata", 0, 5432, data_dir / "socket", "", "1 1", "ready"]
        stale = "".join(f"{line}\n" for line in lines)
        (data_dir / "pgdata" / "postmaster.pid").write_text(stale)
        (data_dir / "socket" / ".s.PGSQL.5432.lock").write_text(stale)
        async with embedded_postgres(data_dir) as server:
            assert not server.was_running
            assert execute(server.conninfo, "SELECT answer FROM kept") == [(42,)]
        assert other.poll() is None
    finally:
        other.kill()
        await other.wait()


async def test_leaving_is_bounded_and_the_next_start_waits(data_dir):
    """A server that does not stop in time is left to it, and waited for by the next start."""
    async with embedded_postgres(data_dir, stop_seconds=0.1):
        frozen = postmaster(data_dir)
        frozen.suspend()
        with trio.fail_after(2):
            await trio.lowlevel.checkpoint()
    assert frozen.is_running()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def thaw():
            await trio.sleep(0.1)
            frozen.resume()

        async with embedded_postgres(data_dir) as server:
            assert not server.was_running
            assert postmaster(data_dir) != frozen


async def test_stops_while_being_cancelled(data_dir):
    """A cancelled user still stops the server, within its bound."""
    with trio.CancelScope() as scope:
        async with embedded_postgres(data_dir):
            scope.cancel()
            await trio.sleep_forever()
    assert postmaster(data_dir) is None


@pytest.mark.parametrize("seconds", [0.01, 0.2, 0.5])
async def test_a_start_that_is_cancelled_leaves_nothing(new_dir, seconds):
    """Wherever in the start the cancellation falls, no server and no half-made data is left."""
    with trio.move_on_after(seconds):
        async with embedded_postgres(new_dir):
            await trio.sleep_forever()
    assert postmaster(new_dir) is None
    assert not list(new_dir.glob("pgdata.partial*"))
    await make_data(new_dir)


async def test_three_processes_start_it_at_once(new_dir):
    """First starts that coincide make one server, and one of the three starts it."""
    reported = []
    all_in = trio.Event()

    async def use():
        async with another_process(new_dir) as (_, one):
            reported.append(one)
            if len(reported) == 3:
                all_in.set()
            await all_in.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(use)
    assert sorted(one["was_running"] for one in reported) == [False, True, True]
    assert postmaster(new_dir) is None


async def test_a_start_waits_only_so_long_for_another(data_dir):
    """A start that another process does not finish ends in one line."""
    with (data_dir / "startstop.lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreUnusable, match=r"still starting.*postgresql\.log"):
            async with embedded_postgres(data_dir, start_seconds=0.1):
                pass


async def test_folders_above_are_left_as_they_are(folder):
    """Only the data folder's own content is made and handed over; what was there stays."""
    above = folder / "above"
    above.mkdir(0o711)
    paths = [*above.parents, above, locate_binaries().package]
    before = statuses(paths)
    data_dir = above / "made" / "data"
    await make_data(data_dir)
    assert statuses(paths) == before
    account = account_for(data_dir / "pgdata")
    for private in (data_dir / "pgdata", data_dir / "socket"):
        assert private.stat().st_mode & 0o777 == 0o700
        assert private.stat().st_uid == account.uid
    assert data_dir.stat().st_uid == os.geteuid()
    assert data_dir.stat().st_mode & 0o777 == (0o755 if os.geteuid() == 0 else 0o700)


async def test_a_long_path_has_its_socket_elsewhere(folder):
    """Socket paths are limited to some hundred bytes; data folders are not."""
    data_dir = folder / ("long" * 25) / ("longer" * 10)
    async with embedded_postgres(data_dir) as server:
        socket_folder = socket_folder_of(server)
        assert not socket_folder.is_relative_to(folder)
        assert socket_folder.stat().st_mode & 0o777 == 0o700
        assert execute(server.conninfo, "SELECT 1") == [(1,)]
    socket_folder.rmdir()


async def test_a_comma_and_quotes_in_the_path(folder):
    """A path may hold what a shell, a list or a connection string takes for its own."""
    data_dir = folder / 'it\'s $HOME, a "place"; `x`'
    async with embedded_postgres(data_dir) as server:
        assert execute(server.conninfo, "SELECT 1") == [(1,)]
        socket_folder = socket_folder_of(server)
    socket_folder.rmdir()


@only_root
async def test_a_socket_folder_of_another_user_is_rejected(folder):
    """In a public folder another user may have made it first, to listen in our place."""
    data_dir = folder / ("long" * 25)
    async with embedded_postgres(data_dir) as server:
        socket_folder = socket_folder_of(server)
    os.chown(socket_folder, 12345, 12345)
    with pytest.raises(StoreUnusable, match="belongs to another user"):
        async with embedded_postgres(data_dir):
            pass
    socket_folder.rmdir()


async def test_an_interrupted_initdb_does_no_harm(new_dir):
    """What an initdb that was killed left behind is removed, and the data made anew."""
    left = new_dir / "pgdata.partial-killed"
    left.mkdir(parents=True)
    new_dir.parent.chmod(0o755)
    (left / "PG_VERSION").write_text("18\n")
    await make_data(new_dir)
    assert not left.exists()


async def test_data_of_another_version_is_rejected_in_one_line(new_dir):
    """Data that this PostgreSQL cannot read is left alone, and the way out is named."""
    (new_dir / "pgdata").mkdir(parents=True)
    (new_dir / "pgdata" / "PG_VERSION").write_text("16\n")
    with pytest.raises(StoreUnusable) as caught:
        async with embedded_postgres(new_dir):
            pass
    assert "was made by PostgreSQL 16 and TaskFlow runs 18" in str(caught.value)
    assert "TASKFLOW_DATA_DIR" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_folder_of_other_files_is_rejected(new_dir):
    """A folder with other content is neither used nor emptied."""
    (new_dir / "pgdata").mkdir(parents=True)
    (new_dir / "pgdata" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreUnusable, match="holds files but no PostgreSQL data"):
        async with embedded_postgres(new_dir):
            pass
    assert (new_dir / "pgdata" / "thesis.txt").read_text() == "years of work"


async def test_the_reason_of_a_failed_start_is_reported(data_dir):
    """The error line includes the reason that PostgreSQL logged, and comes at once."""
    with (data_dir / "pgdata" / "postgresql.conf").open("a") as configuration:
        configuration.write("\nwork_mem = plenty\n")
    with pytest.raises(StoreUnusable, match=r"does not start: .*postgresql\.log") as caught:
        async with embedded_postgres(data_dir):
            pass
    assert "\n" not in str(caught.value)


async def test_a_folder_that_cannot_be_made_is_named(folder):
    """What the system refuses arrives as one line with the path."""
    (folder / "file").write_text("")
    with pytest.raises(StoreUnusable, match=r"Not a directory: .*file/data"):
        async with embedded_postgres(folder / "file" / "data"):
            pass


async def test_missing_programs_are_named(new_dir):
    """A package without programs for this platform ends in one line."""
    nowhere = Path("/nonexistent/package")
    missing = Binaries(package=nowhere, prefix=nowhere / "pginstall18", release="0")
    with pytest.raises(StoreUnusable, match="No such file or directory: /nonexistent/package"):
        async with embedded_postgres(new_dir, binaries=missing):
            pass
    assert not list(new_dir.glob("postgresql-*"))


@only_root
async def test_a_closed_data_folder_is_named(folder):
    """Root's own folder is not opened for PostgreSQL; the message says which it is."""
    (folder / "closed").mkdir(0o700)
    with pytest.raises(StoreUnusable, match="closed is closed to the user taskflow"):
        async with embedded_postgres(folder / "closed" / "data"):
            pass
    assert (folder / "closed").stat().st_mode & 0o777 == 0o700


@not_root
async def test_a_read_only_folder_is_named(folder):
    """A folder that may not be written ends in one line."""
    (folder / "closed").mkdir(0o500)
    with pytest.raises(StoreUnusable, match="Permission denied"):
        async with embedded_postgres(folder / "closed" / "data"):
            pass


@only_root
async def test_programs_out_of_reach_are_copied_once(folder, data_dir):
    """A package below a closed folder is not opened up: its programs run from a copy."""
    closed = folder / "closed"
    installed = install_in(closed)
    for release in ("1", "2", "2"):
        binaries = msgspec.structs.replace(installed, release=release)
        async with embedded_postgres(data_dir, binaries=binaries) as server:
            assert execute(server.conninfo, "SELECT 1") == [(1,)]
            program = Path(postmaster(data_dir).exe())
        (home,) = data_dir.glob("postgresql-*-*")
        assert home.name == f"postgresql-18-{release}"
        assert program.is_relative_to(home)
    assert closed.stat().st_mode & 0o777 == 0o700


def test_default_data_dir():
    """Root's data is the system's, everybody else's their own."""
    if os.geteuid() == 0:
        assert default_data_dir() == Path("/var/lib/taskflow")
    else:
        assert default_data_dir().is_relative_to(Path.home())


ENVIRON = {
    "PGOPTIONS": "-c default_transaction_read_only=on -c statement_timeout=1 -c search_path=nope",
    "PGCLIENTENCODING": "SQL_ASCII",
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Tokyo",
    "PGHOSTADDR": "192.0.2.1",
    "PGTARGETSESSIONATTRS": "read-only",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGSSLMODE": "verify-full",
    "PGHOST": "nowhere.invalid",
    "PGDATABASE": "nope",
    "PGUSER": "nope",
    "PGPASSWORD": "nope",
    "PGPORT": "1",
}


async def test_the_environment_is_for_other_servers(data_dir, monkeypatch):
    """What it says of a PostgreSQL does not apply to TaskFlow's own."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    async with embedded_postgres(data_dir) as server:
        await use(server.conninfo)
