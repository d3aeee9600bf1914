"""The names of all credentials, for the validation of tasks, queues and schedules."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from typing import Final

from taskflow.api.problems import store_timeout
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.store.base.changes import Reading
from taskflow.store.base.credentials import KEPT_SECONDS, CredentialStore


@dataclasses.dataclass
class _Names:
    """The names in memory, and when they were read."""

    names: frozenset[str] = frozenset()
    reading: Reading | None = None


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
        is_fresh = self._store.is_fresh(self._last.reading, max_age_seconds=KEPT_SECONDS)
        if is_fresh and self._last.names.issuperset(wanted):
            return KnownCredentials(self._last.names, are_suggested=self._are_suggested)
        return await self.read()

    async def read(self) -> KnownCredentials:
        """Return the names from the store.

        Raises:
            StoreUnavailable: The store does not answer in time.
        """
        last, reading = self._last, self._store.reading()
        with store_timeout():
            last.names = frozenset(await self._store.names())
        last.reading = reading
        return KnownCredentials(last.names, are_suggested=self._are_suggested)
