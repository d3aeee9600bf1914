"""A target that means harm in every way that we know of, from one Trio server on the loopback.

``ATTACKS`` is the table; ``HostileTarget`` serves all of it. As a program,
``python -m tests.fetch.hostile``, it writes a line of JSON for each attack and serves until its
standard input ends.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import gzip
import itertools
import json
import socket
import ssl
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import trio
import trustme

from taskflow.model.outcome import ErrorType

DRIBBLE_SECONDS = 1.0
FLOOD_BYTES = 65_536
BOMB_BYTES = 2**24  # 16 times the maximum size of a body

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED_ERROR = b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIP_CHUNKED = OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"Content-Length: 5\r\n\r\nhello"

Play = Callable[[trio.SocketStream], Awaitable[None]]


class Attack(NamedTuple):
    """One way in which a target does harm.

    Attributes:
        name: Also its path.
        ends_as: The error type of the task; ``None`` if it ends well all the same.
        play: What is done once a request has come.
        lasts: Whether nothing but the bound on time ends it.
        door: Where it waits: the name of a port of the target.
    """

    name: str
    ends_as: ErrorType | None
    play: Play
    lasts: bool = False
    door: str = "plain"


def says(*parts: bytes) -> Play:
    """Send this and then hold the connection open, in silence."""

    async def play(stream):
        for part in parts:
            await stream.send_all(part)
        await trio.sleep_forever()

    return play


def says_and_closes(data: bytes = b"") -> Play:
    """Send this and close."""

    async def play(stream):
        if data:
            await stream.send_all(data)

    return play


def says_and_resets(data: bytes = b"") -> Play:
    """Send this, give it time to arrive, and reset the connection."""

    async def play(stream):
        if data:
            await stream.send_all(data)
            await trio.sleep(0.05)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return play


def dribbles(data: bytes, before: bytes = b"") -> Play:
    """Send this byte by byte, one a second."""

    async def play(stream):
        if before:
            await stream.send_all(before)
        for byte in data:
            await stream.send_all(bytes([byte]))
            await trio.sleep(DRIBBLE_SECONDS)

    return play


def floods(before: bytes, again: bytes) -> Play:
    """Send the one, and the other over and over for as long as it is taken."""
    flood = again * max(1, FLOOD_BYTES // len(again))

    async def play(stream):
        await stream.send_all(before)
        while True:
            await stream.send_all(flood)

    return play


def repeats(again: bytes, seconds: float) -> Play:
    """Send this over and over with pauses."""

    async def play(stream):
        while True:
            await stream.send_all(again)
            await trio.sleep(seconds)

    return play


def redirects(seconds: float, location: bytes) -> Play:
    """Send somebody elsewhere, after a while."""

    async def play(stream):
        await trio.sleep(seconds)
        await stream.send_all(
            b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
        )

    return play


def framed(body: bytes, *fields: bytes) -> bytes:
    """A whole answer with a true length."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return OK + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def zeros_compressed() -> bytes:
    """A part of a deflate stream that stands for mebibytes of zeros, and can be repeated."""
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return stream.compress(b"\0" * 2**22) + stream.flush(zlib.Z_FULL_FLUSH)


GZIP_HEAD = gzip.compress(b"", mtime=0)[:10]
GZIP_NAMED_HEAD = b"\x1f\x8b\x08\x08" + b"\0" * 6  # a file name follows, up to a NUL
EMPTY_MEMBER = gzip.compress(b"", mtime=0)
NESTED = list(itertools.accumulate([b"[1]", *[gzip.compress] * 5], lambda data, pack: pack(data)))
NESTED_BOMB = list(
    itertools.accumulate([b"\0" * BOMB_BYTES, *[gzip.compress] * 5], lambda data, pack: pack(data))
)
NESTED_CUT = gzip.compress(NESTED[1][:-1])
EXTENDED_CHUNK = b"64;" + b"x" * 4000 + b"\r\n" + b"y" * 100 + b"\r\n"
HUGE = b"9" * 5000
MANY_OBJECTS = b"[" + b'{"a":[]},' * 116_000 + b"1]"

TIMEOUT, CONNECT, TLS = ErrorType.TIMEOUT, ErrorType.CONNECT, ErrorType.TLS
PROTOCOL, TOO_LARGE = ErrorType.PROTOCOL, ErrorType.TOO_LARGE
NOTHING = says()

