"""A standby that streams from its primary over a path with a delay."""

from __future__ import annotations

from benchmarks.delayed_path import DelayedPath
from tests.replicas import Server


def standby_behind(path: DelayedPath, primary: Server, name: str) -> Server:
    """Return a standby beside its primary, with a copy of its data; it is not started."""
    standby = Server(primary.folder.parent, name)
    primary.back_up(standby, "--write-recovery-conf")
    conninfo = f"host=127.0.0.1 port={path.port} user={primary.user}"
    standby.write("postgresql.auto.conf", f"\nprimary_conninfo = '{conninfo}'\n")
    return standby
