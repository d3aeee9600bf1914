"""How long a server's event loop is held between two checkpoints, whatever the machine's speed."""

from __future__ import annotations

import gc
import threading
import time

import trio

CALIBRATION_STEPS = 10_000


def unit_seconds() -> float:
    """Return the CPU time of a fixed amount of pure Python, about as much as a bare ``POST``."""
    return min(_measured() for _ in range(7))


def _measured() -> float:
    began = time.thread_time()
    total, seen = 0, {}
    for number in range(CALIBRATION_STEPS):
        total += number * number
        seen[number & 255] = total
    return time.thread_time() - began


class Holds(trio.abc.Instrument):
    """Measures the longest step of any task, in CPU time of the event loop's thread.

    Collections of garbage are left out: how long one takes is decided by all that is in memory,
    such as the tasks of the store there, and not by the request in which it happens.

    Attributes:
        longest_seconds: Of the steps since it was last set to 0.
        task_name: Which task that step belonged to.
    """

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self.task_name = ""
        self._began = 0.0
        self._collection_began = 0.0
        self._thread = threading.get_ident()
        gc.callbacks.append(self._on_collection)

    def close(self) -> None:
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _: object) -> None:
        if threading.get_ident() != self._thread:
            return
        now = time.thread_time()
        if phase == "start":
            self._collection_began = now
        elif self._began:
            self._began += now - self._collection_began

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._began:  # the one in which this was added
            return
        seconds = time.thread_time() - self._began
        if seconds > self.longest_seconds:
            self.longest_seconds, self.task_name = seconds, task.name
