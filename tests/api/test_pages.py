"""GET /tasks: pages by keyset, the newest first, linked, filtered, and bounded in bytes."""

from __future__ import annotations

import base64
import json
import re
import uuid
from urllib.parse import urljoin, urlsplit

import msgspec
import pytest
import trio

from taskflow.model.task import NewTask, TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Settlement
from taskflow.store.base.listing import PAGE_BUDGET_BYTES
from taskflow.store.postgres.store import open_postgres
from tests.api.client import check_problem
from tests.api.live import LiveServer

LINK = re.compile(r'<(/tasks\?[A-Za-z0-9_=&-]+)>; rel="next"')


def next_of(answer) -> str | None:
    """Where the Link header points, which is a path on the same server."""
    link = answer.header("link")
    if link is None:
        return None
    match = LINK.fullmatch(link)
    assert match, link
    assert urlsplit(urljoin("http://other.example/tasks?limit=1", match[1])).path == "/tasks"
    return match[1]


def pages(server, target: str):
    """The pages from here on, by their links."""
    with server.connect() as connection:
        while target is not None:
            answer = connection.ask("GET", target)
            assert answer.status == 200
            yield answer.json
            target = next_of(answer)


def ids_on(server, target: str) -> list[str]:
    return [task["id"] for page in pages(server, target) for task in page]


@pytest.fixture
def own_server(empty_url):
    """A server of each kind without tasks in it."""
    with LiveServer(database_url=empty_url) as server:
        yield server


class TestPages:
    def test_an_empty_list(self, own_server):
        """No tasks are an empty array, without a next page."""
        answer = own_server.ask("GET", "/tasks")
        assert (answer.status, answer.body) == (200, b"[]")
        assert answer.header("content-type") == "application/json"
        assert answer.header("link") is None

    def test_each_task_is_listed_once(self, own_server):
        """Who follows the links sees each task that was there, once, the newest first."""
        ids = [own_server.add(b"%d" % n) for n in range(25)]
        seen = []
        for page in pages(own_server, "/tasks?limit=4"):
            seen += [task["id"] for task in page]
            own_server.add(b'"late"')
        assert seen == ids[::-1]

    def test_default_and_greatest_limit(self, own_server):
        """100 by default, 1000 at most; the page after the last one does not exist."""
        tasks = [{"payload": n} for n in range(1001)]
        assert own_server.post(json.dumps(tasks).encode()).status == 201
        assert [len(page) for page in pages(own_server, "/tasks?limit=1000")] == [1000, 1]
        answer = own_server.ask("GET", "/tasks")
        assert len(answer.json) == 100
        assert next_of(answer).startswith("/tasks?limit=100&cursor=")
        answer = own_server.ask("GET", "/tasks?limit=1")
        assert [task["payload"] for task in answer.json] == [1000]

    def test_a_status_stays_in_the_link(self, own_server, target):
        """Pages of one status have only its tasks, to the end; the filter is in the link."""
        ids = [
            own_server.add(json.dumps(target.url + path).encode()) for path in ["/text", "/404"] * 4
        ]
        for task_id in ids:
            own_server.wait(task_id)
        assert ids_on(own_server, "/tasks?status=FAILED&limit=3") == ids[::-2]
        assert ids_on(own_server, "/tasks?limit=1&status=COMPLETED") == ids[-2::-2]
        assert own_server.ask("GET", "/tasks?status=CANCELED").json == []
        link = own_server.ask("GET", "/tasks?status=FAILED&limit=3").header("link")
        assert "status=FAILED" in link

    def test_a_link_is_no_lock(self, own_server):
        """A cursor is a place, and holds after the task it came from, or none, is there."""
        ids = [own_server.add(b"1") for _ in range(3)]
        middle = base64.urlsafe_b64encode(uuid.UUID(ids[1]).bytes).decode().rstrip("=")
        assert ids_on(own_server, f"/tasks?cursor={middle}") == ids[:1]
        for edge, expected in ((b"\xff" * 16, ids[::-1]), (b"\0" * 16, [])):
            cursor = base64.urlsafe_b64encode(edge).decode().rstrip("=")
            assert ids_on(own_server, f"/tasks?cursor={cursor}") == expected


