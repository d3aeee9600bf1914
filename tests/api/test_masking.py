"""Credentials of tasks are masked: routes, pages, events, exports, callbacks, commands."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest

from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.cli.command import CommandLine
from tests.receiver import Receiver

SECRET = "s3cr3t"
HEADERS = {
    "Authorization": f"Bearer {SECRET}",
    "Cookie": f"id={SECRET}",
    "X-Api-Key": SECRET,
    "X-Amz-Security-Token": SECRET,
    "Referer": f"https://a.example/?token={SECRET}",
}
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Echo(BaseHTTPRequestHandler):
    """Notes what comes; ``/moved`` redirects, ``/broken`` fails, and all answer with cookies."""

    seen: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        is_moved, is_broken = self.path.startswith("/moved"), self.path.startswith("/broken")
        self.send_response(302 if is_moved else 500 if is_broken else 200)
        if is_moved:
            self.send_header("Location", f"/end?access_token={SECRET}")
        self.send_header("Set-Cookie", f"id={SECRET}")
        self.send_header("Content-Location", f"/a?sig={SECRET}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def echo():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Echo.seen = []
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as receiver:
        yield receiver


def whole(url: str, **fields: object) -> dict[str, object]:
    return {"url": url, "headers": HEADERS, **fields}


def submitted(server, payload, **fields):
    answer = server.post(json.dumps({"payload": payload, **fields}).encode())
    assert answer.status == 201, answer
    assert SECRET.encode() not in answer.body
    return answer.json["id"]


def check_page(server, path: str, headers=None) -> None:
    answer = server.ask("GET", path, headers=headers)
    assert answer.status < 500, answer
    assert SECRET.encode() not in answer.body, path
    assert SECRET not in str(answer.fields), path


def command(server, *words: str) -> str:
    """What a command prints."""
    return CommandLine(Path.cwd(), url=server.url).ok(*words).out


def test_nowhere(server, echo, receiver, events):
    """Through failures, retries, redirects, callbacks and schedules nothing shows a credential."""
    callback_url = f"{receiver.url}/x?token={SECRET}"
    payloads = [
        whole(f"{echo}/a?key={SECRET}"),
        whole(f"{echo}/moved?key={SECRET}"),
        whole(f"{echo}/broken?key={SECRET}"),
        f"{echo}/a?api_key={SECRET}",
        f"http://ada:{SECRET}@127.0.0.1/",
        whole(f"http://ada:{SECRET}@127.0.0.1/"),
        whole(f"http://localhost:1/?signature={SECRET}"),
    ]
    ids = [
        submitted(server, payload, callback_url=callback_url, max_attempts=2, backoff=[0])
        for payload in payloads
    ]
    callbacks = [server.wait(task_id)["callback_id"] for task_id in ids]
    for callback_id in callbacks:
        server.wait(callback_id)
    schedule = {
        "every_seconds": 3600,
        "task": {"payload": payloads[0], "callback_url": callback_url},
    }
    head = {"content-type": "application/json"}
    answer = server.ask("PUT", "/schedules/masked", json.dumps(schedule).encode(), head)
    assert answer.status in (200, 201), answer
    assert SECRET.encode() not in answer.body
    ran = server.ask("POST", "/schedules/masked/run")
    assert SECRET.encode() not in ran.body
    server.wait(ran.json["id"])
    for verb in ("cancel", "retry"):
        answer = server.ask("POST", f"/tasks/{ids[2]}/{verb}")
        assert SECRET.encode() not in answer.body
    for task_id in (*ids, *callbacks):
        check_page(server, f"/tasks/{task_id}")
        check_page(server, f"/tasks/{task_id}/attempts")
        check_page(server, f"/tasks/{task_id}/result")
        check_page(server, f"/ui/tasks/{task_id}")
        check_page(server, f"/ui/submit?from={task_id}")
    for path in ("/tasks?limit=100", "/schedules", "/schedules/masked", "/ui", "/ui/tasks"):
        check_page(server, path)
    check_page(server, "/tasks?limit=100", {"accept": "application/x-ndjson"})
    shown = command(server, "list", "--json") + command(server, "list")
    shown += "".join(command(server, "show", task_id) for task_id in (ids[0], callbacks[0]))
    shown += command(server, "schedules", "show", "masked")
    assert SECRET not in shown
    received = [one for one in receiver.received if one.path == f"/x?token={SECRET}"]
    assert len(received) >= len(payloads)
    for one in received:
        assert SECRET not in one.body.decode()
        assert one.verified()["payload"]
    assert SECRET not in str(events)
    server.ask("DELETE", "/schedules/masked")


def test_it_is_sent_whole(server, echo):
    """What is masked is only what is shown: targets get what was submitted."""
    task_id = submitted(server, whole(f"{echo}/whole?key={SECRET}&{server.url}"))
    assert server.wait(task_id)["status"] == "COMPLETED"
    path = f"/whole?key={SECRET}&{server.url}"
    [headers] = [headers for seen, headers in Echo.seen if seen == path]
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS


def test_receivers_get_the_masked_task(server, echo, receiver):
    """The body of the callback equals the response to a GET."""
    path = f"/masked?token={SECRET}&{server.url}"
    payload = whole(f"{echo}/a?key={SECRET}")
    task = server.wait(submitted(server, payload, callback_url=receiver.url + path))
    [received] = receiver.wait_for(path)
    assert received.body == server.ask("GET", f"/tasks/{task['id']}").body
    assert received.verified()["payload"]["headers"]["Authorization"] == "***"
    assert received.verified()["callback_url"].startswith(f"{receiver.url}/masked?token=***")


@pytest.mark.parametrize("letters", [SECRET[:1], SECRET[:3], SECRET])
def test_a_search_finds_nothing_out(server, echo, letters):
    """What is masked in a URL cannot be searched for, and the rest can."""
    mark = f"search{len(letters)}"
    for payload in (
        f"{echo}/{mark}?a=1&key={SECRET}",
        whole(f"{echo}/{mark}?a=1&key={SECRET}"),
        f"http://ada:{SECRET}@127.0.0.1/{mark}?a=1",
    ):
        server.wait(submitted(server, payload))

    def found(url: str) -> int:
        return len(
            server.ask("GET", f"/tasks?{urlencode({'url_contains': url, 'limit': 100})}").json
        )

    assert found(f"key={letters}") == found(f"ada:{letters}") == 0
    assert found(f"/{mark}?a=1&key=***") == 2
    assert found(f"//***@127.0.0.1/{mark}?a=1") == 1


def test_masks_are_not_submitted(server, echo):
    """A task that was shown, and is sent again, is refused where values are masked."""
    task_id = submitted(server, whole(f"{echo}/a?key={SECRET}"))
    shown = server.show(task_id)["payload"]
    answer = server.post(json.dumps({"payload": shown}).encode())
    problem = check_problem(answer, 422, "masked when it was shown", "send the real value")
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"#/payload/url", *(f"#/payload/headers/{name}" for name in HEADERS)}
    answer = server.post(json.dumps({"payload": f"{echo}/?key=***"}).encode())
    check_problem(answer, 422, "masked")
    definition = {"every_seconds": 60, "task": {"payload": shown}}
    head = {"content-type": "application/json"}
    answer = server.ask("PUT", "/schedules/again", json.dumps(definition).encode(), head)
    check_problem(answer, 422, "masked")
    assert server.post(b'{"payload": {"url": "http://a/?q=***", "body": "***"}}').status == 201


def copied(server, task_id: str, **changes: str):
    """Submit the form that copies a task, as a browser does."""
    task = server.show(task_id)
    form = {
        "from": task_id,
        "url": task["payload"]["url"],
        "headers": "\n".join(f"{n}: {v}" for n, v in task["payload"]["headers"].items()),
        **changes,
    }
    own = {"origin": server.url, "sec-fetch-site": "same-origin"}
    return server.ask("POST", "/ui/submit", urlencode(form).encode(), {**FORM, **own})


def test_a_copy_keeps_credentials_on_the_server(server, echo):
    """The page contains none of them, and the new task has all."""
    original = submitted(server, whole(f"{echo}/copied?key={SECRET}&{server.url}"))
    page = server.ask("GET", f"/ui/submit?from={original}").body.decode()
    assert f'name="from" value="{original}"' in page
    assert "enter them again" in page
    answer = copied(server, original)
    assert answer.status == 303, answer.body
    copy = answer.header("location").rpartition("/")[2]
    assert server.wait(copy)["status"] == "COMPLETED"
    path = f"/copied?key={SECRET}&{server.url}"
    first, second = [headers for seen, headers in Echo.seen if seen == path]
    for name, value in HEADERS.items():
        assert first[name.lower()] == second[name.lower()] == value


@pytest.mark.parametrize("change", ["host", "port", "scheme"])
def test_a_copy_to_another_origin_has_none(server, echo, receiver, change):
    """A client with the role submit cannot get credentials of others by resubmitting a task."""
    original = submitted(server, whole(f"{echo}/a?key={SECRET}"))
    url = {
        "host": echo.replace("127.0.0.1", "localhost"),
        "port": receiver.url,
        "scheme": echo.replace("http:", "https:"),
    }[change]
    answer = copied(server, original, url=f"{url}/a?key=***")
    assert answer.status == 422
    assert "send the real value" in answer.body.decode()
    assert SECRET not in answer.body.decode()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_schedule_that_is_sent_as_it_was_shown(server, echo, receiver, method):
    """Keeps its credentials, and takes them to no other origin."""
    mark = f"{method}-{server.is_in_memory}"
    task = {
        "payload": whole(f"{echo}/{mark}?key={SECRET}", headers={**HEADERS, "X-A": "1"}),
        "callback_url": f"{receiver.url}/{mark}?token={SECRET}",
    }
    place = f"/schedules/{mark}"
    body = json.dumps({"every_seconds": 3600, "task": task}).encode()
    assert server.ask("PUT", place, body).status == 201
    shown = server.ask("GET", place)
    assert SECRET.encode() not in shown.body
    assert shown.json["task"]["payload"]["headers"]["Cookie"] == "***"
    again = server.ask(method, place, shown.body)
    assert (again.status, again.json["task"]) == (200, shown.json["task"])
    ran = server.wait(server.ask("POST", f"{place}/run").json["id"])
    server.wait(ran["callback_id"])
    [headers] = [headers for seen, headers in Echo.seen if seen == f"/{mark}?key={SECRET}"]
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS
    receiver.wait_for(f"/{mark}?token={SECRET}")
    for change in (
        {"payload": {**shown.json["task"]["payload"], "url": f"{receiver.url}/?key=***"}},
        {"callback_url": f"{echo}/?token=***"},
    ):
        moved = {**shown.json, "task": {**shown.json["task"], **change}}
        check_problem(server.ask(method, place, json.dumps(moved).encode()), 422, "masked")
    assert server.ask("GET", place).json["task"] == shown.json["task"]
    check_problem(server.ask("PUT", f"{place}-new", renamed(shown.json, f"{mark}-new")), 422)
    assert server.ask("DELETE", place).status == 204


def renamed(schedule, name: str) -> bytes:
    return json.dumps({**schedule, "name": name}).encode()


def test_a_node_of_an_operator():
    """Names of the setting are masked too."""
    with LiveServer(database_url=MEMORY_URL, masked_headers=("X-Mine",)) as server:
        payload = {
            "url": "http://localhost:1/?x-mine=a",
            "headers": {"X-Mine": SECRET, "Cookie": SECRET},
        }
        task_id = submitted(server, payload)
        assert server.show(task_id)["payload"] == {
            "url": "http://localhost:1/?x-mine=***",
            "headers": {"X-Mine": "***", "Cookie": "***"},
        }


def test_tasks_of_the_version_before(database_uri):
    """Their results are masked when they are shown, and their callbacks when they are sent."""
    with LiveServer(database_url=database_uri) as server, Receiver() as receiver:
        task_id = submitted(server, whole("http://localhost:1/"), max_attempts=1)
        server.wait(task_id)
        url = f"http://a/?key={SECRET}"
        result = json.dumps({"result": None, "url": url, "elapsed_seconds": 1.0, "size": 0})
        with psycopg.connect(database_uri, autocommit=True) as connection:
            options = {"callback_url": f"{receiver.url}/old"}
            connection.execute(
                "UPDATE taskflow_tasks SET status = 'PENDING', finished_at = NULL, options = %s, "
                "run_at = now() + interval '1 hour' WHERE id = %s",
                [json.dumps(options), task_id],
            )
            connection.execute(
                "UPDATE taskflow_tasks SET status = 'COMPLETED', finished_at = now(), result = %s, "
                "error = NULL, error_type = NULL WHERE id = %s",
                [result.replace(", ", ",").replace(": ", ":"), task_id],
            )
        assert server.show(task_id)["result"]["url"] == "http://a/?key=***"
        [received] = receiver.wait_for("/old")
        assert SECRET not in received.body.decode()
