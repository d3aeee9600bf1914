"""The names of all credentials, for the validation of tasks, queues and schedules."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from typing import Final

import trio

from taskflow.api.problems import store_timeout
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.store.base.credentials import CredentialStore

KEPT_SECONDS: Final = 5.0
"""Maximum age of the names in memory: a notification of a deletion can be lost."""


@dataclasses.dataclass
class _Names:
    """The names in memory, the time they were read, and the number of changes known then."""

    names: frozenset[str] = frozenset()
    read_at: float = -KEPT_SECONDS
    changes: int = -1


class CredentialNames:
    """Caches the names of all credentials.

    Args:
        store: Stores the credentials.
    """

    def __init__(self, store: CredentialStore) -> None:
        self._store: Final = store
        self._last: Final = _Names()
        self._are_suggested = True

    def without_suggestions(self) -> CredentialNames:
        """Return a view for callers whose errors must not reveal the names of credentials."""
        view = copy.copy(self)
        view._are_suggested = False  # noqa: SLF001 - its own class
        return view

    async def known(self, wanted: Iterable[str]) -> KnownCredentials:
        """Return the names, from memory if they are recent and contain all wanted names.

        Raises:
            StoreUnavailable: The store does not answer in time.
        """
        if self._is_fresh() and self._last.names.issuperset(wanted):
            return KnownCredentials(self._last.names, are_suggested=self._are_suggested)
        return await self.read()

    async def read(self) -> KnownCredentials:
        """Return the names from the store.

        Raises:
            StoreUnavailable: The store does not answer in time.
        """
        last, changes, now = self._last, self._store.changes, trio.current_time()
        with store_timeout():
            last.names = frozenset(await self._store.names())
        last.changes, last.read_at = changes, now
        return KnownCredentials(last.names, are_suggested=self._are_suggested)

    def _is_fresh(self) -> bool:
        is_recent = trio.current_time() - self._last.read_at < KEPT_SECONDS
        return is_recent and self._last.changes == self._store.changes
