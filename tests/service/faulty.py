"""Makes a process of TaskFlow's fail where a request says so: put beside it as ``sitecustomize``.

It is loaded by Python itself at the start, so that every entry point can be tested as it is.
"""

from __future__ import annotations

import h11

from taskflow.telemetry import log

FIELD = b"X-Fault: "


class OurFault(Exception):
    """What no code expects."""


def install() -> None:
    """Let connections of servers fail when they receive, read or send what asks for it."""
    log.PERIOD_SECONDS = 0.0  # each of the faults is to be seen
    receive, read, send = (
        h11.Connection.receive_data,
        h11.Connection.next_event,
        h11.Connection.send,
    )

    def faulty_receive(self, data):
        if self.our_role is h11.SERVER and FIELD in data:
            self.fault = data.partition(FIELD)[2].partition(b"\r\n")[0]
        fail(self, b"receive")
        receive(self, data)

    def faulty_read(self):
        fail(self, b"read")
        return read(self)

    def faulty_send(self, event):
        fail(self, b"send")
        fail(self, b"send " + type(event).__name__.lower().encode())
        return send(self, event)

    h11.Connection.receive_data = faulty_receive
    h11.Connection.next_event = faulty_read
    h11.Connection.send = faulty_send


def fail(connection: h11.Connection, where: bytes) -> None:
    wanted = getattr(connection, "fault", None)
    if wanted == where:
        raise OurFault(where)
    if wanted == b"group " + where:
        raise BaseExceptionGroup("several", [OurFault(where), ExceptionGroup("", [OSError()])])


if __name__ == "sitecustomize":
    install()
