"""Reports the outcomes of tasks that were answered with a 202, as their targets would."""

from __future__ import annotations

import contextlib
import heapq
import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter, defaultdict
from typing import NamedTuple

from tests.chaos.fleet import Fleet
from tests.service.processes import PATIENCE_SECONDS

PUBLIC_URL = "http://chaos.example"
THREADS = 24  # enough that those that wait for a frozen node do not delay the others
ANSWER_SECONDS = 5.5
PAUSE_SECONDS = 0.1
MAX_WORK_SECONDS = 0.4
SHARE_EARLY, SHARE_LATE_TOKENS = 0.3, 0.5
FIRST_ATTEMPTS = ("done", "fail", "silent")
"""What becomes of the first attempt of a task; later ones are completed."""


class Report(NamedTuple):
    """An outcome to be reported.

    Attributes:
        key: The key of the task.
        path: The path of the URL.
        body: The body.
        is_late: True if the attempt is over.
    """

    key: str
    path: str
    body: bytes
    is_late: bool = False

    @property
    def token(self) -> str:
        return self.path.split("/")[3]


class Reporter:
    """Reports each outcome to any node, again until one says that it was accepted or is too late.

    Attributes:
        completed: The tokens whose result was accepted, by the keys of their tasks.
        reported: All tokens of attempts for which a result was sent.
        accepted_late: Reports for attempts that were over, but were accepted.
        statuses: How many reports got each answer.
    """

    def __init__(self, fleet: Fleet, rng: random.Random) -> None:
        self.completed: defaultdict[str, list[str]] = defaultdict(list)
        self.reported: defaultdict[str, set[str]] = defaultdict(set)
        self.accepted_late: list[Report] = []
        self.statuses: Counter[int] = Counter()
        self._fleet, self._random = fleet, rng
        self._attempts: defaultdict[str, dict[int, str]] = defaultdict(dict)
        self._due: list[tuple[float, int, Report]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_over = False
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]

    def __enter__(self) -> Reporter:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def accept(self, key: str, first: str, url: str, attempt: int) -> None:
        """Accept the work of an attempt, whose outcome is reported later.

        Args:
            key: The key of the task.
            first: What becomes of its first attempt.
            url: The completion URL.
            attempt: The number of the attempt.
        """
        path = url.removeprefix(PUBLIC_URL)
        with self._changed:
            early = self._random.random() < SHARE_EARLY
            after = 0.0 if early else self._random.uniform(0.0, MAX_WORK_SECONDS)
            older = [one for n, one in self._attempts[key].items() if n < attempt]
            self._attempts[key][attempt] = path
            if older and self._random.random() < SHARE_LATE_TOKENS:
                path_of_older = self._random.choice(older)
                ending = self._random.choice(("", "/failure", "/heartbeat"))
                self._add(0.0, Report(key, path_of_older + ending, b"{}", is_late=True))
            if attempt > 1 or first == "done":
                report = Report(key, path, json.dumps({"token": path.split("/")[3]}).encode())
                self.reported[key].add(report.token)
                self._add(after, report)
            elif first == "fail":
                self._add(after, Report(key, f"{path}/failure", b'{"error": "at first"}'))

    def _add(self, after: float, report: Report) -> None:
        heapq.heappush(self._due, (time.monotonic() + after, next(self._numbers), report))
        self._changed.notify()

    def _run(self) -> None:
        while (report := self._next()) is not None:
            status = self._send(report)
            with self._changed:
                self.statuses[status] += 1
                if status == 200 and report.is_late:
                    self.accepted_late.append(report)
                elif status == 200 and not report.path.endswith("/failure"):
                    self.completed[report.key].append(report.token)
                elif status in (0, 503):
                    self._add(PAUSE_SECONDS, report)

    def _next(self) -> Report | None:
        with self._changed:
            while not self._is_over:
                if self._due and self._due[0][0] <= time.monotonic():
                    return heapq.heappop(self._due)[2]
                left = self._due[0][0] - time.monotonic() if self._due else None
                self._changed.wait(left)
        return None

    def _send(self, report: Report) -> int:
        """Send a report, and return the status of the answer; 0 if there was none."""
        url = self._fleet.url_of(random.randrange(self._fleet.size))
        if url is None:
            return 0
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=ANSWER_SECONDS)
        with contextlib.closing(connection):
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", report.path, report.body, headers)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return 0