class TestParameters:
    @pytest.mark.parametrize("limit", ["1", "1000", "007", "%31"])
    def test_limits(self, server, limit):
        """From 1 to 1000."""
        assert server.ask("GET", f"/tasks?limit={limit}").status == 200

    @pytest.mark.parametrize(
        "limit",
        [
            *("0", "1001", "-1", "", "1.0", "1e2", "%201", "1%20", "+1", "%2B1", "1_0", "0x10"),
            *("1%0a", "1%00", "%ff", "%EF%BC%91", "%D9%A1", "%C2%B2", "9" * 5000, "NaN", "null"),
            *("1&limit=1", "1&limit=1000000", "1;2", "[1]"),
        ],
        ids=lambda limit: limit[:20] or "nothing",
    )
    def test_invalid_limits(self, server, limit):
        """A 422 that names the parameter."""
        problem = check_problem(server.ask("GET", f"/tasks?limit={limit}"), 422)
        assert problem["detail"].startswith("limit ")

    @pytest.mark.parametrize("statuses", ["FAILED,PENDING", "RUNNING,FAILED,FAILED", "PENDING"])
    def test_some_statuses(self, server, statuses):
        """Several statuses, separated by commas, match tasks with any of them."""
        answer = server.ask("GET", f"/tasks?status={statuses}")
        assert answer.status == 200
        assert {task["status"] for task in answer.json} <= set(statuses.split(","))

    @pytest.mark.parametrize("status", list(TaskStatus))
    def test_statuses(self, server, status):
        """Each status there is."""
        answer = server.ask("GET", f"/tasks?status={status}&limit=5")
        assert answer.status == 200
        assert {task["status"] for task in answer.json} <= {status}

    @pytest.mark.parametrize(
        "status",
        [
            *("", "failed", "Failed", "FAILED%20", "DONE", "%27%20OR%201%3D1", "%00", "%ff"),
            *(
                "FAILED&status=FAILED",
                "FAILED,",
                "FAILED,DONE",
                "FAILED%2C%20PENDING",
                "%F0%9F%98%80",
                "0",
            ),
        ],
        ids=lambda status: status or "nothing",
    )
    def test_invalid_statuses(self, server, status):
        """A 422 that names the parameter and the allowed values."""
        problem = check_problem(server.ask("GET", f"/tasks?status={status}"), 422)
        assert problem["detail"].startswith("status ")
        if "&" not in status:
            assert "PENDING, RUNNING, COMPLETED, FAILED, CANCELED" in problem["detail"]

    def test_invalid_cursors(self, server):
        """Only cursors of this service are accepted, character by character."""
        [good] = [base64.urlsafe_b64encode(uuid.UUID(server.add(b"1")).bytes).decode().rstrip("=")]
        assert server.ask("GET", f"/tasks?cursor={good}").status == 200
        bad = [
            *("", "AAAA", "%00", "%ff", "%F0%9F%98%80", "null", "0", "a" * 8000, "%20" + good),
            *(good[:-1], good + "A", good + "=", good + "==", good + "%3D%3D", good + "%0a"),
            *(good[:-1] + "%2B", good[:-1] + "%2F", good[:-1] + ".", good + f"&cursor={good}"),
            base64.urlsafe_b64encode(b"x" * 15).decode().rstrip("="),
            base64.urlsafe_b64encode(b"x" * 17).decode().rstrip("="),
            good[:-1] + next(c for c in "BCDEF" if c != good[-1]),  # bits that stand for nothing
            str(uuid.uuid4()),
        ]
        for cursor in bad:
            problem = check_problem(server.ask("GET", f"/tasks?cursor={cursor}"), 422)
            assert problem["detail"].startswith("cursor "), cursor

    @pytest.mark.parametrize(
        "query",
        ["page=2", "Limit=1", "limit%20=1", "=1", "%ff=1", "a" * 7000, "limit=1&x", "x[]=1"],
    )
    def test_unknown_parameters(self, server, query):
        """422: a misspelt filter must not give the unfiltered list."""
        problem = check_problem(server.ask("GET", f"/tasks?{query}"), 422, "known are queue, host")
        assert problem["detail"].startswith("there is no parameter ")

    def test_empty_parameters(self, server):
        """An empty query and empty parts of a query are ignored."""
        assert server.ask("GET", "/tasks?").status == 200
        assert server.ask("GET", "/tasks?&&limit=1&").status == 200


def test_a_page_is_bounded_in_bytes(database_uri):
    """Many results of 1 MiB: fewer tasks than asked for, a next link, and nothing is lost."""
    count, size = 40, 2**20

    async def fill() -> list[str]:
        result = b'"' + b"x" * (size - 2) + b'"'
        async with open_postgres(database_uri, Settings()) as store:
            added = await store.add([NewTask(msgspec.Raw(b"1")) for _ in range(count)])
            node = await store.register("here", 30)
            claims = await store.claim(node, limit=count)
            for start in range(0, count, 10):
                await store.settle(
                    [
                        Settlement(claim.task_id, claim.token, TaskStatus.COMPLETED, result=result)
                        for claim in claims[start : start + 10]
                    ]
                )
            await store.retire(node)
        return [str(task.id) for task in added]

    ids = trio.run(fill)
    with LiveServer(database_url=database_uri) as server, server.connect() as connection:
        for query in ("", "&status=COMPLETED"):
            seen, target = [], f"/tasks?limit=1000{query}"
            while target is not None:
                answer = connection.ask("GET", target)
                assert len(answer.body) < PAGE_BUDGET_BYTES + 2 * size
                assert "limit=1000" in (answer.header("link") or "limit=1000")
                seen += [task["id"] for task in answer.json]
                target = next_of(answer)
            assert seen == ids[::-1]


def test_large_payloads_make_short_pages(own_server):
    """The same for payloads over HTTP: 20 of nearly 1 MiB do not come on one page."""
    payload = b'"' + b"x" * (2**20 - 100) + b'"'
    ids = [own_server.add(payload) for _ in range(20)]
    found = [[task["id"] for task in page] for page in pages(own_server, "/tasks?limit=1000")]
    assert [task_id for page in found for task_id in page] == ids[::-1]
    assert [len(page) for page in found] == [17, 3]
