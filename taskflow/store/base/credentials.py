"""Credentials, which are stored beside the tasks: the store interface.

A store never sees their values: they come encrypted (``SealedCredential``). As in ``store.py``,
each verb is atomic, and after ``StoreUnavailable`` it is unknown whether a write was done.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Final

from taskflow.model.audit import Actor
from taskflow.model.sealed_credential import CredentialSummary, SealedCredential
from taskflow.store.base.changes import Changes

USED_SECONDS: Final = 60.0
"""Minimum time between two writes of the last use of a credential."""


KEPT_SECONDS: Final = 5.0
"""Maximum age of credentials, and of their names, in the memory of a process."""


class CredentialStore(Changes, abc.ABC):
    """Stores credentials for all nodes; a part of ``TaskStore``.

    ``by`` is the actor, for the audit log; ``None`` records nothing.
    """

    @abc.abstractmethod
    async def put(self, credential: SealedCredential, *, by: Actor | None = None) -> bool:
        """Create a credential, or replace the one with its name; return whether it is new.

        Raises:
            TooManyCredentials: There are ``MAX_CREDENTIALS`` others.
        """

    @abc.abstractmethod
    async def sealed(self, name: str) -> SealedCredential | None:
        """Return a credential with its encrypted values; ``None`` if there is none."""

    @abc.abstractmethod
    async def names(self) -> Sequence[str]:
        """Return the names of all credentials, in their order."""

    @abc.abstractmethod
    async def get(self, name: str) -> CredentialSummary | None:
        """Return a credential without its values; ``None`` if there is none with this name."""

    @abc.abstractmethod
    async def all(self) -> Sequence[CredentialSummary]:
        """Return all credentials by name, without their values."""

    @abc.abstractmethod
    async def delete(
        self, name: str, *, even_if_used: bool = False, by: Actor | None = None
    ) -> bool:
        """Delete a credential; false if there is none with this name.

        Raises:
            CredentialInUse: A queue, schedule or endpoint uses it, and ``even_if_used`` is false.
        """

    @abc.abstractmethod
    async def mark_used(self, name: str) -> None:
        """Record that a credential is used now, at most once per ``USED_SECONDS``."""
