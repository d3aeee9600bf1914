"""Several ``taskflow serve`` on one database, each in a place where another can take over."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.service.processes import ProcessResult, Running, started


class Fleet:
    """Nodes, numbered from 0; they are stopped at the end of the block.

    Args:
        folder: Where their logs go.
        settings: The environment variables of all of them.
        odd: Further ones of single nodes.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        *,
        size: int = 3,
        odd: Mapping[int, Mapping[str, object]] | None = None,
    ) -> None:
        self.size = size
        self.everyone: list[Running] = []
        self._folder = folder
        self._settings = settings
        self._odd = odd or {}
        self._at: dict[int, Running] = {}
        self._ended: list[Running] = []
        self._urls: dict[Running, str] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Fleet:
        for place in range(self.size):
            self.begin(place)
        for node in self._at.values():
            node.wait_until_ready("serve")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, place: int) -> Running:
        return self._at[place]

    def begin(self, place: int) -> Running:
        """Start a node there, without waiting for it."""
        settings = {**self._settings, **self._odd.get(place, {})}
        node = self._stack.enter_context(started("serve", self._folder, **settings))
        self._at[place] = node
        self.everyone.append(node)
        return node

    def start(self, place: int) -> None:
        """Start a node there, and wait until it is at work."""
        self.begin(place).wait_until_ready("serve")

    def end(self, place: int, signal_number: int = signal.SIGTERM) -> int:
        """Have the node there end, and say with what status."""
        self._ended.append(self[place])
        return self[place].end(signal_number).code

    def ended_by_itself(self, place: int) -> ProcessResult | None:
        """Return the result of a node that exited by itself, if it has; it is to be restarted."""
        if self[place].process.poll() is None:
            return None
        self._ended.append(self[place])
        return self[place].wait_for_end()

    def url_of(self, place: int) -> str | None:
        """Where the node there can be asked, once it says so."""
        node = self[place]
        if node not in self._urls and "listening" in node.log:
            self._urls[node] = node.url
        return self._urls.get(node)

    def gone(self) -> list[str]:
        """Return the logs of nodes that exited by themselves."""
        left = [node for node in self.everyone if node not in self._ended]
        return [node.log for node in left if node.process.poll() is not None]

    def tracebacks(self) -> int:
        """How many tracebacks they have in their logs."""
        return sum(node.log.count("Traceback") for node in self.everyone)
