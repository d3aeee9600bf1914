"""Reads the API keys again after SIGHUP, and when their file changes."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

import trio

from taskflow.api.access.api_keys import read_keys
from taskflow.model.errors import SettingsError
from taskflow.settings import Settings
from taskflow.telemetry import Event, emit
from taskflow.wakeup import WakeUp

# A file is read when it has not changed for this long: it may be written in several pieces.
POLL_SECONDS: Final = 2.0

_Version: TypeAlias = tuple[int, ...] | None


class ReloadedKeys:
    """The API keys, which follow their file.

    Args:
        settings: Has the name of the file, and the keys that are not in it.

    Attributes:
        keys: Replaced in place. While the file is invalid, the previous keys stay valid.

    Raises:
        SettingsError: An entry is invalid.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._path = Path(settings.api_keys_file) if settings.api_keys_file else None
        # Before the file is read, so that no change is missed.
        self._version = _version_of(self._path) if self._path else None
        self.keys: Final = read_keys(settings)

    async def follow(self, hang_up: WakeUp) -> None:
        """Follow the file; return if there is none.

        Args:
            hang_up: Notified by SIGHUP: then the file is read whether or not it has changed.
        """
        if self._path is None:
            return
        seen = self._version
        while True:
            with trio.move_on_after(POLL_SECONDS) as waiting:
                await hang_up.wait()
            now = _version_of(self._path)
            is_stable, seen = now == seen, now
            if not waiting.cancelled_caught or (is_stable and now != self._version):
                self._version = now
                self._reload()

    def _reload(self) -> None:
        try:
            self.keys.replace(read_keys(self._settings))
        except SettingsError as error:
            emit(Event.KEYS_NOT_READ, reason=str(error))


def _version_of(path: Path) -> _Version:
    """Return what changes whenever a file is written or replaced; ``None`` if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
