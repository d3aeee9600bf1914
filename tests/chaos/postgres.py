"""The PostgreSQL of a scenario, which can crash and come back; and a way to it that thaws."""

from __future__ import annotations

import contextlib
import enum
import signal
import socket
import threading
import time
from pathlib import Path
from unittest import mock

from taskflow.store.embedded import cluster
from taskflow.store.embedded.account import account_for, make_folder
from taskflow.store.embedded.cluster import Cluster
from taskflow.store.embedded.process import Deadline
from tests.databases import create_migrated
from tests.service.processes import PATIENCE_SECONDS, START_SECONDS, wait_until
from tests.service.targets import Way

MAX_CONNECTIONS = 100


class Server:
    """A real server with data of its own; it runs while the block is open.

    Attributes:
        conninfo: Of the database of the scenario.
    """

    def __init__(self, data_dir: Path) -> None:
        make_folder(data_dir)
        self._cluster = Cluster(data_dir, account_for(data_dir / "pgdata"))
        self.conninfo = self._cluster.conninfo()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._cluster.stop(Deadline(PATIENCE_SECONDS, is_cancellable=False))

    def change_database(self) -> None:
        """Be known by another database from now on: a new one, with all tables."""
        self.conninfo = create_migrated(self._cluster.conninfo())

    @property
    def log_path(self) -> Path:
        return self._cluster.log.path

    def start(self) -> float:
        """Have it answer, and say when it did."""
        with mock.patch.object(cluster, "_MAX_CONNECTIONS", MAX_CONNECTIONS):
            self._cluster.start(Deadline(START_SECONDS, is_cancellable=False))
        return time.time()

    def crash(self) -> None:
        """End it with an immediate shutdown, after which it must recover from its log."""
        postmaster = self._cluster._postmaster()
        assert postmaster is not None
        postmaster.send_signal(signal.SIGQUIT)
        wait_until(lambda: not self._cluster.is_alive())


class Thaw(enum.Enum):
    """What becomes of connections on which something was held back, or of all old ones."""

    DELIVERED = "what was held back is delivered"
    CLOSED = "connections with something held back are closed"
    FORGOTTEN = "old connections stay frozen for ever, new ones work"


class ThawingWay(Way):
    """A way that can thaw again. While it is frozen it does not even hand on an end."""

    def __init__(self, folder: Path, socket_path: Path) -> None:
        super().__init__(folder, socket_path)
        self.folder = folder
        self._thaw = Thaw.DELIVERED
        self._epoch = 0
        self._has_thawed = threading.Event()

    def __exit__(self, *exc: object) -> None:
        self._has_thawed.set()
        super().__exit__(*exc)

    def freeze(self) -> None:
        self._has_thawed.clear()
        super().freeze()

    def thaw(self, thaw: Thaw) -> float:
        """Hand on again, and say since when."""
        self._thaw = thaw
        self._epoch += 1
        self._is_frozen.clear()
        self._has_thawed.set()
        return time.time()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        born, data = self._epoch, b"more"
        with contextlib.suppress(OSError):
            while data:
                data = source.recv(65536)
                if not self._lets_through(born):
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _lets_through(self, born: int) -> bool:
        """Hold on while it is frozen, and say whether the connection is of use afterwards."""
        was_frozen = self._is_frozen.is_set()
        if was_frozen:
            self._has_thawed.wait()
        if born < self._epoch and self._thaw is Thaw.FORGOTTEN:
            self._is_over.wait()
        return not (was_frozen and self._thaw is Thaw.CLOSED)
