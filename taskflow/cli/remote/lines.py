"""Tasks as they stand in a file or come through a pipe: read as they come, a batch at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import trio

from taskflow.cli.ending import ExitStatus, Failure
from taskflow.client.options import Options, Submission

CHUNK_BYTES: Final = 128 * 2**10
LONGEST_LINE_BYTES: Final = 64 * 2**20
"""As long as the service takes at most."""

STANDARD_INPUT: Final = "-"


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

    @property
    def size(self) -> int | None:
        """How many bytes there are to be read, where that is known."""
        if self._path == STANDARD_INPUT or not Path(self._path).is_file():
            return None
        return Path(self._path).stat().st_size

    async def next_batch(self) -> Batch | None:
        """What came next; ``None`` at the end.

        Raises:
            Failure: It cannot be read, or a line has no end.
        """
        if self._is_over:
            return None
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY)
            chunk = await _read(self._file)
        except OSError as error:
            raise Failure(
                f"{self._path} cannot be read: {error.strerror}", ExitStatus.USAGE
            ) from None
        self._bytes_read += len(chunk)
        self._is_over = not chunk
        return Batch(self._lines(chunk or b"\n"), self._bytes_read)

    def _lines(self, chunk: bytes) -> list[Line]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            raise Failure(
                f"{self._path}, line {self._number + len(whole) + 1}: this line is too long",
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
    return Submission(line.text.decode(), **options)


async def _read(file: int) -> bytes:
    # In a thread that is left behind by Ctrl+C: nothing ends a read of a terminal.
    data: bytes = await trio.to_thread.run_sync(os.read, file, CHUNK_BYTES, abandon_on_cancel=True)
    return data
