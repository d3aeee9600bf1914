"""Standard streams that were closed when the process started, or that must not be used again."""

from __future__ import annotations

import os
import sys
from typing import Final

_STREAMS: Final = (
    ("stdin", "r", os.O_WRONLY),  # the wrong direction, so that reading fails
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_WRONLY),
)


def ensure_standard_streams() -> None:
    """Open the standard streams that are closed.

    Otherwise the first files or sockets that the process opens get their descriptors, while
    Python has ``None`` as the stream. Reading and writing still fail as with any closed file,
    except that messages for a closed standard error are dropped.
    """
    for number, (name, mode, flags) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - a number; it stays open
        setattr(sys, name, stream)


def discard_output() -> None:
    """Discard all further output, since Python would fail to flush it when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
