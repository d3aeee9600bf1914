"""Clients that submit tasks throughout an upgrade, to any node that is up."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping

from tests.service.processes import PATIENCE_SECONDS

CLIENTS = 3
PAUSE_SECONDS = 0.1
MAX_TRIES = 20
# What one request after the other is for.
DELAY = dt.timedelta(seconds=1.5)  # as a moment, which every version takes
KINDS = ("now", "slow", "delayed", "moody", "told")


class Load:
    """Submits tasks while its block is open.

    A client is what people have before several nodes: one that goes to the next node when it is
    refused or cut off, with the same ``Idempotency-Key``. That is no failure; no answer is.

    Args:
        urls: Of the nodes that are up.
        target: What tasks are fetched from.
        receiver: Receives the callbacks of some of them.

    Attributes:
        ids: Of each key that was taken: the id of its task.
        failures: What no node would take, and why.
        detours: How many POSTs were refused or cut off, and went to another node.
    """

    def __init__(self, urls: Callable[[], list[str]], target: str, receiver: str) -> None:
        self.ids: dict[str, str] = {}
        self.failures: list[str] = []
        self.detours = 0
        self._urls, self._target, self._receiver = urls, target, receiver
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[n]) for n in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def of(self, kind: str) -> dict[str, str]:
        """The ids of one kind, by their keys."""
        return {key: task_id for key, task_id in self.ids.items() if key.startswith(kind)}

    def _run(self, number: int) -> None:
        for kind in itertools.cycle(KINDS):
            key = f"{kind}-{uuid.uuid4()}"
            self._hand_in(key, self._body(kind, key), number)
            if self._is_over.wait(PAUSE_SECONDS):
                return

    def _body(self, kind: str, key: str) -> dict[str, object]:
        path = {"slow": "/slow/300", "moody": "/moody"}.get(kind, "/now")
        return {"payload": f"{self._target}{path}/{key}"} | {
            "delayed": {"run_at": f"{dt.datetime.now(dt.UTC) + DELAY:%Y-%m-%dT%H:%M:%S.%fZ}"},
            "moody": {"max_attempts": 3, "backoff": [0.2, 0.2]},
            "told": {"callback_url": f"{self._receiver}/{key}"},
        }.get(kind, {})

    def _hand_in(self, key: str, body: Mapping[str, object], number: int) -> None:
        reported: list[str] = []
        for status, output in itertools.islice(self._tries(key, body, number), MAX_TRIES):
            if status in (200, 201):
                self.ids[key] = json.loads(output)["id"]
                self.detours += bool(reported)
                return
            reported.append(f"{status} {output!r}")
            if status not in (0, 503):
                break
        self.failures.append(f"{key}: {reported}")

    def _tries(
        self, key: str, body: Mapping[str, object], number: int
    ) -> Iterator[tuple[int, bytes]]:
        for turn in itertools.count(number):
            urls = self._urls()
            try:
                yield self._ask(urls[turn % len(urls)], key, body)
            except (OSError, http.client.HTTPException) as error:
                yield 0, repr(error).encode()
                time.sleep(PAUSE_SECONDS)  # as a client waits before it asks again

    def _ask(self, url: str, key: str, body: Mapping[str, object]) -> tuple[int, bytes]:
        host = url.removeprefix("http://")
        with contextlib.closing(
            http.client.HTTPConnection(host, timeout=PATIENCE_SECONDS)
        ) as connection:
            fields = {"Content-Type": "application/json", "Idempotency-Key": key}
            connection.request("POST", "/tasks", json.dumps(body), fields)
            answer = connection.getresponse()
            return answer.status, answer.read()
