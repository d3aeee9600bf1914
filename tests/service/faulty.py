"""Makes a process of TaskFlow's fail where a request says so: put beside it as ``sitecustomize``.

It is loaded by Python itself at the start, so that every entry point can be tested as it is.
"""

from __future__ import annotations

import contextvars

from taskflow.http1.readers import RequestReader
from taskflow.http1.writing import ResponseWriter
from taskflow.telemetry import log

FIELD = b"X-Fault: "

# Set by the task that reads a connection; the tasks that it starts for requests inherit it.
fault = contextvars.ContextVar("fault", default=b"")


class OurFault(Exception):
    """What no code expects."""


def install() -> None:
    """Let connections of servers fail when they receive, read or send what asks for it."""
    log.PERIOD_SECONDS = 0.0  # each of the faults is to be seen
    receive = RequestReader.feed

    def faulty_receive(self, data):
        if FIELD in data:
            fault.set(data.partition(FIELD)[2].partition(b"\r\n")[0])
        fail(b"receive")
        receive(self, data)

    RequestReader.feed = faulty_receive
    make_faulty(RequestReader, "next_event", b"read")
    make_faulty(ResponseWriter, "head", b"send", b"send response")
    make_faulty(ResponseWriter, "data", b"send", b"send data")
    make_faulty(ResponseWriter, "end", b"send", b"send endofmessage")


def make_faulty(owner: type, name: str, *places: bytes) -> None:
    method = getattr(owner, name)

    def faulty(self, *args):
        for where in places:
            fail(where)
        return method(self, *args)

    setattr(owner, name, faulty)


def fail(where: bytes) -> None:
    wanted = fault.get()
    if wanted == where:
        raise OurFault(where)
    if wanted == b"group " + where:
        raise BaseExceptionGroup("several", [OurFault(where), ExceptionGroup("", [OSError()])])


if __name__ == "sitecustomize":
    install()
