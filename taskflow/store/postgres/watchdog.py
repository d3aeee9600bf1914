"""Ends calls to a database that nothing else would end."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import TypeAlias

import psycopg
import trio

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]


class Watchdog:
    """Cuts the connections of calls that outlast their time.

    A path may freeze: a proxy acknowledges what it gets and hands on nothing. Then no timeout
    of TCP's, libpq's or the server's ends a call of psycopg's, and neither does a cancel
    request, which takes the same path. Shutting down its socket from outside does.

    Args:
        seconds: How long a call may have its connection.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._deadlines: dict[int, float] = {}

    @contextlib.contextmanager
    def watch(self, connection: Connection) -> Iterator[None]:
        """Let the block, in whatever thread, have this connection for its time and no longer."""
        # A duplicate: libpq may close its own at any moment, and the number may be another
        # file's the moment after.
        file = os.dup(connection.pgconn.socket)
        with self._lock:
            self._deadlines[file] = time.monotonic() + self._seconds
        try:
            yield
        finally:
            # From here on nobody cuts it: the connection may be another call's in a moment.
            with self._lock:
                self._deadlines.pop(file, None)
            os.close(file)

    async def run(self) -> None:
        """Cut what is overdue, until cancelled."""
        while True:
            # A call that begins meanwhile is due after those that are there, and after a
            # whole turn if there are none: it need not wake anybody.
            seconds = self._cut_overdue()
            await trio.sleep(seconds)

    def cut_all(self) -> None:
        """Cut every connection that is watched: nobody waits for those calls any more."""
        with self._lock:
            self._cut(list(self._deadlines))

    def _cut_overdue(self) -> float:
        """Cut what is overdue, and say in how many seconds to look again."""
        with self._lock:
            now = time.monotonic()
            self._cut([file for file, deadline in self._deadlines.items() if deadline <= now])
            return min(self._deadlines.values(), default=now + self._seconds) - now

    def _cut(self, files: list[int]) -> None:
        for file in files:
            del self._deadlines[file]
            _shut_down(file)


def _shut_down(file: int) -> None:
    """Shut down the socket behind an open file, and leave the file open."""
    # Of what family it really is makes no difference. No second duplicate: it must work
    # with no file to spare.
    socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM, fileno=file)
    try:
        with contextlib.suppress(OSError):  # it has come to its end already
            socket.shutdown(trio.socket.SHUT_RDWR)
    finally:
        socket.detach()
