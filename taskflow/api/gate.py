"""What is let through to the routes: every rule of access, in the order in which it is asked."""

from __future__ import annotations

from typing import Final

from taskflow.api.access import OPEN_PATHS, Access
from taskflow.api.head import Head
from taskflow.api.keys import Keyring
from taskflow.settings import Settings


class Gate:
    """All rules, by the settings."""

    def __init__(self, settings: Settings, keys: Keyring) -> None:
        self._access: Final = Access(keys, allows_anonymous=settings.allow_anonymous)

    def admit(self, head: Head) -> None:
        """Let a request pass.

        Raises:
            RequestError: A rule does not.
        """
        if head.path in OPEN_PATHS:
            return
        self._access.caller_of(head)
