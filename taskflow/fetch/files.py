"""Whether a fetch failed because this process has no file descriptors left."""

from __future__ import annotations

import errno
import math
import os
from typing import Final

import trio

from taskflow.fetch.errors import FetchError, NameNotResolved, NotConnected, TlsFailed
from taskflow.telemetry import Event, emit

PAUSE_SECONDS: Final = 1.0
"""How long a worker waits before it puts a task back: each time is on record in the store."""

SECONDS_BETWEEN_COMPLAINTS: Final = 10.0

_USED_UP: Final = frozenset((errno.EMFILE, errno.ENFILE))
_MADE_WITH_FILES: Final = (NameNotResolved, NotConnected, TlsFailed)


class WantOfFiles:
    """Tells faults of ours from the target's. Sockets, hosts files and authorities are files."""

    def __init__(self) -> None:
        self._complained_at = -math.inf

    async def explains(self, error: FetchError) -> bool:
        """Whether it is why a fetch failed; says so in the log, and waits a moment then."""
        if not _is_for_want_of_files(error):
            return False
        now = trio.current_time()
        if now - self._complained_at >= SECONDS_BETWEEN_COMPLAINTS:
            self._complained_at = now
            emit(Event.FILES_USED_UP)
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
