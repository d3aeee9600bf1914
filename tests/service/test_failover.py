"""A service whose database fails over while clients submit tasks."""

from __future__ import annotations

import threading
import time

import psycopg

from tests.folders import open_folder
from tests.replicas import make_synchronous, primary_in, standby_of, url_of_hosts
from tests.service.processes import running, wait_until
from tests.service.targets import Target

QUICK = {
    "TASKFLOW_LEASE_SECONDS": 4,
    "TASKFLOW_HEARTBEAT_SECONDS": 0.5,
    "TASKFLOW_DATABASE_TIMEOUT_SECONDS": 2,
}


class Load:
    """Submits tasks one after the other, in a thread, until the block ends."""

    def __init__(self, node, payload: str) -> None:
        self._node = node
        self._payload = payload
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: list[str] = []
        self.refused = 0

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def wait_for_more(self, count: int = 10) -> None:
        """Wait until more tasks have been accepted."""
        wanted = len(self.accepted) + count
        wait_until(lambda: len(self.accepted) >= wanted)

    def _run(self) -> None:
        while not self._is_over.is_set():
            answer = self._node.ask("POST", "/tasks", {"payload": self._payload})
            if answer.status == 201:
                self.accepted.append(answer.body["id"])
            else:
                assert answer.status == 503, answer
                self.refused += 1
                time.sleep(0.05)


def test_the_primary_is_lost_under_load(tmp_path):
    """The node goes on with the new primary: each accepted task is there, and finishes."""
    with (
        open_folder() as folder,
        primary_in(folder) as primary,
        standby_of(primary) as standby,
        Target() as target,
    ):
        make_synchronous(primary, "second")
        url = url_of_hosts("postgres", primary.port, standby.port)
        with running("serve", tmp_path, DATABASE_URL=url, **QUICK) as node:
            assert state_of(node) == {"host": 1, "hosts": 2, "replication": "synchronous"}
            with Load(node, f"{target.url}/now") as load:
                load.wait_for_more()
                primary.freeze()
                wait_until(lambda: load.refused)
                standby.promote()
                load.wait_for_more()
            assert state_of(node) == {"host": 2, "hosts": 2, "replication": "none"}
            with psycopg.connect(standby.conninfo, autocommit=True) as connection:
                query = "SELECT status FROM taskflow_tasks WHERE id = ANY (%s::uuid[])"

                def statuses() -> list[str]:
                    return [one for (one,) in connection.execute(query, [load.accepted])]

                wait_until(lambda: set(statuses()) == {"COMPLETED"})
                assert len(statuses()) == len(load.accepted)
            assert node.log.count("connected to another host of the database") >= 1
            assert "Traceback" not in node.log


def state_of(node) -> dict[str, object]:
    """What /readyz reports of the database."""
    answer = wait_until(
        lambda: (
            found
            if (found := node.ask("GET", "/readyz", headers={"Accept": "application/json"})).status
            == 200
            else None
        )
    )
    assert answer.body["status"] == "ok"
    return answer.body["database"]
