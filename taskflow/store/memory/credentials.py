"""Credentials in memory."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Sequence

import msgspec
import trio

from taskflow.model.audit import Actor
from taskflow.model.audit_entries import delete_credential_entry, put_credential_entry
from taskflow.model.errors import CredentialInUse, TooManyCredentials
from taskflow.model.sealed_credential import (
    MAX_CREDENTIALS,
    MAX_SHOWN_USERS,
    CredentialSummary,
    CredentialUsers,
    SealedCredential,
)
from taskflow.store.base.credentials import USED_SECONDS, CredentialStore
from taskflow.store.memory.audit import MemoryAudit


class _Kept(msgspec.Struct, frozen=True):
    credential: SealedCredential
    created_at: dt.datetime
    updated_at: dt.datetime
    last_used_at: dt.datetime | None = None


class MemoryCredentials(CredentialStore):
    """Credentials beside the tasks of a store in memory, encrypted as in PostgreSQL.

    Args:
        now: The store's clock.
        audit: The audit log.
        queues: Returns the names of the queues that use a credential.
        schedules: Returns the names of the schedules that use a credential.
        endpoints: Returns the names of the endpoints that use a credential.
    """

    def __init__(
        self,
        now: Callable[[], dt.datetime],
        audit: MemoryAudit,
        *,
        queues: Callable[[str], Iterable[str]],
        schedules: Callable[[str], Iterable[str]],
        endpoints: Callable[[str], Iterable[str]],
    ) -> None:
        super().__init__()
        self._now = now
        self._audit = audit
        self._queues = queues
        self._schedules = schedules
        self._endpoints = endpoints
        self._kept: dict[str, _Kept] = {}

    async def put(self, credential: SealedCredential, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        now, before = self._now(), self._kept.get(credential.name)
        if before is None and len(self._kept) >= MAX_CREDENTIALS:
            raise TooManyCredentials
        self._kept[credential.name] = _Kept(
            credential,
            before.created_at if before else now,
            now,
            before.last_used_at if before else None,
        )
        replaced = before.credential if before else None
        self._audit.add(put_credential_entry(by, credential, replaced))
        self.note_change()
        return before is None

    async def sealed(self, name: str) -> SealedCredential | None:
        await trio.lowlevel.checkpoint()
        kept = self._kept.get(name)
        return None if kept is None else kept.credential

    async def names(self) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return sorted(self._kept)

    async def get(self, name: str) -> CredentialSummary | None:
        await trio.lowlevel.checkpoint()
        return self._shown(self._kept[name]) if name in self._kept else None

    async def all(self) -> Sequence[CredentialSummary]:
        await trio.lowlevel.checkpoint()
        return [self._shown(self._kept[name]) for name in sorted(self._kept)]

    async def delete(
        self, name: str, *, even_if_used: bool = False, by: Actor | None = None
    ) -> bool:
        await trio.lowlevel.checkpoint()
        if name in self._kept and not even_if_used and (users := self._users(name)):
            raise CredentialInUse(name, users)
        self.note_change()
        deleted = self._kept.pop(name, None)
        if deleted is None:
            return False
        self._audit.add(delete_credential_entry(by, self._shown(deleted)))
        return True

    async def mark_used(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        now, kept = self._now(), self._kept.get(name)
        if kept is None:
            return
        horizon = now - dt.timedelta(seconds=USED_SECONDS)
        if kept.last_used_at is None or kept.last_used_at < horizon:
            self._kept[name] = msgspec.structs.replace(kept, last_used_at=now)

    def _users(self, name: str) -> CredentialUsers:
        users = (self._queues(name), self._schedules(name), self._endpoints(name))
        return CredentialUsers(*map(_first, users))

    def _shown(self, kept: _Kept) -> CredentialSummary:
        credential = kept.credential
        return CredentialSummary(
            name=credential.name,
            kind=credential.kind,
            hosts=credential.hosts,
            created_at=kept.created_at,
            updated_at=kept.updated_at,
            last_used_at=kept.last_used_at,
            used_by=self._users(credential.name),
        )


def _first(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(itertools.islice(sorted(names), MAX_SHOWN_USERS))
