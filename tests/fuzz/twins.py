"""Two services behind one address, which must give a client the same answers.

Each request goes to both. What they make up themselves (ids, times, versions) may differ, and ids
of one are sent to the other as its own ids of the same things.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
import uuid
from collections import Counter
from typing import NamedTuple

from tests.api.client import Answer, ask

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MADE_UP = re.compile(rf"({_ID}|(?<=cursor=)[A-Za-z0-9_-]+)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_AGE = re.compile(r'("(?:oldest_waiting_seconds|elapsed_seconds|running_seconds)":)[0-9.]+')
# The parts of recent minutes that count change with the clock; those of the last hour do not.
_RECENT = re.compile(r'("last_(?:minute|5_minutes)":)\d+')
_OF_THE_CONNECTION = {"connection", "content-length", "transfer-encoding", "accept-encoding"}
_UNCOMPARED = {"date", "content-length", "transfer-encoding", "connection", "keep-alive"}


NEW_TASK = str(uuid.UUID(int=2**128 - 1))
"""In a request, it stands for the id of a task that was submitted just before."""


class Difference(NamedTuple):
    """A request whose answers differ."""

    request: str
    with_others: str
    alone: str


class Twins:
    """The two services; ``with`` starts and stops the server before them.

    Args:
        with_others: The URL of the service that also has data of others.
        alone: The URL of the one that does not.
        new_task: What is submitted for ``NEW_TASK``.

    Attributes:
        differences: The requests whose answers differ.
        statuses: The number of answers by status.
        answers: All that the first service has answered.
    """

    def __init__(self, with_others: str, alone: str, new_task: bytes) -> None:
        self._new_task = new_task
        self._urls = (with_others, alone)
        self._counterparts: dict[str, str] = {}
        self._lock = threading.Lock()
        self.differences: list[Difference] = []
        self.statuses: Counter[int] = Counter()
        self.answers: list[str] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Twins:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def ask(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Ask both, compare their answers, and return the one of the first."""
        if NEW_TASK in target:
            asking = {"content-type": "application/json", "authorization": headers["authorization"]}
            made = self.ask("POST", "/tasks", self._new_task, asking)
            target = target.replace(NEW_TASK, made.json["id"])
        with self._lock:
            first = ask(self._urls[0], method, target, body, headers)
            second = ask(
                self._urls[1],
                method,
                self._translated(target),
                None
                if body is None
                else self._translated(body.decode("latin-1")).encode("latin-1"),
                {name: self._translated(value) for name, value in headers.items()},
            )
            self._compare(f"{method} {target} {body!r} {headers}", first, second)
        return first

    def _translated(self, text: str) -> str:
        return _MADE_UP.sub(lambda found: self._counterparts.get(found[0], found[0]), text)

    def _compare(self, request: str, first: Answer, second: Answer) -> None:
        self.statuses[first.status] += 1
        ours, others = _text_of(first), _text_of(second)
        self.answers.append(ours)
        if _normalized(ours) != _normalized(others):
            self.differences.append(Difference(request, ours, others))
        else:
            self._counterparts.update(
                zip(_MADE_UP.findall(ours), _MADE_UP.findall(others), strict=True)
            )

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        twins = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str):
                if name.startswith("do_"):
                    return self._forward
                raise AttributeError(name)

            def _forward(self) -> None:
                length = self.headers.get("content-length")
                body = None if length is None else self.rfile.read(int(length))
                headers = {
                    name.lower(): value
                    for name, value in self.headers.items()
                    if name.lower() not in _OF_THE_CONNECTION
                }
                answer = twins.ask(self.command, self.path, body, headers)
                self.send_response_only(answer.status)
                for name, value in answer.fields:
                    if name not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                if answer.status not in (204, 304):
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _text_of(answer: Answer) -> str:
    """The whole answer, with its headers in order of their names."""
    fields = [
        f"{name}: {'X' if name == 'etag' else value}"
        for name, value in sorted(answer.fields)
        if name not in _UNCOMPARED
    ]
    return "\n".join([str(answer.status), *fields, "", answer.body.decode("utf-8", "replace")])


def _normalized(text: str) -> str:
    head, _, body = text.partition("\n\n")
    if body.startswith('{"minutes":'):
        body = _total_of(body)
    text = _RECENT.sub(r"\1N", _AGE.sub(r"\1N", f"{head}\n\n{body}"))
    return _MADE_UP.sub("ID", _MOMENT.sub("T", text))


def _total_of(history: str) -> str:
    """All that finished: in which minute is by chance."""
    total: Counter[str] = Counter()
    for minute in json.loads(history)["minutes"]:
        total.update(minute["finished"])
    return str(total)
