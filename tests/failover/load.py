"""Clients that repeat a request with its Idempotency-Key until they know what became of it."""

from __future__ import annotations

import itertools
import json
import random
import time

from tests.chaos.load import SHARE_GROUPS, Load
from tests.chaos.verdict import Verdict
from tests.service.processes import wait_until

REPEAT_SECONDS = 0.5


class RepeatingLoad(Load):
    """The load of the chaos suite, whose clients do as documented after a 503 or no response.

    Attributes:
        repeated: Number of tasks whose request was sent again.
    """

    repeated = 0

    def _post(self, rng: random.Random) -> None:
        if rng.random() < SHARE_GROUPS:
            super()._post(rng)
            return
        key, body = self.payload(rng)
        self.unknown.add(key)
        for attempt in itertools.count():
            place = rng.randrange(self._fleet.size)
            answer = self._ask(place, "POST", "/tasks", body, {"Idempotency-Key": key})
            if self._is_known(key, *answer):
                self.unknown.discard(key)
                return
            self._note_refusal(*answer)
            self.repeated += attempt == 0
            if self._is_over.wait(REPEAT_SECONDS):
                return

    def _is_known(self, key: str, status: int, output: bytes) -> bool:
        """Note a task that was accepted, now or by an earlier request."""
        if status not in (200, 201):
            return False
        task = json.loads(output)
        if task["unique"] is not None:
            self.named[task["unique"]["key"]].add(task["id"])
            self.with_unique_key += 1
        if not task["payload"].endswith(f"/{key}"):
            self.returned += (
                1  # by its unique key; the answer to a repeated request does not say so
            )
            return True
        self.answered[key] = time.monotonic()
        self.posted[key] = task["id"]
        self._recent.append(task["id"])
        return True

    def publish_one(self) -> None:
        """Publish events until one is accepted."""
        rng = self._shape.random("publisher")
        while not self.published:
            self._publish(rng)

    def wait_for_more(self, count: int = 20) -> None:
        """Wait until more tasks have been accepted."""
        wanted = len(self.posted) + count
        wait_until(lambda: len(self.posted) >= wanted)

    def wait_for_refusals(self, count: int) -> None:
        """Wait until more requests were answered with a 503."""
        wanted = self.reasons["503"] + count
        wait_until(lambda: self.reasons["503"] >= wanted)

    def seconds_without(self) -> float:
        """Return the longest time in which no task was accepted."""
        moments = sorted(self.answered.values())
        return max(b - a for a, b in itertools.pairwise(moments))


def vanished(load: Load, verdict: Verdict) -> list[str]:
    """Return what was acknowledged with a 201 and is not in the database: tasks, groups, events."""
    tasks = {record.task_id for record in verdict.records}
    groups = {group_id for group_id, *_ in verdict.groups}
    return [
        *(f"task {one}" for one in load.posted.values() if one not in tasks),
        *(f"group {one}" for one in load.groups if one not in groups),
        *(f"event {one}" for one in load.published if one not in verdict.events),
    ]
