"""Every entry point: it runs tasks, and a signal ends it in order."""

from __future__ import annotations

import contextlib
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.service.connections import connections_to
from tests.service.database import COMPLETED, PENDING, url_of
from tests.service.processes import ProcessResult, Running, running, wait_until
from tests.service.targets import Way

SERVERS = ["serve", "serve-p2", "hypercorn", "hypercorn-w2"]
STARTED_ANEW = {("hypercorn-w2", signal.SIGTERM)}
# What could hold up the end of a process takes longer than a test waits for it. How long an end
# takes is measured by ``python -m benchmarks``.
SLOW = {
    "TASKFLOW_FETCH_TIMEOUT_SECONDS": 600,
    "TASKFLOW_REQUEST_SECONDS": 600,
    "TASKFLOW_KEEP_ALIVE_SECONDS": 600,
}


def check_is_clean(ended: ProcessResult) -> None:
    """It ended with status 0 and without errors in its output."""
    assert ended.code == 0, ended.stderr
    for complaint in ("Traceback", "Warning", "Error", "[error"):
        assert complaint not in ended.stderr, ended.stderr


@pytest.mark.parametrize(
    ("name", "signal_number"),
    [(name, signal.SIGTERM) for name in [*SERVERS, "hypercorn-w0"]]
    + [("serve", signal.SIGINT), ("serve-p2", signal.SIGINT), ("hypercorn-w0", signal.SIGINT)],
)
def test_it_serves_runs_and_stops(tmp_path, tasks, target, name, signal_number):
    """A task comes to COMPLETED; a signal ends an idle service at once, with exit status 0."""
    is_forked = (name, signal_number) not in STARTED_ANEW
    settings = {"DATABASE_URL": tasks.url, **SLOW}
    with running(name, tmp_path, is_forked=is_forked, **settings) as service:
        task_id = service.post(f"{target.url}/now")
        tasks.wait_for(task_id, COMPLETED)
        assert service.ask("GET", f"/tasks/{task_id}").body["result"]["status"] == "200 OK"
        ended = service.end(signal_number)
    check_is_clean(ended)
    assert tasks.nodes() == 0
    print(f"{name}: an idle service ended in {ended.seconds:.2f} s")


@pytest.mark.parametrize("name", SERVERS)
def test_fetches_in_flight_finish(tmp_path, tasks, target, name):
    """What is being fetched at the signal ends COMPLETED, and then the process ends."""
    with running(name, tmp_path, DATABASE_URL=tasks.url) as service:
        held = [service.post(f"{target.url}/held") for _ in range(3)]
        target.wait_for("/held", times=3)
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_log("shutting down")
        target.release()
        ended = service.wait_for_end()
    check_is_clean(ended)
    assert [tasks.row(task_id) for task_id in held] == [COMPLETED] * 3
    assert len(target.wait_for("/held")) == 3


@pytest.mark.parametrize("name", ["serve", "hypercorn"])
def test_it_is_not_ready_while_it_drains(tmp_path, tasks, target, name):
    """/readyz is red for a request that is in flight at the signal."""
    with running(name, tmp_path, DATABASE_URL=tasks.url, **SLOW) as service:
        service.post(f"{target.url}/held")
        target.wait_for("/held")
        with ThreadPoolExecutor() as threads, psycopg.connect(tasks.url) as connection:
            connection.execute("LOCK TABLE taskflow_tasks")
            in_flight = threads.submit(service.ask, "GET", "/readyz")
            wait_until(lambda: is_waited_for(connection))
            service.process.send_signal(signal.SIGTERM)
            service.wait_for_log("shutting down")
            connection.rollback()
            answer = in_flight.result()
        assert service.process.poll() is None
        target.release()
        check_is_clean(service.wait_for_end())
    assert (answer.status, answer.body["detail"]) == (503, "the workers are not running")


def is_waited_for(connection) -> bool:
    query = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'taskflow_tasks'::regclass"
    return bool(connection.execute(query).rowcount)


def test_a_draining_worker_outlives_the_others(tmp_path, tasks, target):
    """A SIGTERM of Hypercorn's main process does not kill a worker that is draining."""
    with running("hypercorn-w2", tmp_path, DATABASE_URL=tasks.url) as service:
        task_id = service.post(f"{target.url}/held")
        target.wait_for("/held")
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: len(service.node_processes()) == 1)
        [draining] = service.node_processes()
        assert draining.pid != service.process.pid
        for _ in range(3):
            draining.terminate()
        service.wait_for_log("shutting down", times=2)
        assert draining.is_running()
        target.release()
        ended = service.wait_for_end()
    check_is_clean(ended)
    assert tasks.row(task_id) == COMPLETED


