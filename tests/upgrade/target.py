"""What tasks of an upgrade fetch: a target that counts, and fails at first if it is asked to."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from tests.chaos.counting import CountingTarget

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class MoodyTarget(CountingTarget):
    """``/moody/<key>`` fails the first time it is asked, and never again."""

    def _answer(self, connection: socket.socket, path: str, headers: Mapping[str, str]) -> None:
        key = path.rpartition("/")[2]
        if path.startswith("/moody/") and not self.asked[key]:
            self.asked[key].append(0.0)
            connection.sendall(BUSY)
        else:
            super()._answer(connection, path, headers)
