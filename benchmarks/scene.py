"""What all benchmarks share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from benchmarks import processes
from benchmarks.database import Database, new_database
from benchmarks.processes import Service

T = TypeVar("T")
# Long enough that its worker is busy until the end of a run.
FOR_EVER_MS = 3_600_000


class Scene:
    """The PostgreSQL server, the target, a folder, and the length of the run.

    Args:
        conninfo: Of the server.
        target: The target's address.
        folder: For logs and the like.
        is_quick: Whether to measure briefly.
        peers: The Python of the peers' environment, if they are to be measured.
        beside: Earlier commits to compare with.
    """

    def __init__(
        self,
        conninfo: str,
        target: str,
        folder: Path,
        *,
        is_quick: bool,
        peers: Path | None,
        beside: tuple[str, ...] = (),
    ) -> None:
        self._conninfo = conninfo
        self.target = target
        self.folder = folder
        self.is_quick = is_quick
        self.peers = peers
        self.beside = beside

    def pick(self, *, quick: T, full: T) -> T:
        """Return the value for this form of the run."""
        return quick if self.is_quick else full

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """Create a database; it is dropped at the end."""
        with new_database(self._conninfo) as database:
            yield database

    @contextlib.contextmanager
    def taskflow(
        self,
        database: Database,
        *,
        processes_: int = 1,
        serves: bool = True,
        repository: Path = processes.REPOSITORY,
        **settings: object,
    ) -> Iterator[Service]:
        """Run TaskFlow on this database, with these settings; see ``processes.taskflow``."""
        with processes.taskflow(
            self.folder,
            database.url,
            processes=processes_,
            serves=serves,
            repository=repository,
            **settings,
        ) as service:
            yield service

    def target_requests(self) -> int:
        """Return the number of requests that the target has received."""
        return int(processes.get(urlsplit(self.target).port or 0, "/count"))

    def hold_workers(self, database: Database, workers: int = 5) -> None:
        """Give the workers tasks that never finish, so that only POSTs are measured."""
        database.fill(f"{self.target}/{FOR_EVER_MS}", workers)
