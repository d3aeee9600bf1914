"""A server that sends scripted bytes, a resolver with a table, and assertions on outcomes."""

from __future__ import annotations

import enum
import ipaddress
import socket
import ssl
import struct
from collections.abc import Sequence

import trio
import trustme

from taskflow.fetch.interface import Fetcher, FetchRequest
from taskflow.fetch.resolver import Resolver
from taskflow.model.outcome import Failed, Fetched, Outcome

PATIENCE_SECONDS = 20


class Then(enum.Enum):
    """What a script does where it sends nothing."""

    CLOSE = enum.auto()
    """Close the connection at once, without waiting for a request."""
    DROP = enum.auto()
    """Take a request and close the connection."""
    RESET = enum.auto()
    """Take a request and reset the connection."""
    HANG = enum.auto()
    """Take a request and say nothing for ever."""


class Unasked(bytes):
    """Sent without waiting for a request."""


Step = bytes | Then


def pem_of(authority: trustme.CA) -> str:
    """Return the certificate of an authority as ``new_ssl_context`` takes it."""
    return authority.cert_pem.bytes().decode()


class ScriptedServer:
    """Each connection gets the next script; each bytes in it answers one request.

    After its last step a connection is left open until the client closes it.

    Attributes:
        requests: What was asked, as it came over the wire, in order.
        connections: How many were accepted.
        closed: How many ended, by whomever.
        hanging: Set once a request is left without an answer.
    """

    def __init__(self, scripts: Sequence[Sequence[Step]], ssl_context=None):
        self._scripts = list(scripts)
        self._ssl_context = ssl_context
        self.port = 0
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = 0
        self.hanging = trio.Event()
        self.all_closed = trio.Event()

    async def run(self, host="127.0.0.1", *, task_status=trio.TASK_STATUS_IGNORED):
        (listener,) = await trio.open_tcp_listeners(0, host=host)
        self.port = listener.socket.getsockname()[1]
        task_status.started(self)
        await trio.serve_listeners(self._serve, [listener])

    @property
    def heads(self) -> list[str]:
        """The request heads, for asserting on."""
        return [request.partition(b"\r\n\r\n")[0].decode("latin-1") for request in self.requests]

    async def _serve(self, stream):
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        if self._ssl_context:
            stream = trio.SSLStream(
                stream, self._ssl_context, server_side=True, https_compatible=True
            )
        try:
            await self._play(stream, script)
        except (trio.BrokenResourceError, ssl.SSLError):
            pass
        finally:
            self.closed += 1
            if self.closed == self.connections:
                self.all_closed.set()
            await trio.aclose_forcefully(stream)

    async def _play(self, stream, script):
        for step in script:
            if step is Then.CLOSE:
                return
            if isinstance(step, Unasked):
                await stream.send_all(step)
                continue
            request = await self._receive_request(stream)
            if not request:
                return
            self.requests.append(request)
            if step is Then.DROP:
                return
            if step is Then.RESET:
                linger = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            if step is Then.HANG:
                self.hanging.set()
                continue
            await stream.send_all(step)
        while await stream.receive_some():
            pass

    async def _receive_request(self, stream) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            data = await stream.receive_some()
            if not data:
                return b""
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                while len(body) < int(line.partition(b":")[2]):
                    body += await stream.receive_some()
        return head + b"\r\n\r\n" + body


async def fetch_with(fetcher: Fetcher, url: str, **kwargs) -> Outcome:
    """Fetch a URL, and fail the test if that does not come to an end."""
    with trio.fail_after(PATIENCE_SECONDS):
        return await fetcher.fetch(FetchRequest(url, **kwargs))


def answer(body: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    """A whole answer with a Content-Length."""
    head = "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


class FakeResolver(Resolver):
    """Answers from a table; other names do not exist."""

    def __init__(self, table: dict[str, Sequence[str]]):
        self.table = table
        self.asked: list[str] = []

    async def resolve(self, name):
        self.asked.append(name)
        await trio.lowlevel.checkpoint()
        if name not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return tuple(ipaddress.ip_address(text) for text in self.table[name])


def response_of(outcome):
    """The response, if it was fetched."""
    assert isinstance(outcome, Fetched), outcome
    return outcome.response


def is_failure(outcome, error_type, *words):
    """Whether it failed like that, with all these words in the error."""
    assert isinstance(outcome, Failed), outcome
    assert outcome.error_type is error_type, outcome
    for word in words:
        assert word in outcome.error, outcome
    return True
