"""Several nodes behind one address: ``taskflow serve --processes N``, beside ``hypercorn -w``."""

from __future__ import annotations

import signal
import socket

import psutil
import pytest

from tests.service.database import COMPLETED
from tests.service.processes import PATIENCE_SECONDS, Running, running, started, wait_until

FEW_SECONDS = {"TASKFLOW_LEASE_SECONDS": 2, "TASKFLOW_HEARTBEAT_SECONDS": 0.5}


def clients_of(process: psutil.Process, port: int) -> set[int]:
    """Return the ports of the clients that are connected to a process."""
    return {
        one.raddr.port
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
    }


def connections_of(service: Running) -> list[int]:
    """Return how many clients are connected to each process, in ascending order."""
    return sorted(len(clients_of(one, service.port)) for one in service.node_processes())


def evenly_connected(service: Running, held: int, more: int) -> list[socket.socket]:
    """Open more connections until, with those held, each process has half of them.

    It may take several attempts: a process reports a little late that clients have left.
    """

    def attempt() -> list[socket.socket]:
        clients = [service.connect() for _ in range(more)]
        wait_until(lambda: sum(connections_of(service)) == held + more)
        if connections_of(service) == [(held + more) // 2] * 2:
            return clients
        for client in clients:
            client.close()
        wait_until(lambda: sum(connections_of(service)) == held)
        return []

    return wait_until(attempt)


def test_connections_are_shared_evenly(tmp_path, tasks):
    """Each process gets half of them, also after all of one process were closed."""
    with running("serve-p2", tmp_path, DATABASE_URL=tasks.url) as service:
        clients = evenly_connected(service, held=0, more=16)
        ports = clients_of(service.node_processes()[0], service.port)
        for client in clients:
            if client.getsockname()[1] in ports:
                client.close()
        wait_until(lambda: connections_of(service) == [0, 8])
        clients += evenly_connected(service, held=8, more=8)
        for client in clients:
            client.close()
        assert service.end().code == 0


def test_a_killed_process_is_replaced(tmp_path, tasks, target):
    """The other one goes on and rescues its task; the log says what happened."""
    with running("serve-p2", tmp_path, DATABASE_URL=tasks.url, **FEW_SECONDS) as service:
        held = [service.post(f"{target.url}/held") for _ in range(2)]
        target.wait_for("/held", times=2)
        killed, other = service.node_processes()
        killed.kill()
        service.wait_for_log("a process exited, restarting it")
        assert service.ask("GET", "/readyz").status == 200
        service.wait_for_log("workers started", times=3)
        target.release()
        for task_id in held:
            wait_until(lambda task_id=task_id: tasks.row(task_id).status == "COMPLETED")
        wait_until(lambda: len(service.node_processes()) == 2)
        assert other.pid in {process.pid for process in service.node_processes()}
        ended = service.end()
    assert ended.code == 0
    assert "status=137" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_terminating_process_gets_no_connections(tmp_path, tasks, target):
    """A SIGTERM to one process lets its fetch finish, while the other serves all clients."""
    with running("serve-p2", tmp_path, DATABASE_URL=tasks.url) as service:
        held = [service.post(f"{target.url}/held") for _ in range(2)]
        target.wait_for("/held", times=2)
        reported, _ = service.node_processes()
        reported.send_signal(signal.SIGTERM)
        service.wait_for_log("shutting down")
        for _ in range(10):
            assert service.ask("GET", "/readyz").status == 200
        target.release()
        service.wait_for_log("workers started", times=3)
        for task_id in held:
            tasks.wait_for(task_id, COMPLETED)
        assert service.end().code == 0


def test_clients_wait_while_no_process_is_ready(tmp_path, tasks):
    """When all of them were killed, a request is answered by the next one."""
    with running("serve-p2", tmp_path, DATABASE_URL=tasks.url) as service:
        for process in service.node_processes():
            process.kill()
        service.wait_for_log("a process exited, restarting it", times=2)
        assert service.ask("GET", "/livez").status == 200
        assert service.end().code == 0


@pytest.mark.parametrize("name", ["serve-p2", "hypercorn-w2"])
def test_processes_end_with_their_main_process(tmp_path, tasks, target, name):
    """When it is killed, they end in order: otherwise they would keep the port for ever."""
    with running(name, tmp_path, DATABASE_URL=tasks.url) as service:
        task_id = service.post(f"{target.url}/held")
        target.wait_for("/held")
        processes = service.node_processes()
        try:
            service.process.kill()
            service.wait_for_log("shutting down", times=2)
            target.release()
            gone, alive = psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
            assert (len(gone), alive) == (2, [])
        finally:
            for process in processes:
                if process.is_running():
                    process.kill()
        with pytest.raises(ConnectionRefusedError):
            service.connect()
    assert tasks.row(task_id) == COMPLETED
    assert tasks.nodes() == 0


def test_a_signal_to_every_process_ends_them_in_order(tmp_path, tasks, target):
    """As systemd and terminals send it: a process that hears of it twice still drains."""
    with running("serve-p2", tmp_path, DATABASE_URL=tasks.url) as service:
        task_id = service.post(f"{target.url}/held")
        target.wait_for("/held")
        for process in (*service.node_processes(), service.process):
            process.send_signal(signal.SIGINT)
        service.wait_for_log("shutting down", times=3)
        target.release()
        ended = service.wait_for_end()
    assert ended.code == 0
    assert "restarting" not in ended.stderr
    assert tasks.row(task_id) == COMPLETED


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        ({"DATABASE_URL": "memory://"}, 2, "memory:// is the memory of one process"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, 1, "Connection refused"),
        ({"TASKFLOW_BIND": "192.0.2.1:80"}, 2, "without API keys"),
    ],
)
def test_a_failed_start_is_one_line(tmp_path, settings, status, message):
    """The command ends as it does with one process."""
    with started("serve-p2", tmp_path, **settings) as service:
        ended = service.wait_for_end()
    lines = [line for line in ended.stderr.splitlines() if line.startswith("taskflow: ")]
    assert ended.code == status, ended.stderr
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in ended.stderr
