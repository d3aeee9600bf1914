"""Cancellation: the claims that a node holds, and how a cancel from any node ends them.

Each claim has a cancel scope from the moment it is made until its outcome is written. Canceling
the claim cancels that scope, in whatever state the claim is: a running fetch is cut off, a waiting
one never starts, and an outcome that waits for the store is dropped.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence

import trio

from taskflow.model.task import Claim, ClaimKey
from taskflow.store.base.tasks import TaskStore


class HeldClaims:
    """The claims of a node, each with its cancel scope."""

    def __init__(self) -> None:
        self._scopes: dict[ClaimKey, trio.CancelScope] = {}
        self._attempts: dict[ClaimKey, int] = {}

    @property
    def keys(self) -> Collection[ClaimKey]:
        """The keys of all claims, as a copy."""
        return tuple(self._scopes)

    def add(self, claims: Sequence[Claim]) -> None:
        """Add claims that were made."""
        for claim in claims:
            self._scopes[claim.key] = trio.CancelScope()
            self._attempts[claim.key] = claim.attempt

    def remove(self, claims: Sequence[Claim]) -> None:
        """Remove claims whose outcomes were written."""
        for claim in claims:
            del self._scopes[claim.key], self._attempts[claim.key]

    def attempt_of(self, key: ClaimKey) -> int:
        """Return the number of the attempt, from 1."""
        return self._attempts[key]

    def scope_of(self, claim: Claim) -> trio.CancelScope:
        """Return the scope for the fetch; it is cancelled already if the claim was canceled."""
        return self._scopes[claim.key]

    def cancel(self, keys: Iterable[ClaimKey]) -> None:
        """Cancel claims; keys of claims that the node does not hold are ignored."""
        for key in keys:
            if scope := self._scopes.get(key):
                scope.cancel()

    def is_canceled(self, key: ClaimKey) -> bool:
        """Return whether the claim was canceled, so that nothing is to be written for it."""
        scope = self._scopes.get(key)
        return scope is not None and scope.cancel_called


async def cancel_claims(claims: HeldClaims, store: TaskStore, node_id: uuid.UUID) -> None:
    """Cancel claims whose tasks are canceled on any node, as notifications arrive."""
    while True:
        claims.cancel(await store.wait_for_cancellations(node_id))