@pytest.mark.parametrize("name", SERVERS)
def test_fetches_beyond_the_drain_deadline_are_released(tmp_path, tasks, target, name):
    """At the drain deadline it goes back to PENDING, uncounted; the next start runs it."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_DRAIN_SECONDS": 1, **SLOW}
    with running(name, tmp_path, **settings) as service:
        task_id = service.post(f"{target.url}/held")
        target.wait_for("/held")
        ended = service.end()
    check_is_clean(ended)
    assert ended.seconds > 1.0
    assert tasks.row(task_id) == PENDING
    print(f"{name}: with a fetch cut off after 1 s it ended in {ended.seconds:.2f} s")
    target.release()
    with running("worker", tmp_path, **settings) as service:
        tasks.wait_for(task_id, COMPLETED)
        check_is_clean(service.end())


@pytest.mark.parametrize("name", ["serve", "serve-p2", "worker"])
def test_a_second_signal_cuts_it_short(tmp_path, tasks, target, name):
    """The fetch in flight is released at once, and the process ends with exit status 0."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_DRAIN_SECONDS": 600, **SLOW}
    with running(name, tmp_path, **settings) as service:
        task_id = hand_in(tasks, f"{target.url}/held")
        target.wait_for("/held")
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_log("shutting down")
        assert service.process.poll() is None
        ended = service.end(signal.SIGINT)
    assert ended.code == 0
    assert "shutting down at once" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert tasks.row(task_id) == PENDING
    print(f"{name}: after a second signal it ended in {ended.seconds:.2f} s")


def hand_in(tasks, url) -> str:
    """Insert a task as another process would, and tell."""
    [[task_id]] = tasks.execute(
        "INSERT INTO taskflow_tasks (payload, size_bytes)"
        " VALUES (to_json(%s::text), 0) RETURNING id",
        url,
    )
    tasks.execute("SELECT pg_notify('taskflow_work', 'other words')")
    return str(task_id)


@pytest.mark.parametrize("name", SERVERS)
def test_clients_do_not_hold_it_up(tmp_path, tasks, name):
    """Neither one who never reads nor ones who are idle or send half a request."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_DRAIN_SECONDS": 1, **SLOW}
    with running(name, tmp_path, **settings) as service, contextlib.ExitStack() as stack:
        make_large_results(tasks, count=60, size_bytes=200_000)
        deaf = [stack.enter_context(service.connect(receive_bytes=4096)) for _ in range(2)]
        for client in deaf:
            client.sendall(b"GET /tasks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        idle, *halves = (stack.enter_context(service.connect()) for _ in range(4))
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200")
        for client, part in zip(
            halves,
            [
                b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Le",
                b'POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"payload"',
                b"",
            ],
            strict=True,
        ):
            client.sendall(part)
        for client in deaf:
            wait_until_stuffed(client, service)
        ended = service.end()
    check_is_clean(ended)
    print(f"{name}: with clients who do not read it ended in {ended.seconds:.2f} s")


def make_large_results(tasks, *, count: int, size_bytes: int) -> None:
    tasks.execute(
        "INSERT INTO taskflow_tasks (payload, size_bytes, status, result, finished_at)"
        " SELECT '1', %s, 'COMPLETED', to_json(repeat('x', %s)), now()"
        " FROM generate_series(1, %s)",
        size_bytes,
        size_bytes,
        count,
    )


def wait_until_stuffed(client, service: Running) -> None:
    """Wait until the server's side has something to send that the client does not take.

    Trio keeps no more than 16 KiB there that have not been sent (TCP_NOTSENT_LOWAT).
    """
    mine = client.getsockname()[1]
    wait_until(lambda: unsent_bytes(service.port, mine) > 10_000)


def unsent_bytes(port: int, client_port: int) -> int:
    """Return the bytes in the server's send buffer."""
    connections = connections_to(port)
    return sum(one.unsent_bytes for one in connections if one.client_port == client_port)


@pytest.mark.parametrize("name", SERVERS)
def test_a_database_that_hangs_does_not_hold_it_up(
    tmp_path, shared_folder, migrated_url, tasks, target, name
):
    """With the way to PostgreSQL frozen and a fetch in flight it still ends in time."""
    parts = conninfo_to_dict(migrated_url)
    real = Path(parts["host"], f".s.PGSQL.{parts['port']}")
    way_url = url_of(psycopg.conninfo.make_conninfo(migrated_url, host=str(shared_folder)))
    settings = {"DATABASE_URL": way_url, "TASKFLOW_DRAIN_SECONDS": 1, "TASKFLOW_POLL_SECONDS": 0.2}
    settings |= SLOW
    with Way(shared_folder, real) as way, running(name, tmp_path, **settings) as service:
        task_id = service.post(f"{target.url}/held")
        target.wait_for("/held")
        way.freeze()
        target.release()
        ended = service.end()
    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    assert tasks.row(task_id).status == "RUNNING"  # to be rescued
    print(f"{name}: with a database that hangs it ended in {ended.seconds:.2f} s")


def test_an_embedded_postgres_that_hangs_does_not_hold_it_up(tmp_path, shared_folder, target):
    """With all of its processes stopped by SIGSTOP it still ends in time."""
    data = shared_folder / "data"
    settings = {"TASKFLOW_DATA_DIR": data, "TASKFLOW_DRAIN_SECONDS": 1, **SLOW}
    with running("serve", tmp_path, **settings) as service:
        service.post(f"{target.url}/held")
        target.wait_for("/held")
        with frozen_postgres(data):
            ended = service.end()
    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    print(f"serve: with its own PostgreSQL hanging it ended in {ended.seconds:.2f} s")
    wait_until(lambda: not (data / "pgdata" / "postmaster.pid").exists())


@contextlib.contextmanager
def frozen_postgres(data):
    """Stop the server of a data folder in its tracks, all of it, and let it go on at the end."""
    postmaster = psutil.Process(int((data / "pgdata" / "postmaster.pid").read_text().split()[0]))
    stopped = []
    try:
        # The first process first: then it starts no others.
        for process in [postmaster, *postmaster.children()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
                stopped.append(process)
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
