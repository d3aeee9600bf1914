"""The standard streams of a process that was started with some of them closed.

The first files or sockets that it opens would take their numbers, and Python has ``None`` in their
place. So the numbers are taken at once: what reads or writes there fails as with any closed file,
but what is logged to a closed standard error is dropped.
"""

from __future__ import annotations

import os
import sys
from typing import Final

_STREAMS: Final = (
    ("stdin", "r", os.O_WRONLY),  # the wrong way round, so that reading fails
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_WRONLY),
)


def ensure_standard_streams() -> None:
    """Open the standard streams that are closed."""
    for number, (name, mode, flags) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - a number; it stays open
        setattr(sys, name, stream)
