"""Cells, with real processes: two nodes, databases that die, and changes of the map under load."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import msgspec
import psycopg
import pytest

from taskflow import BlockingClient
from taskflow.model.cell_map import CellMap
from tests.api.sse import open_stream
from tests.cli.command import CommandLine
from tests.databases import new_schemas
from tests.folders import open_folder
from tests.replicas import primary_in
from tests.service.database import url_of
from tests.service.processes import running, wait_until

QUICK = {
    "TASKFLOW_LEASE_SECONDS": 4,
    "TASKFLOW_HEARTBEAT_SECONDS": 0.5,
    "TASKFLOW_DATABASE_TIMEOUT_SECONDS": 1,
    "TASKFLOW_DATABASE_CONNECTIONS": 3,
}
ONE_AT_A_TIME, IN_LINE = "limited", "ordered"
QUEUES = ("default", *(f"queue-{number}" for number in range(8)), ONE_AT_A_TIME, IN_LINE)


class Requests:
    """A target that counts what it gets: by key, how many at once by queue, and in which order."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.order: list[int] = []
        self.most: defaultdict[str, int] = defaultdict(int)
        self._now: Counter[str] = Counter()
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                with outer.running(query["queue"][0], query["key"][0]):
                    time.sleep(0.005)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def running(self, queue: str, key: str) -> Iterator[None]:
        with self._lock:
            self.counts[key] += 1
            if queue == IN_LINE and self.counts[key] == 1:
                self.order.append(int(key.rsplit("-", maxsplit=1)[-1]))
            self._now[queue] += 1
            self.most[queue] = max(self.most[queue], self._now[queue])
        try:
            yield
        finally:
            with self._lock:
                self._now[queue] -= 1

    def __enter__(self) -> Requests:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Load:
    """Submits tasks to all queues, in threads, each with a key until it is accepted."""

    def __init__(self, nodes, target: Requests, threads: int = 3) -> None:
        self._nodes = nodes
        self._target = target
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[n]) for n in range(threads)]
        self._numbers = itertools.count()
        self._turns = itertools.count()
        self.accepted: dict[str, str] = {}
        self.refused: Counter[str] = Counter()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int = 60) -> None:
        """Wait until more tasks have been accepted."""
        wanted = len(self.accepted) + count
        wait_until(lambda: len(self.accepted) >= wanted)

    def _run(self, place: int) -> None:
        # The first thread alone sends the tasks of the line, so that their order is known.
        mine = [IN_LINE, *QUEUES[:3]] if place == 0 else [one for one in QUEUES if one != IN_LINE]
        refused: dict[str, str] = {}  # the task of each queue that has to be repeated
        for queue in itertools.cycle(mine):
            if self._is_over.is_set():
                return
            key = refused.pop(queue, None) or f"{queue}-{next(self._numbers)}"
            if not self._submit(queue, key):
                refused[queue] = key
                time.sleep(0.02)

    def _submit(self, queue: str, key: str) -> bool:
        """Submit a task, and return whether it was accepted."""
        url = f"{self._target.url}/?queue={queue}&key={key}"
        task = {"payload": {"url": url}, "queue": queue}
        if queue == IN_LINE:
            task["order_key"] = "line"
        node = self._nodes[next(self._turns) % len(self._nodes)]
        answer = node.ask("POST", "/tasks", task, {"Idempotency-Key": key})
        if answer.status in (200, 201):  # 200 if the response to the first request was lost
            self.accepted[key] = answer.body["id"]
            return True
        assert answer.status == 503, answer
        self.refused[answer.body["detail"]] += 1
        return False


class Stage:
    """Two cells in schemas of one database, one in a server of its own, and one to be added."""

    def __init__(self, tmp_path, urls: dict[str, str]) -> None:
        self.urls = urls
        self.file = tmp_path / "cells"
        self.file.write_text("".join(f"{name} {url}\n" for name, url in urls.items()))
        self.environ = {"TASKFLOW_CELLS_FILE": str(self.file), **QUICK}
        self.command = CommandLine(
            tmp_path, url=None, **{name: str(value) for name, value in self.environ.items()}
        )

    def cells(self, *arguments: str) -> list[str]:
        """Run ``taskflow cells``."""
        ended = self.command.run("cells", *arguments)
        assert ended.code == 0, ended
        return ended.lines

    def rows(self, query: str) -> list[tuple]:
        """Run a query in all cells."""
        found = []
        for url in self.urls.values():
            with psycopg.connect(url, autocommit=True) as connection:
                found += connection.execute(query).fetchall()
        return found


