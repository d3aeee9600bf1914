"""What is let through to the routes: every rule of access, in the order in which it is asked."""

from __future__ import annotations

from typing import Final

from taskflow.api.access import OPEN_PATHS, Access
from taskflow.api.browser import CrossOrigin
from taskflow.api.head import Head
from taskflow.api.hosts import allowed_hosts
from taskflow.api.keys import Keyring
from taskflow.settings import Settings, parts_of


class Gate:
    """All rules, by the settings."""

    def __init__(self, settings: Settings, keys: Keyring) -> None:
        self._hosts: Final = allowed_hosts(
            parts_of(settings.allowed_hosts), bind=settings.bind, has_keys=bool(keys)
        )
        self.cross_origin: Final = CrossOrigin(parts_of(settings.cors_origins))
        self._access: Final = Access(keys, allows_anonymous=settings.allow_anonymous)

    def admit(self, head: Head) -> None:
        """Let a request pass.

        Raises:
            RequestError: A rule does not.
        """
        if head.path in OPEN_PATHS:
            return
        self._hosts.check(head.fields.get("host", ""))
        self.cross_origin.check(head)
        # A browser asks without the key that the page's own request will have.
        if not self.cross_origin.is_preflight(head):
            self._access.caller_of(head)
