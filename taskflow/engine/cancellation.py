"""Cancellation: what a node has in hand, and how somebody else's cancel ends it.

A claim has a cancel scope of its own from the moment in which it is made until its outcome is
written. To call it off is to cancel that scope, wherever the claim stands by then: a fetch that
runs is cut off, one that has not begun never does, and an outcome that waits for the store is
known to be good for nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence

import trio

from taskflow.model.task import Claim, ClaimKey
from taskflow.store.base.tasks import TaskStore


class ClaimsInHand:
    """The claims of a node, from the claim to the written outcome, and the scope of each."""

    def __init__(self) -> None:
        self._scopes: dict[ClaimKey, trio.CancelScope] = {}
        self._numbers: dict[ClaimKey, int] = {}

    @property
    def keys(self) -> Collection[ClaimKey]:
        """Which they are at this moment."""
        return tuple(self._scopes)

    def take(self, claims: Sequence[Claim]) -> None:
        """They were made."""
        for claim in claims:
            self._scopes[claim.key] = trio.CancelScope()
            self._numbers[claim.key] = claim.attempt

    def let_go(self, claims: Sequence[Claim]) -> None:
        """Their outcomes were written."""
        for claim in claims:
            del self._scopes[claim.key], self._numbers[claim.key]

    def attempt_of(self, key: ClaimKey) -> int:
        """Which attempt of its task it is, from 1."""
        return self._numbers[key]

    def scope_of(self, claim: Claim) -> trio.CancelScope:
        """What its fetch is to run in. Cancelled already if it was called off before."""
        return self._scopes[claim.key]

    def call_off(self, keys: Iterable[ClaimKey]) -> None:
        """Somebody took these claims away; those that are not in hand (any more) are forgotten."""
        for key in keys:
            if scope := self._scopes.get(key):
                scope.cancel()

    def is_called_off(self, key: ClaimKey) -> bool:
        """Whether it is known that nothing is to be written for this claim."""
        scope = self._scopes.get(key)
        return scope is not None and scope.cancel_called


async def call_off_canceled(in_hand: ClaimsInHand, *, store: TaskStore, node_id: uuid.UUID) -> None:
    """Call off what is canceled, here or by other nodes, as soon as the word comes."""
    while True:
        in_hand.call_off(await store.wait_for_cancellations(node_id))
