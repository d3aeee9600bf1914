"""Tasks as they stand in a file or come through a pipe: read as they come, a batch at a time."""

from __future__ import annotations

import codecs
import os
import re
import shlex
from pathlib import Path
from typing import Final, NamedTuple

import trio

from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.client.options import Options, Submission
from taskflow.model.untrusted_text import BYTE_ORDER_MARK, foreign_format_of

CHUNK_BYTES: Final = 128 * 2**10
LONGEST_LINE_BYTES: Final = 64 * 2**20
"""As long as the service takes at most."""

STANDARD_INPUT: Final = "-"

_CONTROL_CHARACTER: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Line(NamedTuple):
    """A line that says something.

    Attributes:
        number: Which one it is, from 1.
        text: What it says, without white space around.
    """

    number: int
    text: bytes


class Batch(NamedTuple):
    """The lines that came together.

    Attributes:
        lines: Those that say something.
        bytes_read: How much has been read in all.
    """

    lines: list[Line]
    bytes_read: int


class LineReader:
    """Lines of a file or of standard input, by what a read gives: who is slow is not waited for.

    Args:
        path: The file, or ``-``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = 0 if path == STANDARD_INPUT else None
        self._is_over = False
        self._bytes_read = 0
        self._number = 0
        self._rest = b""
        self._name = "standard input" if path == STANDARD_INPUT else path
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    @property
    def size(self) -> int | None:
        """How many bytes there are to be read, where that is known."""
        if self._path == STANDARD_INPUT or not Path(self._path).is_file():
            return None
        return Path(self._path).stat().st_size

    async def next_batch(self) -> Batch | None:
        """What came next; ``None`` at the end.

        Raises:
            Failure: It cannot be read, is not UTF-8 text, or a line has no end.
        """
        if self._is_over:
            return None
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY)
            chunk = await _read(self._file)
        except OSError as error:
            raise Failure(
                f"{self._name} cannot be read: {error.strerror}", ExitStatus.USAGE
            ) from None
        is_first, self._is_over = self._bytes_read == 0, not chunk
        self._bytes_read += len(chunk)
        if is_first:
            self._check_format(chunk)
            chunk = chunk.removeprefix(BYTE_ORDER_MARK)
        self._check_text(chunk)
        return Batch(self._lines(b"\n" if self._is_over else chunk), self._bytes_read)

    def _check_format(self, beginning: bytes) -> None:
        if (kind := foreign_format_of(beginning)) is None:
            return
        advice = "save it as UTF-8 text first, a URL or a JSON object a line"
        if kind.remedy:
            file = "" if self._path == STANDARD_INPUT else f" {shlex.quote(self._path)}"
            advice = f"convert it first: {kind.remedy}{file} | taskflow submit -"
        raise Failure(f"{self._name} is {kind.name}; {advice}", ExitStatus.USAGE)

    def _check_text(self, chunk: bytes) -> None:
        """Reject what is not UTF-8 before any line of the chunk is sent."""
        try:
            self._utf8.decode(chunk, final=self._is_over)
            place = chunk.find(b"\x00")
        except UnicodeDecodeError as error:
            chunk, place = bytes(error.object), error.start
        if place >= 0:
            number = self._number + 1 + chunk.count(b"\n", 0, place)
            raise Failure(
                f"{self._name}, line {number}: this is not UTF-8 text (byte 0x{chunk[place]:02x}); "
                "convert the file to UTF-8 first, such as by iconv -f WINDOWS-1252 -t UTF-8",
                ExitStatus.USAGE,
            )

    def _lines(self, chunk: bytes) -> list[Line]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            raise Failure(
                f"{self._name}, line {self._number + len(whole) + 1}: this line is too long",
                ExitStatus.USAGE,
            )
        found = []
        for text in whole:
            self._number += 1
            if (said := text.strip()) and not said.startswith(b"#"):
                found.append(Line(self._number, said))
        return found


def submission_of(line: Line, options: Options) -> Submission:
    """The task of a line: a URL, or a JSON object with a payload.

    Raises:
        ValueError: It is none.
    """
    if line.text.startswith(b"{"):
        return Submission.from_json(line.text, **options)
    if _CONTROL_CHARACTER.search(line.text):
        raise ValueError("this has control characters in it, and is no URL or JSON object")
    return Submission(line.text.decode(), **options)


async def _read(file: int) -> bytes:
    # In a thread that is left behind by Ctrl+C: nothing ends a read of a terminal.
    data: bytes = await trio.to_thread.run_sync(os.read, file, CHUNK_BYTES, abandon_on_cancel=True)
    return data
