"""What is logged within a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import structlog
from structlog.testing import LogCapture
from structlog.typing import EventDict


@contextlib.contextmanager
def capture_logs() -> Iterator[list[EventDict]]:
    """Yield what all threads log within the block, which is not written.

    The function of structlog changes the list of processors in place, so a thread that logs at this
    moment may find none, and fail.
    """
    before, capture = structlog.get_config()["processors"], LogCapture()
    structlog.configure(processors=[capture])
    try:
        yield capture.entries
    finally:
        structlog.configure(processors=before)
