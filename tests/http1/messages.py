"""Requests and responses in all sorts of forms, most of them nearly right."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

Made = Callable[[Random], bytes]


def mostly(usual: list[bytes], odd: list[bytes]) -> Made:
    """One of the usual ones, and now and then an odd one."""
    return lambda random: random.choice(usual if random.randrange(10) else odd)


METHODS = mostly(
    [b"GET", b"POST"],
    b"get HEAD CONNECT FOO PRI M-SEARCH SOURCE OPTIONS G@T".split(),
)
TARGETS = mostly(
    [b"/", b"/a?b=c#d", b"http://x/y", b'HTTP://[::1]:8/|"^', b"/<>{}`\\"],
    [
        *b"* x:80 a /\xff /a\x7f ?x //x h2c://x/ #x http:/x http://u@h/ /\x01".split(),
        *(b"http://a b", b"http://a@b@c/"),
    ],
)
VERSIONS = mostly([b"1.1"], b"1.0 0.9 2.0 1.2 3.0 1.10 1. x".split())
STATUSES = mostly(
    b"200 OK,200,200 ,204 No,304 Not,100 Go,103 Early,999 X".split(b","),
    b"000 X,99 X,099 X,2x0 X,1000 X,200\tOK,200  OK,101 X,200 a\0b,200 a\x0bb,200 a\x1b\xff".split(
        b","
    ),
)
FRAMINGS = [b"Content-Length", b"Transfer-Encoding"]
NAMES = mostly(
    [*FRAMINGS, *b"X Connection Expect Upgrade X_!#$% Proxy-Connection x:y".split()],
    [b"Host", b"X\0", b"\xffx", b"(x)", b"X Y", b"", b" X", b"\tX", b"Transfer-Encoding "],
)
SEPARATORS = mostly([b": ", b":", b":\t "], [b" : ", b"", b":  \t"])
VALUES = mostly(
    [
        *b"a,,5,05,chunked,Chunked,close,keep-alive,a\xff,a\tb,upgrade".split(b","),
        *(b"100-continue", b"a\r\n b", b" \r\n\tx", b"\r\n chunked"),
    ],
    [
        *b"+5,-1,0x5,5 ,gzip,identity,xchunked,h2c,a\0b,a\x01b,a\x7f,a\rb,a\x0bb,a\x0cb".split(
            b","
        ),
        *b"5, 5;5,6;close, x;chunked, chunked;gzip, chunked;a\n\tb".split(b";"),
        *(b"\x0bchunked", b"9" * 19, b"9" * 20, b"9" * 21, b"0" * 21),
    ],
)
LENGTHS = mostly([b"5"], [b"05", b"4", b"5, 5", b"5,6", b"+5", b"9" * 20, b""])
CODINGS = mostly([b"chunked"], [b"Chunked", b"gzip, chunked", b"chunked, chunked", b"gzip"])
BODIES = [
    b"",
    b"hello",
    b"hello world",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
    b"5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"5\r\nhelloX0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA: b\n\n",
    b"5;\x01\r\nhello\r\n0\r\n\r\n",
    b"z\r\n",
    b"0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"0\r\nX y\r\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"00005\r\nhello\r\n000\r\n\r\n",
    b"5\r\nhel",
    b"0\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b"5\t;\r\nhello\r\n0\r\n\r\n",
]
LINE_ENDS = mostly([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b"\n\r\n"])
OTHER_BYTES = b"\0\x01\t\n\x0b\x0c\r ,:0\x7f\x80\xff"


def requests(random: Random) -> bytes:
    """One or two requests."""
    return damaged(
        b"".join(
            head(random, request_line(random)) + random.choice(BODIES)
            for _ in range(random.randint(1, 2))
        ),
        random,
    )


def responses(random: Random) -> bytes:
    """A response, perhaps behind the head of another one."""
    heads = [head(random, status_line(random)) for _ in range(random.randint(1, 2))]
    return damaged(b"".join([*heads, random.choice(BODIES)]), random)


def request_line(random: Random) -> bytes:
    return b"%b %b HTTP/%b" % (METHODS(random), TARGETS(random), VERSIONS(random))


def status_line(random: Random) -> bytes:
    return b"HTTP/%b %b" % (VERSIONS(random), STATUSES(random))


def head(random: Random, first: bytes) -> bytes:
    """A head: in most of them all lines end alike, and one header tells the end of the body."""
    common = LINE_ENDS(random)
    end: Made = (lambda _: common) if random.randrange(4) else LINE_ENDS
    parts = [first, end(random)]
    if random.randrange(10):
        parts += [b"Host: x", end(random)]
    framing = random.choice([None, *FRAMINGS])
    if framing:
        value = (LENGTHS if framing is FRAMINGS[0] else CODINGS)(random)
        parts += [framing, SEPARATORS(random), value, end(random)]
    for _ in range(random.randint(0, 2)):
        parts += [NAMES(random), SEPARATORS(random), VALUES(random), end(random)]
    return b"".join([*parts, end(random)])


def damaged(data: bytes, random: Random) -> bytes:
    """In some of them a byte is another one, or one more."""
    if random.randrange(6):
        return data
    place = random.randrange(len(data))
    other = bytes([random.choice(OTHER_BYTES)])
    return data[:place] + other + data[place + random.randint(0, 1) :]


def pieces_of(random: Random, data: bytes) -> list[bytes]:
    """The bytes as they may arrive: in up to five pieces."""
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, 4)))
    places = [0, *cuts, len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    return [piece for piece in pieces if piece]
