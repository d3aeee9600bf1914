"""Inspection of a data folder; nothing is created, started or changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from taskflow.store.embedded.account import Account
from taskflow.store.embedded.cluster import Cluster


class FoundServer(msgspec.Struct, frozen=True):
    """Content of a data folder.

    Attributes:
        data_dir: The folder.
        has_data: True if there is a cluster.
        conninfo: The address of its server, if that is running.
        free_bytes: Free space on its disk.
    """

    data_dir: Path
    has_data: bool
    conninfo: str | None
    free_bytes: int


def find_server(data_dir: Path) -> FoundServer:
    """Inspect a data folder.

    Raises:
        OSError: It cannot be read.
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
