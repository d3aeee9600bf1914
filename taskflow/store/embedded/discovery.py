"""The PostgreSQL of a data folder as it is found: nothing is made, started or changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from taskflow.store.embedded.account import Account
from taskflow.store.embedded.cluster import Cluster


class FoundServer(msgspec.Struct, frozen=True):
    """What is in a data folder.

    Attributes:
        data_dir: The folder.
        has_data: Whether there is a cluster.
        conninfo: How to connect to its server, if that runs.
        free_bytes: How much room there is on its disk, or would be.
    """

    data_dir: Path
    has_data: bool
    conninfo: str | None
    free_bytes: int


def find_server(data_dir: Path) -> FoundServer:
    """Look into a data folder.

    Raises:
        OSError: It cannot be looked into.
    """
    path = data_dir.expanduser().resolve()
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    free_bytes = shutil.disk_usage(nearest).free
    pgdata = path / "pgdata"
    if not pgdata.exists():
        return FoundServer(path, has_data=False, conninfo=None, free_bytes=free_bytes)
    status = pgdata.stat()
    cluster = Cluster(path, Account(str(status.st_uid), status.st_uid, status.st_gid))
    conninfo = cluster.conninfo() if cluster.is_alive() else None
    return FoundServer(path, has_data=True, conninfo=conninfo, free_bytes=free_bytes)