@pytest.fixture
def stage(postgres_server, tmp_path):
    with (
        new_schemas(postgres_server, ("a", "b", "d")) as conninfos,
        open_folder() as folder,
        primary_in(folder) as server,
    ):
        urls = map(url_of, [*conninfos, server.conninfo])
        made = Stage(tmp_path, dict(zip("abdc", urls, strict=True)))
        made.server = server
        yield made


@pytest.mark.long  # each change of the map waits for all nodes to know it
def test_cells_die_and_change_under_load(stage, tmp_path):
    """No task is lost or stored twice, and limits and order hold, whatever happens to cells."""
    stage.cells("add", "a", "b", "c")
    with (
        Requests() as target,
        running("serve", tmp_path, **stage.environ) as first,
        running("serve", tmp_path, **stage.environ) as second,
    ):
        put = first.ask("PUT", f"/queues/{ONE_AT_A_TIME}", {"max_concurrency": 1})
        assert put.status == 201, put
        with Load([first, second], target) as load:
            load.wait_for_more()
            stage.server.kill()
            wait_until(lambda: is_degraded(first) and is_degraded(second))
            load.wait_for_more()
            stage.server.start()
            wait_until(lambda: not is_degraded(first) and not is_degraded(second))
            load.wait_for_more()
            stage.cells("add", "d")
            load.wait_for_more()
            stage.cells("drain", "b")
            load.wait_for_more()
        wait_until(lambda: not stage.rows("SELECT FROM taskflow_tasks WHERE finished_at IS NULL"))
        check(stage, load, target)
        assert sum(count for detail, count in load.refused.items() if "cell c" in detail)
        stage.cells("drain", "b")
        stage.cells("remove", "b")
        assert [line.split()[0] for line in stage.cells("list")[:3]] == ["a", "c", "d"]
        for one in (first, second):
            assert "Traceback" not in one.log


def is_degraded(node) -> bool:
    answer = node.ask("GET", "/readyz", headers={"Accept": "application/json"})
    if answer.status != 200:
        return False
    assert answer.body.get("missing_cells", ["c"]) == ["c"]
    return answer.body["status"] == "degraded"


def check(stage: Stage, load: Load, target: Requests) -> None:
    stored = [task_id for (task_id,) in stage.rows("SELECT id FROM taskflow_tasks")]
    urls = stage.rows("SELECT payload ->> 'url' FROM taskflow_tasks")
    keys = Counter(parse_qs(urlsplit(url).query)["key"][0] for (url,) in urls)
    assert set(keys.values()) == {1}  # none is stored twice
    assert {uuid.UUID(one) for one in load.accepted.values()} <= set(stored)
    assert load.accepted.keys() <= target.counts.keys()  # none is lost
    statuses = stage.rows("SELECT DISTINCT status FROM taskflow_tasks")
    assert set(statuses) == {("COMPLETED",)}
    assert target.most[ONE_AT_A_TIME] == 1
    assert target.order == sorted(target.order)
    assert len(target.order) > 5


def check_that_a_page_names_it_until_it_answers(node, stage: Stage) -> None:
    with open_stream(f"http://127.0.0.1:{node.port}", "/ui/live") as stream:
        assert next(one.json for one in stream if one.event == "missing") == ["c"]
        stage.server.start()
        assert next(one.json for one in stream if one.event == "missing") == []


