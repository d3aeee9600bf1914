"""The names of credentials, by which a submission is checked."""

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
    """The names in memory, when they were read, and the changes that were known then."""

    names: frozenset[str] = frozenset()
    read_at: float = -KEPT_SECONDS
    changes: int = -1


class CredentialNames:
    """Reads the names once for many submissions.

    Args:
        store: Stores the credentials.
    """

    def __init__(self, store: CredentialStore) -> None:
        self._store: Final = store
        self._last: Final = _Names()
        self._are_suggested = True

    def without_suggestions(self) -> CredentialNames:
        """Return the names for a caller to whom no error may name another credential."""
        view = copy.copy(self)
        view._are_suggested = False  # noqa: SLF001 - its own class
        return view

    async def known(self, wanted: Iterable[str]) -> KnownCredentials:
        """Return the names: from memory, if they are recent and all wanted ones are among them.

        Raises:
            StoreUnavailable: The store does not answer in time.
        """
        if self._is_fresh() and self._last.names.issuperset(wanted):
            return KnownCredentials(self._last.names, are_suggested=self._are_suggested)
        return await self.read()

    async def read(self) -> KnownCredentials:
        """Return the names as they are now.

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
