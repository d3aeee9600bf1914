"""Clients that submit tasks continuously, and record the responses."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from types import MappingProxyType

from taskflow.model.task import MAX_ATTEMPTS
from tests.chaos.fleet import Fleet
from tests.chaos.reporting import FIRST_ATTEMPTS
from tests.chaos.shape import Shape
from tests.service.processes import PATIENCE_SECONDS, wait_until

CLIENTS = 64  # enough that clients of a frozen node do not delay the others
ANSWER_SECONDS = 5.5  # 503 is promised within 5
SHARE_MISSING, SHARE_SLOW, SHARE_DEFERRED = 0.04, 0.35, 0.1
# Of tasks whose first attempt is silent; the outcome of others is always reported.
SILENCE_SECONDS, WITHIN_SECONDS = 1, 600
SHARE_ORDERED, ORDER_KEYS = 0.25, 12
SHARE_UNIQUE, UNIQUE_KEYS = 0.1, 5
SHARE_EVENTS, ENDPOINTS = 0.05, ("a", "b")
TOPIC = "/topics/chaos"
SHARE_CHILDREN = 0.2  # of the tasks without a key
SHARE_GROUPS, MAX_MEMBERS = 0.03, 6
STATUSES = ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELED"]
NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class Load:
    """Runs while its block is open, and at least as long as the shape says.

    Attributes:
        posted: The id of each key that was answered with a 201.
        named: The ids that answers to each unique key had, which is never free again.
        with_unique_key: Number of answers with a task that has a unique key.
        returned: Of these, the number of answers with a task that existed.
        published: The ids of the events that were answered with a 201.
        groups: The keys of the tasks of each group that was answered with a 201: of its completion
            task, and of its members.
        sent: When the request of each key with an order key was sent.
        answered: When it was answered with a 201.
        unknown: Keys of which nothing is known: their task may exist.
        reasons: Why nothing is known: a 503, or what became of the connection.
        odd: Answers that are neither a 201 nor a 503.
        odd_bodies: The last of their bodies.
    """

    def __init__(self, shape: Shape, fleet: Fleet, target: str) -> None:
        self.posted: dict[str, str] = {}
        self.named: defaultdict[str, set[str]] = defaultdict(set)
        self.with_unique_key = 0
        self.returned = 0
        self.published: set[str] = set()
        self.groups: dict[str, list[str]] = {}
        self.sent: dict[str, float] = {}
        self.answered: dict[str, float] = {}
        self.unknown: set[str] = set()
        self.reasons: Counter[str] = Counter()
        self.odd: Counter[int] = Counter()
        self.odd_bodies: deque[bytes] = deque(maxlen=5)
        self.began = self.ended = 0.0
        self._shape, self._fleet, self._target = shape, fleet, target
        self._recent: deque[str] = deque(maxlen=50)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[n]) for n in range(CLIENTS)]

    def __enter__(self) -> Load:
        self._subscribe()
        self.began = time.time()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.wait_for_share(1.0)
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        self.ended = time.time()

    def wait_for_share(self, share: float) -> None:
        """Wait until so much of the time is over."""
        due = self.began + share * self._shape.seconds
        wait_until(lambda: time.time() >= due, self._shape.seconds + PATIENCE_SECONDS)

    def is_before_share(self, share: float) -> bool:
        return time.time() < self.began + share * self._shape.seconds

    def payload(self, rng: random.Random) -> tuple[str, bytes]:
        """A new key, and the body of a request for its task."""
        key, dice = f"{rng.getrandbits(64):016x}", rng.random()
        path = f"/now/{key}"
        if dice < SHARE_MISSING:
            path = f"/missing/{key}"
        elif dice < SHARE_MISSING + SHARE_SLOW:
            path = f"/slow/{rng.randint(20, 300)}/{key}"
        task: dict[str, object] = {}
        if dice > 1 - SHARE_DEFERRED:
            first = rng.choice(FIRST_ATTEMPTS)
            path = f"/later/{first}/{key}"
            within = SILENCE_SECONDS if first == "silent" else WITHIN_SECONDS
            task["completion"] = {"mode": "callback", "within_seconds": within}
            task |= {"max_attempts": MAX_ATTEMPTS, "backoff": [0.05]}
        task["payload"] = self._target + path
        if rng.random() < SHARE_ORDERED:
            task["order_key"] = f"order {rng.randrange(ORDER_KEYS)}"
            self.sent[key] = time.monotonic()
        elif rng.random() < SHARE_UNIQUE / (1 - SHARE_ORDERED):
            unique_key = f"unique {rng.randrange(UNIQUE_KEYS)}"
            task["unique"] = {"key": unique_key, "while": STATUSES}
        elif (known := list(self._recent)) and rng.random() < SHARE_CHILDREN:
            parents = rng.sample(known, min(len(known), rng.randint(1, 3)))
            task |= {"after": parents, "on_parent_failure": "run"}
        return key, json.dumps(task).encode()

    def _subscribe(self) -> None:
        """Create a topic with endpoints, each of which gets all events."""
        assert self._ask(0, "PUT", TOPIC, b"{}")[0] == 201
        for name in ENDPOINTS:
            body = json.dumps({"url": f"{self._target}/now/{name}"}).encode()
            assert self._ask(0, "PUT", f"{TOPIC}/endpoints/{name}", body)[0] == 201

    def _run(self, number: int) -> None:
        rng, pause = self._shape.random(number), CLIENTS / self._shape.rate
        due = time.monotonic() + rng.random() * pause
        while not self._is_over.wait(max(0.0, due - time.monotonic())):
            # What was missed is made up for, but not after a long wait.
            due = max(due + rng.uniform(0.5, 1.5) * pause, time.monotonic() - 1.0)
            if rng.random() < SHARE_EVENTS or not self.published:  # at least one
                self._publish(rng)
            else:
                self._post(rng)

    def _publish(self, rng: random.Random) -> None:
        body = json.dumps({"type": "chaos", "data": rng.random()}).encode()
        place = rng.randrange(self._fleet.size)
        status, output = self._ask(place, "POST", f"{TOPIC}/events", body)
        if status == 201:
            self.published.add(json.loads(output)["id"])
        elif status not in (0, 503):
            self._note_odd(status, output)

    def _post(self, rng: random.Random) -> None:
        if rng.random() < SHARE_GROUPS:
            self.post_group(rng, rng.randint(1, MAX_MEMBERS))
            return
        key, body = self.payload(rng)
        self.unknown.add(key)
        status, output = self._ask(rng.randrange(self._fleet.size), "POST", "/tasks", body)
        if status in (200, 201):
            task = json.loads(output)
            self.unknown.discard(key)
            if task["unique"] is not None:
                self.named[task["unique"]["key"]].add(task["id"])
                self.with_unique_key += 1
            if status == 201:
                self.answered[key] = time.monotonic()
                self.posted[key] = task["id"]
                self._recent.append(task["id"])
                return
            if task.get("existing") == "returned":
                self.returned += 1
                return
        self._note_refusal(status, output)

    def post_group(self, rng: random.Random, members: int) -> bool:
        """Create a group with this many members, and say whether that was answered with a 201."""
        keys = [f"{rng.getrandbits(64):016x}" for _ in range(1 + members)]
        completion, *tasks = [{"payload": f"{self._target}/now/{key}"} for key in keys]
        self.unknown.update(keys)
        body = json.dumps({"on_complete": completion, "tasks": tasks}).encode()
        status, output = self._ask(rng.randrange(self._fleet.size), "POST", "/groups", body)
        if status == 201:
            self.unknown.difference_update(keys)
            self.groups[json.loads(output)["id"]] = keys
        else:
            self._note_refusal(status, output)
        return status == 201

    def _note_refusal(self, status: int, output: bytes) -> None:
        if status:
            self.reasons[str(status)] += 1
        if status not in (0, 503):
            self._note_odd(status, output)

    def _note_odd(self, status: int, output: bytes) -> None:
        self.odd[status] += 1
        self.odd_bodies.append(output)

    def _ask(
        self, place: int, method: str, path: str, body: bytes, fields: Mapping[str, str] = NO_FIELDS
    ) -> tuple[int, bytes]:
        """Return the status and the body of the answer; the status 0 if there was none."""
        try:
            return self._answer_of(place, method, path, body, fields)
        except (OSError, http.client.HTTPException) as error:
            self.reasons[type(error).__name__] += 1
            return 0, b""

    def _answer_of(
        self, place: int, method: str, path: str, body: bytes, fields: Mapping[str, str]
    ) -> tuple[int, bytes]:
        url = self._fleet.url_of(place)
        if url is None:
            raise ConnectionRefusedError
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=ANSWER_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": "application/json", **fields})
            answer = connection.getresponse()
            return answer.status, answer.read()