def test_a_cell_that_is_down(stage, tmp_path):
    """Its queues answer 503 and name it, the others go on, and reads say what is missing."""
    assert stage.cells("add", "a", "b", "c") == ["version 1: a (active), b (active), c (active)"]
    with Requests() as target, running("serve", tmp_path, **stage.environ) as node:
        queues = {home_of(stage, queue): queue for queue in QUEUES}
        assert set(queues) == set("abc")
        tasks = {name: submitted(node, target, queue) for name, queue in queues.items()}
        wait_until(lambda: set(target.counts.values()) == {1} and len(target.counts) == 3)
        for task_id in tasks.values():
            wait_until(lambda one=task_id: node.ask("GET", f"/tasks/{one}").body["finished_at"])
        everything = node.ask("GET", "/tasks")
        assert {one["id"] for one in everything.body} == set(tasks.values())
        with BlockingClient(f"http://127.0.0.1:{node.port}") as client:
            assert client.list_tasks().missing_cells == set()
        stage.server.kill()
        refused = node.ask("POST", "/tasks", {"payload": target.url, "queue": queues["c"]})
        assert (refused.status, "the cell c" in refused.body["detail"]) == (503, True)
        assert submitted(node, target, queues["a"])
        partial = node.ask("GET", "/tasks")
        assert partial.headers["taskflow-missing-cells"] == "c"
        assert tasks["c"] not in {one["id"] for one in partial.body}
        assert tasks["a"] in {one["id"] for one in partial.body}
        with BlockingClient(f"http://127.0.0.1:{node.port}") as client:
            listed = [client.list_tasks(), client.queues.all(), client.nodes()]
            assert [one.missing_cells for one in listed] == [{"c"}] * 3
            assert tasks["a"] in {str(one.id) for one in listed[0]}
            for stream in (client.iter_tasks(), client.export(), client.iter_audit()):
                list(stream)
                assert stream.missing_cells == {"c"}
        address = {"TASKFLOW_URL": f"http://127.0.0.1:{node.port}"}
        missing = "tasks are missing: no answer from the cells c"
        shown = stage.command.run("list", **address)
        assert (shown.code, shown.complaint) == (0, missing)
        assert tasks["a"] in shown.out
        for command in (("export",), ("list", "--json")):
            shown = stage.command.run(*command, **address)
            assert (shown.code, shown.complaint) == (1, missing)
            assert tasks["a"] in shown.out
        assert node.ask("GET", "/readyz").status == 200
        assert is_degraded(node)
        page = node.ask("GET", "/ui", headers={"Accept": "text/html"}).body.decode()
        assert "Some data is missing: no answer from c" in page
        metrics = node.ask("GET", "/metrics").body.decode()
        up = [metrics.count(f'taskflow_cell_up{{cell="{name}"}} {name != "c":d}') for name in "abc"]
        assert up == [1, 1, 1]
        assert node.ask("GET", f"/tasks/{tasks['a']}").status == 200
        assert node.ask("GET", f"/tasks/{tasks['c']}").status == 503
        assert node.ask("GET", f"/tasks/{uuid.uuid4()}").status == 503  # it may be in that cell
        check_that_a_page_names_it_until_it_answers(node, stage)
        wait_until(lambda: not is_degraded(node))
        wait_until(lambda: node.ask("GET", f"/tasks/{tasks['c']}").status == 200)
        assert "Traceback" not in node.log


@pytest.mark.long  # the change of the map waits for all nodes to know it
def test_a_cell_that_is_lost_for_good(stage, tmp_path):
    """Others take over its queues under load; if it comes back, nothing of it is served or run."""
    stage.cells("add", "a", "b", "c")
    queue = next(queue for queue in QUEUES if home_of(stage, queue) == "c")
    with (
        Requests() as target,
        running("serve", tmp_path, **stage.environ) as first,
        running("serve", tmp_path, **stage.environ) as second,
    ):
        later = {"payload": target.url, "queue": queue, "delay_seconds": 86_400}
        lost = first.ask("POST", "/tasks", later).body["id"]
        refused = stage.command.run("cells", "remove", "--lost", "c", "--yes")
        assert (refused.code, "the cell c answers" in refused.err) == (2, True)
        with Load([first, second], target) as load:
            load.wait_for_more()
            stage.server.kill()
            wait_until(lambda: is_degraded(first) and is_degraded(second))
            before = set(load.accepted.values())
            assert any("no answer" in line for line in stage.cells("list"))
            refused = stage.command.run("cells", "remove", "--lost", "c")
            assert (refused.code, "Give up c?" in refused.err) == (2, True)
            assert refused.lines[0].startswith("c does not answer: ")
            assert "of all queues are given up" in refused.lines[1]
            removed = stage.cells("remove", "--lost", "c", "--yes")
            assert "version 3: a (active), b (active)" in removed
            wait_until(lambda: not is_degraded(first) and not is_degraded(second))
            load.wait_for_more(3 * len(QUEUES))
        assert first.ask("GET", f"/tasks/{lost}").status == 404
        assert home_of(stage, queue) in ("a", "b")
        stage.urls.pop("c")
        wait_until(lambda: not stage.rows("SELECT FROM taskflow_tasks WHERE finished_at IS NULL"))
        stored = {str(task_id) for (task_id,) in stage.rows("SELECT id FROM taskflow_tasks")}
        gone = set(load.accepted.values()) - stored
        assert gone <= before  # nothing that was accepted afterwards is lost
        assert all(uuid.UUID(one).bytes[15] == 2 for one in gone)
        assert all(load.accepted[key] in gone for key in load.accepted.keys() - target.counts)
        assert any(
            key.startswith(f"{queue}-") for key in load.accepted if load.accepted[key] not in before
        )
        check_that_it_stays_out(stage, tmp_path, target, [first, second], lost)


