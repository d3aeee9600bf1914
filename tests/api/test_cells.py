"""Sessions, limited keys and encryption of a service with three cells in PostgreSQL.

The long form of ``test_scope.py`` runs on cells, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
import trio

from taskflow.model.cell_map import new_map
from taskflow.model.errors import SettingsError
from taskflow.model.keyring import new_encryption_key
from taskflow.service import rotate_keys
from taskflow.settings import Settings
from tests.api.cells import NAMES, cells_in
from tests.api.live import LiveServer
from tests.api.test_encryption import SECRET, payload_to, submit
from tests.api.test_sessions import KEYS, cookie_of, own, sign_in
from tests.receiver import Receiver

KEY, NEW_KEY = new_encryption_key(), new_encryption_key()
# A queue in each cell.
QUEUES = {
    name: next(queue for n in range(99) if new_map(NAMES).home_of(queue := f"q{n}") == number)
    for number, name in enumerate(NAMES)
}


@pytest.fixture(scope="module")
def cells(postgres_server, tmp_path_factory) -> Iterator[dict[str, str]]:
    """The URLs of the cells; ``file`` is their file."""
    folder = tmp_path_factory.mktemp("cells")
    with cells_in(folder, postgres_server) as urls:
        yield {**urls, "file": str(folder / "cells")}


def contents(url: str) -> str:
    """Everything that a cell has, as text."""
    query = """
        SELECT relname FROM pg_class
        WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
    """
    with psycopg.connect(url) as connection:
        tables = [name for (name,) in connection.execute(query)]
        rows = (connection.execute(f'SELECT t::text FROM "{name}" AS t') for name in tables)
        return "\n".join(row for some in rows for (row,) in some)


def test_no_cell_has_anything_that_is_encrypted(cells):
    """Clients and targets see all of it; a credential that one node stores is used in all cells."""
    encrypted = {"encryption_keys": KEY, "encrypt": ("payloads", "results")}
    with Receiver() as receiver, LiveServer(cells_file=cells["file"], **encrypted) as server:
        value = {"kind": "bearer", "hosts": ["127.0.0.1"], "token": f"{SECRET}-token"}
        put = server.ask("PUT", "/credentials/partner", json.dumps(value).encode())
        assert put.status == 201, put
        ids = {}
        for name, queue in QUEUES.items():
            payload = payload_to(f"{receiver.url}/{name}")
            ids[name] = submit(
                server,
                payload,
                queue=queue,
                credential="partner",
                callback_url=f"{receiver.url}/callback-{name}",
            )
        for name, task_id in ids.items():
            task = server.wait(task_id)
            assert task["status"] == "COMPLETED", task
            [received] = receiver.wait_for(f"/{name}/{SECRET}")
            assert received.headers["authorization"] == f"Bearer {SECRET}-token"
            [callback] = receiver.wait_for(f"/callback-{name}")
            assert callback.verified() == task
            assert server.ask("GET", f"/tasks?queue={QUEUES[name]}").json[-1]["id"] == task_id
        for name, url in ((name, cells[name]) for name in NAMES):
            stored = contents(url)
            assert ids[name] in stored
            assert SECRET not in stored


def test_keys_are_rotated_cell_by_cell(cells, target):
    """Each cell is rotated with its URL, and then the old key is not needed any more."""
    both = f"{NEW_KEY},{KEY}"
    with LiveServer(cells_file=cells["file"], encryption_keys=KEY, encrypt=("results",)) as server:
        ids = [submit(server, f"{target.url}/json", queue=queue) for queue in QUEUES.values()]
        results = [server.wait(one)["result"] for one in ids]
        assert None not in results
    with pytest.raises(SettingsError, match="run this for each cell"):
        trio.run(rotate_keys, Settings(cells_file=cells["file"], encryption_keys=both), print)
    for name in NAMES:
        settings = Settings(database_url=cells[name], encryption_keys=both)
        assert not trio.run(rotate_keys, settings, lambda _: None).left
    with LiveServer(cells_file=cells["file"], encryption_keys=NEW_KEY) as server:
        assert [server.show(one)["result"] for one in ids] == results


def test_a_limited_key_sees_its_queue_only(cells):
    """What is in other queues, of any cell, does not exist for it."""
    mine, *others = QUEUES.values()
    keys = f"boss:write:{KEYS['write']},ada:write:queues={mine}:{KEYS['read']}"
    boss, ada = ({"authorization": f"Bearer {KEYS[one]}"} for one in ("write", "read"))
    with LiveServer(cells_file=cells["file"], api_keys=keys) as server:
        for queue in (mine, *others):
            document = {"payload": "http://a.example/", "queue": queue, "delay_seconds": 3600}
            body = json.dumps(document).encode()
            task_id = server.ask("POST", "/tasks", body, boss).json["id"]
            is_mine = queue == mine
            assert server.ask("POST", "/tasks", body, ada).status == (201 if is_mine else 403)
            path = f"/tasks/{task_id}"
            assert server.ask("GET", path, headers=ada).status == (200 if is_mine else 404)
            canceled = server.ask("POST", f"{path}/cancel", b"", ada)
            assert canceled.status == (200 if is_mine else 404)
            status = server.ask("GET", path, headers=boss).json["status"]
            assert status == ("CANCELED" if is_mine else "PENDING")
        listed = server.ask("GET", "/tasks?limit=100", headers=ada).json
        assert {one["queue"] for one in listed} == {mine}
        counted = server.ask("GET", "/stats", headers=ada).json
        assert [one["queue"] for one in counted["queues"]] == [mine]


def test_a_session_ends_in_all_cells(cells):
    """A session is known on all nodes, and so is its end; other sessions go on."""
    fields = {"cells_file": cells["file"], "api_keys": f"ada:write:{KEYS['write']}"}
    with LiveServer(**fields) as one, LiveServer(**fields) as two:
        first, second = cookie_of(sign_in(one)), cookie_of(sign_in(two))
        for server in (one, two):
            assert server.ask("GET", "/ui", headers=first).status == 200
        assert one.ask("POST", "/ui/sign-out", b"", {**first, **own(one)}).status == 303
        for server in (one, two):
            assert server.ask("GET", "/ui", headers=first).status == 303
            assert server.ask("GET", "/ui", headers=second).status == 200
