"""The TCP connections to a port of this machine, as the kernel lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Connection(NamedTuple):
    """The server's side of a connection.

    Attributes:
        client_port: The port of the client.
        unsent_bytes: Bytes in the send buffer of the server.
        inode: 0 if no process has the socket.
    """

    client_port: int
    unsent_bytes: int
    inode: int


def connections_to(port: int) -> Iterator[Connection]:
    """Yield the connections to a port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, _, _, _, _, inode, *_ = line.split()
        if int(local.split(":")[1], 16) == port:
            client_port, unsent = int(remote.split(":")[1], 16), int(queues.split(":")[0], 16)
            if client_port:  # otherwise it listens
                yield Connection(client_port, unsent, int(inode))