ATTACKS = [
    # Slowness.
    Attack("silence", TIMEOUT, NOTHING, lasts=True),
    Attack("slow-head", TIMEOUT, dribbles(OK + BODY), lasts=True),
    Attack(
        "slow-body", TIMEOUT, dribbles(b"x" * 999, OK + b"Content-Length: 999\r\n\r\n"), lasts=True
    ),
    Attack("slow-chunks", TIMEOUT, dribbles(b"1\r\nx\r\n" * 999, CHUNKED), lasts=True),
    Attack("slow-1xx", TIMEOUT, repeats(b"HTTP/1.1 102 Wait\r\n\r\n", 1.0), lasts=True),
    Attack("slow-redirects", TIMEOUT, redirects(1.0, b"/slow-redirects"), lasts=True),
    # Heads.
    Attack("endless-head", PROTOCOL, floods(OK, b"X: y\r\n")),
    Attack("endless-field", PROTOCOL, floods(OK + b"X: ", b"y")),
    Attack("endless-fold", PROTOCOL, floods(OK + b"X: y\r\n", b" z\r\n")),
    Attack("endless-phrase", PROTOCOL, floods(b"HTTP/1.1 200 ", b"K")),
    Attack("many-fields", PROTOCOL, says(OK + b"a:\r\n" * 15_000 + BODY)),
    Attack("many-cookies", PROTOCOL, says(OK + b"Set-Cookie: a=b\r\n" * 3_000 + BODY)),
    Attack("blank-field", PROTOCOL, says(OK + b"X:" + b" " * 65_000 + b"\0\r\n" + BODY)),
    Attack("blank-trailer", PROTOCOL, says(CHUNKED + b"0\r\nX:" + b" " * 8_000 + b"\x0b\r\n\r\n")),
    Attack("blank-chunk", PROTOCOL, says(CHUNKED + b"1;" + b" " * 8_000 + b"\n\r\nx\r\n")),
    Attack("large-field", PROTOCOL, says(OK + b"X: " + b"y" * 2**20 + b"\r\n" + BODY)),
    Attack("endless-1xx", PROTOCOL, floods(b"", b"HTTP/1.1 103 Early\r\n\r\n")),
    Attack(
        "large-1xx", PROTOCOL, floods(b"", b"HTTP/1.1 103 E\r\nX: " + b"y" * 16_000 + b"\r\n\r\n")
    ),
    Attack("unasked-101", PROTOCOL, says(b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n")),
    Attack("status-zero", PROTOCOL, says(b"HTTP/1.1 000 X\r\n" + BODY)),
    Attack("nul-in-field", PROTOCOL, says(OK + b"X: a\0b\r\n" + BODY)),
    Attack("ssh", PROTOCOL, says(b"SSH-2.0-OpenSSH_9.6\r\n")),
    Attack("noise", PROTOCOL, floods(b"", bytes(range(256)))),
    Attack("blank-lines", PROTOCOL, floods(b"", b"\r\n")),
    # Bodies.
    Attack("endless-body", TOO_LARGE, floods(OK + b"\r\n", b"x")),
    Attack("endless-chunks", TOO_LARGE, floods(CHUNKED, chunk(b"x" * 60_000))),
    Attack("endless-small-chunks", PROTOCOL, floods(CHUNKED, chunk(b"x"))),
    Attack("extended-chunks", TOO_LARGE, floods(CHUNKED, EXTENDED_CHUNK)),
    Attack("endless-extension", PROTOCOL, floods(CHUNKED + b"1;", b"x")),
    Attack("endless-trailers", PROTOCOL, floods(CHUNKED + b"0\r\n", b"X: y\r\n")),
    Attack("many-trailers", PROTOCOL, says(CHUNKED + b"0\r\n" + b"a:\r\n" * 15_000 + b"\r\n")),
    Attack("huge-chunk", TOO_LARGE, floods(CHUNKED + b"f" * 16 + b"\r\n", b"x")),
    Attack("huger-chunk", PROTOCOL, says(CHUNKED + b"f" * 40 + b"\r\n")),
    Attack("negative-chunk", PROTOCOL, says(CHUNKED + b"-1\r\nx\r\n0\r\n\r\n")),
    Attack("chunk-garbage", PROTOCOL, says(CHUNKED + b"xyz\r\n")),
    Attack("chunk-without-end", PROTOCOL, says(CHUNKED + b"2\r\nabcd\r\n0\r\n\r\n")),
    Attack("other-framing", PROTOCOL, says(OK + b"Transfer-Encoding: gzip\r\n\r\nx")),
    Attack("endless-error", ErrorType.HTTP_STATUS, floods(b"HTTP/1.1 500 X\r\n\r\n", b"x")),
    Attack("error-in-small-chunks", ErrorType.HTTP_STATUS, floods(CHUNKED_ERROR, chunk(b"x"))),
    Attack("many-objects", None, says_and_closes(OK + b"\r\n" + MANY_OBJECTS)),
    Attack("deep-json", None, says_and_closes(OK + b"\r\n" + b"[" * 2**20)),
    # Content-Length.
    Attack("length-too-long", PROTOCOL, says_and_closes(OK + BODY[:-2])),
    Attack("length-too-long-held", TIMEOUT, says(OK + BODY[:-2]), lasts=True),
    Attack("length-too-short", None, says(OK + BODY + b" and more")),
    Attack("length-twice", PROTOCOL, says(OK + b"Content-Length: 4\r\n" + BODY)),
    Attack("length-listed", PROTOCOL, says(OK + b"Content-Length: 5, 6\r\n\r\nhello!")),
    Attack("length-negative", PROTOCOL, says(OK + b"Content-Length: -5\r\n\r\nhello")),
    Attack("length-signed", PROTOCOL, says(OK + b"Content-Length: +5\r\n\r\nhello")),
    Attack("length-hex", PROTOCOL, says(OK + b"Content-Length: 0x5\r\n\r\nhello")),
    Attack("length-large", TOO_LARGE, says(OK + b"Content-Length: 99999999999999\r\n\r\nx")),
    Attack("length-huge", PROTOCOL, says(OK + b"Content-Length: " + HUGE + b"\r\n\r\nx")),
    # Content codings.
    Attack(
        "gzip-bomb",
        TOO_LARGE,
        says(framed(NESTED_BOMB[1], b"Content-Encoding: gzip")),
    ),
    Attack(
        "deflate-bomb",
        TOO_LARGE,
        says(framed(zlib.compress(b"\0" * BOMB_BYTES), b"Content-Encoding: deflate")),
    ),
    Attack(
        "endless-gzip",
        TOO_LARGE,
        floods(GZIP_CHUNKED + chunk(GZIP_HEAD), chunk(zeros_compressed())),
    ),
    Attack(
        "gzip-without-yield",
        TOO_LARGE,
        floods(GZIP_CHUNKED + chunk(GZIP_NAMED_HEAD), chunk(b"x" * 60_000)),
    ),
    Attack("gzip-of-nothings", PROTOCOL, floods(GZIP_CHUNKED, chunk(EMPTY_MEMBER * 3_000))),
    Attack("gzip-garbage", PROTOCOL, says(framed(b"not gzip", b"Content-Encoding: gzip"))),
    Attack("gzip-cut-short", PROTOCOL, says(framed(EMPTY_MEMBER[:-1], b"Content-Encoding: gzip"))),
    Attack("nested-coding", None, says(framed(NESTED[2], b"Content-Encoding: gzip, gzip"))),
    Attack("nested-coding-apart", None, says(framed(NESTED[2], *[b"Content-Encoding: gzip"] * 2))),
    Attack(
        "nested-bomb", TOO_LARGE, says(framed(NESTED_BOMB[4], *[b"Content-Encoding: gzip"] * 4))
    ),
    Attack(
        "nested-bomb-within",
        TOO_LARGE,
        says(framed(NESTED_BOMB[1], b"Content-Encoding: gzip,gzip")),
    ),
    Attack("nested-too-deep", None, says(framed(NESTED_BOMB[5], *[b"Content-Encoding: gzip"] * 5))),
    Attack("nested-cut-short", PROTOCOL, says(framed(NESTED_CUT, b"Content-Encoding: gzip,gzip"))),
    Attack("unknown-coding", None, says(framed(b"x", b"Content-Encoding: br"))),
    Attack("gzip-and-junk", None, says(framed(NESTED[1] + b"junk", b"Content-Encoding: gzip"))),
    Attack(
        "gzip-and-endless-junk", TOO_LARGE, floods(GZIP_CHUNKED + chunk(NESTED[1]), chunk(HUGE))
    ),
    # Early ends.
    Attack("close-before-head", CONNECT, says_and_closes()),
    Attack("reset-before-head", CONNECT, says_and_resets()),
    Attack("close-within-head", PROTOCOL, says_and_closes(OK + b"Content-Le")),
    Attack("reset-within-head", PROTOCOL, says_and_resets(OK + b"Content-Le")),
    Attack("close-within-body", PROTOCOL, says_and_closes(OK + BODY[:-2])),
    Attack("reset-within-body", PROTOCOL, says_and_resets(OK + BODY[:-2])),
    Attack("close-within-chunk", PROTOCOL, says_and_closes(CHUNKED + b"5\r\nab")),
    # Redirects.
    Attack("endless-redirects", ErrorType.TOO_MANY_REDIRECTS, redirects(0, b"/endless-redirects")),
    Attack("long-redirect", ErrorType.INVALID_URL, redirects(0, b"/" + b"x" * 60_000)),
    # TLS, and before.
    Attack("certificate-of-another", TLS, NOTHING, door="of-another"),
    Attack("certificate-expired", TLS, NOTHING, door="expired"),
    Attack("certificate-self-signed", TLS, NOTHING, door="self-signed"),
    Attack("tls-silence", TIMEOUT, NOTHING, lasts=True, door="mute"),
    Attack("tls-cut-off", TLS, NOTHING, door="shut"),
    Attack("tls-noise", TLS, NOTHING, door="noisy"),
    Attack("no-answer-to-connect", TIMEOUT, NOTHING, lasts=True, door="full"),
]

_PLAYS = {attack.name: attack.play for attack in ATTACKS}
_PLAYS["good"] = says_and_closes(OK + BODY)
_SECURE = {"of-another", "expired", "self-signed", "mute", "shut", "noisy"}


class HostileTarget:
    """Serves every attack, and ``/good``.

    Attributes:
        authority: Vouches for what is wrong in another way than by being unknown.
        requests: How many were made.
    """

    def __init__(self) -> None:
        self.authority = _authority()
        self.requests = 0
        self._ports: dict[str, int] = {}

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        with full_port() as self._ports["full"]:
            async with trio.open_nursery() as nursery:
                doors = {
                    "plain": self._serve,
                    **{door: self._tls(context) for door, context in _tls_contexts().items()},
                    "mute": self._bare(NOTHING),
                    "shut": self._bare(says_and_closes()),
                    "noisy": self._bare(floods(b"", b"\x16\x03\x01 noise")),
                }
                for door, handler in doors.items():
                    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=500)
                    self._ports[door] = listeners[0].socket.getsockname()[1]
                    nursery.start_soon(trio.serve_listeners, handler, listeners)
                task_status.started(self)

    def url(self, attack: Attack) -> str:
        """Where the attack waits for somebody to come."""
        scheme = "https" if attack.door in _SECURE else "http"
        return f"{scheme}://127.0.0.1:{self._ports[attack.door]}/{attack.name}"

    @property
    def good_url(self) -> str:
        """Where nothing is wrong."""
        return f"http://127.0.0.1:{self._ports['plain']}/good"

    async def _serve(self, stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                while path := await _requested_path(stream):
                    self.requests += 1
                    await _until_left(stream, _PLAYS[path])
                    if "redirect" not in path:
                        return

    def _tls(self, context: ssl.SSLContext) -> Play:
        async def serve(stream: trio.SocketStream) -> None:
            with contextlib.suppress(trio.BrokenResourceError, ssl.SSLError):
                async with stream:
                    secured = trio.SSLStream(stream, context, server_side=True)
                    await secured.do_handshake()
                    await secured.receive_some()

        return serve

    def _bare(self, play: Play) -> Play:
        async def serve(stream: trio.SocketStream) -> None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async with stream:
                    await stream.receive_some()
                    await _until_left(stream, play)

        return serve


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def _tls_contexts() -> dict[str, ssl.SSLContext]:
    """What each door presents: made once, as keys take more CPU time than most attacks."""
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificates = {
        "of-another": _authority().issue_cert("another.example"),
        "expired": _authority().issue_cert("127.0.0.1", not_after=past),
        "self-signed": trustme.CA().issue_cert("127.0.0.1"),
    }
    contexts = {}
    for door, certificate in certificates.items():
        contexts[door] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(contexts[door])
    return contexts


async def _requested_path(stream: trio.SocketStream) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await stream.receive_some()
        if not data:
            return ""
        head += data
    return head.split(b" ", 2)[1].decode().removeprefix("/")


async def _until_left(stream: trio.SocketStream, play: Play) -> None:
    """Play, but no longer than there is somebody to play with."""

    async def leave() -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(stream.socket)  # nothing more is asked: it is the end
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        with contextlib.suppress(trio.BrokenResourceError):
            await play(stream)
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """A port that no connection is made to any more: what may wait to be accepted is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def main() -> None:
    """Serve, and say where, until standard input ends."""
    async with trio.open_nursery() as nursery:
        target = await nursery.start(HostileTarget().run)
        reported = [
            {"name": attack.name, "url": target.url(attack), "ends_as": attack.ends_as}
            for attack in ATTACKS
        ]
        print(json.dumps({"good": target.good_url, "attacks": reported}), flush=True)
        async with trio.lowlevel.FdStream(0) as parent:
            while await parent.receive_some():
                pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
