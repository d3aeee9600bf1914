"""The worst responses of targets that are permitted: large or odd bodies, heads and redirects."""

from __future__ import annotations

import functools
import gzip

from tests.api.worst import members, repeated

MIB = 2**20
TEXT = b"text/plain; charset=utf-8"
GZIP = b"content-encoding: gzip\r\n"


def answer(
    body: bytes = b"a", media_type: bytes = TEXT, more: bytes = b"", status: bytes = b"200 OK"
) -> bytes:
    """A whole response, with more fields in its head."""
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n"
    return head % (status, media_type, len(body), more) + body


def in_charset(character: str, charset: str) -> bytes:
    """A mebibyte of this character."""
    coded = character.encode(charset)
    return answer(coded * (MIB // len(coded)), b"text/html; charset=" + charset.encode())


def fields(value: bytes, *, name: bytes = b"x-%d", count: int = 240) -> bytes:
    """Very many fields of a head."""
    return b"".join(name % number + b": " + value + b"\r\n" for number in range(count))


def moved(location: bytes) -> bytes:
    """A redirect."""
    return answer(more=b"location: " + location + b"\r\n", status=b"302 Found")


def chunks(body: bytes, size: int) -> bytes:
    """A response in chunks of this size."""
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n"


@functools.cache
def bodies() -> dict[str, bytes]:
    """The worst bodies, by name."""
    return {
        "members": answer(members(b"1", MIB - 8)),
        "numbers": answer(repeated(b"1", MIB - 8)),
        "lists": answer(repeated(b"[]", MIB - 8)),
        "objects": answer(repeated(b'{"a":1}', MIB - 8)),
        "shallow": answer(repeated(b"[" * 16 + b"]" * 16, MIB - 100)),
        "deep": answer(repeated(b"[" * 499 + b"]" * 499, MIB - 1000)),
        "too-deep": answer(repeated(b"[" * 600 + b"]" * 600, MIB - 1300)),
        "string": answer(b'"%b"' % (b"x" * (MIB - 2))),
        "quotes": answer(b'"%b"' % (rb"\"" * (MIB // 2 - 1))),
        "white-space": answer(b"[%b1]" % (b" " * (MIB - 3))),
        "escapes": answer(b"\x1b" * MIB),
        "binary": answer(b"\xff" * MIB, b"application/octet-stream"),
        "late-binary": answer(b"a" * (MIB - 1) + b"\0"),
        "gb18030": in_charset("\u0081", "gb18030"),
        "iso2022": in_charset("日", "iso2022_jp"),
        "utf-16": in_charset("é", "utf_16_le"),
        "bomb": answer(gzip.compress(b"a" * 20 * MIB), more=GZIP),
        "gzip-members": answer(gzip.compress(b"a" * 1000) * 1024, more=GZIP),
        "gzip-zeros": answer(gzip.compress(b"a") + b"\0" * MIB, more=GZIP),
        "small-chunks": chunks(b"a" * MIB, 64),
        "failed": answer(members(b"1", MIB - 8), status=b"500 Oh"),
        "failed-bomb": answer(gzip.compress(b"a" * 20 * MIB), more=GZIP, status=b"500 Oh"),
    }


@functools.cache
def heads() -> dict[str, bytes]:
    """The worst heads, and redirects, by name."""
    return {
        "many": answer(more=fields(b"v" * 240)),
        "cookies": answer(more=fields(b"v" * 200, name=b"set-cookie: a%d=")),
        "long-names": answer(more=fields(b"v", name=b"n" * 230 + b"-%d")),
        "question-marks": answer(more=b"x: " + b"?" * 64_000 + b"\r\n"),
        "credentials": answer(more=b"x: " + b"?sig&a@%40=" * 5_800 + b"\r\n"),
        "keys": answer(more=b"x: ?" + b"%73" * 21_000 + b"\r\n"),
        "parameters": answer(media_type=b"text/plain" + b"; " * 30_000),
        "codings": answer(more=b"content-encoding: " + b"gzip," * 12_000 + b"\r\n"),
        "dates": answer(more=b"retry-after: " + b"Mon, 01 Jan " * 5_000 + b"\r\n", status=b"503 A"),
        "spaces": moved(b"/" + b" a" * 28_000),
        "not-ascii": moved(b"/" + "é".encode() * 28_000),
        "dots": moved(b"/" + b"../" * 18_000 + b"many"),
        "labels": moved(b"http://" + b"a." * 28_000),
        "hop": moved(b"/hop?" + b"sig=a&" * 1_300),
    }
