"""Finds the credentials of tasks by name, decrypts them, and caches them for seconds."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
import trio

from taskflow.fetch.authentication import Authenticator
from taskflow.model.credential import Credential
from taskflow.model.errors import KeyMissing, StoreUnavailable, Undecryptable
from taskflow.model.keyring import Keyring
from taskflow.model.outcome import ErrorType, Failed, Interrupted
from taskflow.model.sealed_credential import SealedCredential, unseal
from taskflow.store.base.changes import Reading
from taskflow.store.base.credentials import KEPT_SECONDS, USED_SECONDS, CredentialStore
from taskflow.telemetry import Event, emit_throttled

UNUSED_SECONDS: Final = 3600.0
"""Time after which a credential that no task uses leaves the memory."""

Unusable: TypeAlias = Failed | Interrupted
"""The outcome of an attempt whose credential cannot be used."""


@dataclasses.dataclass
class _Kept:
    """A credential in memory.

    Attributes:
        sealed: As it is stored.
        credential: Its values.
        authenticator: Adds it to requests.
        reading: When it was read last.
        marked_at: When its use was recorded last.
    """

    sealed: SealedCredential
    credential: Credential
    authenticator: Authenticator
    reading: Reading
    marked_at: float = -USED_SECONDS


class Credentials:
    """The credentials of a node. Attempts share the authenticator of a credential, and its tokens.

    Args:
        store: Stores them.
        keyring: Decrypts them.
        authenticator_of: Returns the authenticator of a credential.
    """

    def __init__(
        self,
        store: CredentialStore,
        keyring: Keyring,
        authenticator_of: Callable[[Credential], Authenticator],
    ) -> None:
        self._store: Final = store
        self._keyring: Final = keyring
        self._authenticator_of: Final = authenticator_of
        self._kept: dict[str, _Kept] = {}
        self._reading = trio.Lock()

    async def find(self, name: str) -> Authenticator | Unusable:
        """Return the authenticator of a credential, or the outcome of an attempt without one.

        Raises:
            KeyMissing: This node does not have its key.
        """
        if not self._is_fresh(name):
            async with self._reading:  # one query for all attempts that wait for it
                if not self._is_fresh(name) and (unusable := await self._read(name)):
                    return unusable
        kept = self._kept[name]
        await self._mark(kept)
        return kept.authenticator

    def _is_fresh(self, name: str) -> bool:
        kept = self._kept.get(name)
        reading = None if kept is None else kept.reading
        return self._store.is_fresh(reading, max_age_seconds=KEPT_SECONDS)

    async def _read(self, name: str) -> Unusable | None:
        """Read a credential; during an outage of the store, keep using the one in memory."""
        reading = self._store.reading()
        unused_since = reading.at - UNUSED_SECONDS
        self._kept = {n: one for n, one in self._kept.items() if one.reading.at > unused_since}
        try:
            sealed = await self._store.sealed(name)
        except StoreUnavailable:
            return None if name in self._kept else Interrupted()
        before = self._kept.pop(name, None)
        if sealed is None:
            return _missing(name)
        if before is not None and before.sealed == sealed:
            self._kept[name] = dataclasses.replace(before, reading=reading)
            return None
        opened = self._opened(sealed, before)
        if isinstance(opened, Failed):
            return opened
        self._kept[name] = _Kept(sealed, *opened, reading)
        return None

    def _opened(
        self, sealed: SealedCredential, before: _Kept | None
    ) -> tuple[Credential, Authenticator] | Failed:
        """Decrypt a credential; if its values are the same as before, keep its authenticator."""
        try:
            credential = unseal(sealed, self._keyring)
            if before is not None and before.credential == credential:
                return credential, before.authenticator
            return credential, self._authenticator_of(credential)
        except KeyMissing:
            raise
        except Undecryptable:
            return _unusable(sealed.name, "it was changed in the database; put it again")
        except msgspec.DecodeError:
            return _unusable(sealed.name, "another version of TaskFlow wrote it")
        except Exception as error:  # noqa: BLE001 - a bug must not end the worker
            emit_throttled(Event.FETCH_ERROR, error=error)
            return _unusable(sealed.name, "the log has the reason")

    async def _mark(self, kept: _Kept) -> None:
        now = trio.current_time()
        if now - kept.marked_at < USED_SECONDS:
            return
        kept.marked_at = now
        with contextlib.suppress(StoreUnavailable):  # the time is for people only
            await self._store.mark_used(kept.sealed.name)


def _missing(name: str) -> Failed:
    return Failed(
        ErrorType.CREDENTIAL_MISSING, f"credential missing: there is no credential {name}"
    )


def _unusable(name: str, reason: str) -> Failed:
    error = f"internal: the credential {name} cannot be read: {reason}"
    return Failed(ErrorType.INTERNAL, error, is_of_node=True)