def check_that_it_stays_out(stage, tmp_path, target, nodes, lost: str) -> None:
    """Bring a removed cell back, with a task that could start, to old nodes and to a new one."""
    stage.server.start()
    wait_until(lambda: "a removed cell is back" in "".join(one.log for one in nodes))
    with psycopg.connect(url_of(stage.server.conninfo), autocommit=True) as connection:
        connection.execute("DELETE FROM taskflow_nodes")
        connection.execute("UPDATE taskflow_tasks SET run_at = now()")
        with running("serve", tmp_path, **stage.environ) as third:
            other = submitted(third, target, next(iter(QUEUES)))
            wait_until(lambda: third.ask("GET", f"/tasks/{other}").body["finished_at"])
            for one in (*nodes, third):
                assert one.ask("GET", f"/tasks/{lost}").status == 404
                assert one.ask("GET", "/readyz").body == b"ok\n"
                assert "Traceback" not in one.log
        assert connection.execute("SELECT FROM taskflow_nodes").fetchall() == []
        states = connection.execute(
            "SELECT status, attempt FROM taskflow_tasks WHERE id = %s", [lost]
        )
        assert states.fetchall() == [("PENDING", 0)]


def test_nodes_that_name_their_cells(stage, tmp_path):
    """Each runs the tasks of its cells only and serves all; a cell without a node is reported."""
    stage.cells("add", "a", "b", "c")
    queues = {home_of(stage, queue): queue for queue in QUEUES}
    of_a = {**stage.environ, "TASKFLOW_CELLS": "a"}
    of_others = {**stage.environ, "TASKFLOW_CELLS": "b,c"}
    with Requests() as target, running("serve", tmp_path, **of_a) as first:
        tasks = {name: submitted(first, target, queues[name]) for name in "cba"}
        wait_until(lambda: first.ask("GET", f"/tasks/{tasks['a']}").body["finished_at"])
        assert readiness(first)["cells_without_nodes"] == ["b", "c"]
        said = first.ask("GET", "/readyz").body.decode()
        assert said == "degraded: no node runs the tasks of b, c\n"
        metrics = first.ask("GET", "/metrics").body.decode()
        for name, has_nodes in zip("abc", (1, 0, 0), strict=True):
            assert f'taskflow_cell_has_nodes{{cell="{name}"}} {has_nodes}' in metrics
        found = stage.command.run("doctor").out
        assert "no node runs the tasks of b, c" in found
        assert "not in the map of cells: d" in found
        assert len(stage.rows("SELECT FROM taskflow_nodes")) == 1
        with running("serve", tmp_path, **of_others) as second:
            for one in tasks.values():
                wait_until(lambda one=one: second.ask("GET", f"/tasks/{one}").body["finished_at"])
            assert readiness(second)["status"] == "ok"
            ran = {
                name: first.ask("GET", f"/tasks/{one}/attempts").body[0]["node"]
                for name, one in tasks.items()
            }
            assert ran["a"] != ran["b"] == ran["c"]
            stage.server.kill()  # a node whose cells are down serves the others
            wait_until(lambda: second.ask("GET", "/readyz").body.startswith(b"degraded"))
            assert submitted(second, target, queues["a"])
    wrong = stage.command.run("serve", TASKFLOW_CELLS="a,x")
    assert (wrong.code, "has no line for x" in wrong.err) == (2, True)


def readiness(node) -> dict:
    return node.ask("GET", "/readyz", headers={"Accept": "application/json"}).body


def home_of(stage: Stage, queue: str) -> str:
    with psycopg.connect(stage.urls["a"]) as connection:
        [(document,)] = connection.execute("SELECT document FROM taskflow_cell_map").fetchall()
    made = msgspec.json.decode(document, type=CellMap)
    return next(one.name for one in made.cells if one.number == made.home_of(queue))


def submitted(node, target: Requests, queue: str) -> str:
    url = f"{target.url}/?queue={queue}&key={queue}-1"
    answer = node.ask("POST", "/tasks", {"payload": {"url": url}, "queue": queue})
    assert answer.status == 201, answer
    return answer.body["id"]
