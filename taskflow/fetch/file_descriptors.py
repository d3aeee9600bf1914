"""Whether a fetch failed because this process has no file descriptors left."""

from __future__ import annotations

import errno
import os
from typing import Final

import trio

from taskflow.fetch.errors import NameNotResolved, NotConnected, TlsFailed
from taskflow.model.invalid_url import FetchError
from taskflow.telemetry import Event, emit_throttled

PAUSE_SECONDS: Final = 1.0
"""How long a worker waits before it puts a task back: each time is on record in the store."""

_USED_UP: Final = frozenset((errno.EMFILE, errno.ENFILE))
_MADE_WITH_FILES: Final = (NameNotResolved, NotConnected, TlsFailed)


async def want_of_files_explains(error: FetchError) -> bool:
    """Whether it is why a fetch failed; says so in the log, and waits a moment then.

    Sockets, hosts files and authorities are files: that is a fault of ours, not of the target.
    """
    if not _is_for_want_of_files(error):
        return False
    emit_throttled(Event.FILE_DESCRIPTORS_EXHAUSTED)
    await trio.sleep(PAUSE_SECONDS)
    return True


def _is_for_want_of_files(error: FetchError) -> bool:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _USED_UP:
        return True
    # The resolver and OpenSSL do not say why they found nothing.
    return isinstance(error, _MADE_WITH_FILES) and _are_used_up()


def _are_used_up() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in _USED_UP
    return False
