"""Reads tasks from the lines of a file or a pipe, one batch per read."""

from __future__ import annotations

import codecs
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import trio

from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.client.options import Options, Submission
from taskflow.model.untrusted_text import BYTE_ORDER_MARK, foreign_format_of

CHUNK_BYTES: Final = 128 * 2**10
MAX_LINE_BYTES: Final = 64 * 2**20
"""The maximum size of a task that the service can be configured to accept."""

STANDARD_INPUT: Final = "-"

_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CONTROL_CHARACTER: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Line(NamedTuple):
    """A line that is neither empty nor a comment.

    Attributes:
        number: Its number in the file, from 1.
        text: Its content, stripped of white space.
    """

    number: int
    text: bytes


class Batch(NamedTuple):
    """The lines that one read returned.

    Attributes:
        lines: The lines to submit.
        bytes_read: The number of bytes read so far.
    """

    lines: list[Line]
    bytes_read: int


class LineReader:
    """Reads the lines of a file or of standard input as soon as they are available.

    Args:
        path: The file, or ``-``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = 0 if path == STANDARD_INPUT else None
        self._is_at_end = False
        self._bytes_read = 0
        self._number = 0
        self._rest = b""
        self._name = "standard input" if path == STANDARD_INPUT else path
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    @property
    def size(self) -> int | None:
        """The size of the input in bytes; ``None`` if it is not a regular file."""
        if self._path == STANDARD_INPUT or not Path(self._path).is_file():
            return None
        return Path(self._path).stat().st_size

    async def next_batch(self) -> Batch | None:
        """Return the next lines; ``None`` at the end.

        Raises:
            Failure: The input cannot be read, is not UTF-8 text, or has a line that is too long.
        """
        if self._is_at_end:
            return None
        chunk = await self._next_chunk()
        is_first, self._is_at_end = self._bytes_read == 0, not chunk
        self._bytes_read += len(chunk)
        if is_first:
            self._check_format(chunk)
            chunk = chunk.removeprefix(BYTE_ORDER_MARK)
        self._check_text(chunk)
        return Batch(self._lines(b"\n" if self._is_at_end else chunk), self._bytes_read)

    async def _next_chunk(self) -> bytes:
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY)
            return await _read(self._file)
        except OSError as error:
            raise Failure(
                f"{self._name} cannot be read: {error.strerror}", ExitStatus.USAGE
            ) from None

    def _check_format(self, beginning: bytes) -> None:
        if (kind := foreign_format_of(beginning)) is None:
            return
        advice = "save it as UTF-8 text first, with a URL or a JSON object per line"
        if kind.remedy:
            file = "" if self._path == STANDARD_INPUT else f" {shlex.quote(self._path)}"
            advice = f"convert it first: {kind.remedy}{file} | taskflow submit -"
        raise Failure(f"{self._name} is {kind.name}; {advice}", ExitStatus.USAGE)

    def _check_text(self, chunk: bytes) -> None:
        """Reject text that is not UTF-8 before any line of the chunk is submitted."""
        try:
            self._utf8.decode(chunk, final=self._is_at_end)
            place = chunk.find(b"\x00")
        except UnicodeDecodeError as error:
            chunk, place = bytes(error.object), error.start
        if place >= 0:
            number = self._number + 1 + chunk.count(b"\n", 0, place)
            raise Failure(
                f"{self._name}, line {number}: not UTF-8 text (byte 0x{chunk[place]:02x}); "
                "convert the file first, for example with iconv -f WINDOWS-1252 -t UTF-8",
                ExitStatus.USAGE,
            )

    def _lines(self, chunk: bytes) -> list[Line]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise Failure(
                f"{self._name}, line {self._number + len(whole) + 1}: the line is too long",
                ExitStatus.USAGE,
            )
        found = []
        for line in whole:
            self._number += 1
            if (text := line.strip()) and not text.startswith(b"#"):
                found.append(Line(self._number, text))
        return found


def submission_of(line: Line, options: Options) -> Submission:
    """Return the task of a line: a URL, or a JSON object with a payload.

    Raises:
        ValueError: The line is neither.
    """
    if line.text.startswith(b"{"):
        return Submission.from_json(line.text, **options)
    if _CONTROL_CHARACTER.search(line.text):
        raise ValueError("the line contains control characters; send a URL or a JSON object")
    return Submission(line.text.decode(), **options)


async def _read(file: int) -> bytes:
    # In a thread that Ctrl+C abandons: a read from a terminal cannot be canceled.
    data: bytes = await trio.to_thread.run_sync(os.read, file, CHUNK_BYTES, abandon_on_cancel=True)
    return data


def json_fields_of(path: str) -> dict[str, msgspec.Raw]:
    """Read a JSON object; no error repeats a value of it."""
    is_standard_input = path == STANDARD_INPUT
    place = "standard input" if is_standard_input else path
    try:
        text = sys.stdin.buffer.read() if is_standard_input else Path(path).read_bytes()
        return _FIELDS.decode(text)
    except OSError as error:
        raise Failure(f"{place} cannot be read: {error.strerror}", ExitStatus.USAGE) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failure(f"{place} contains no JSON object", ExitStatus.USAGE) from None
