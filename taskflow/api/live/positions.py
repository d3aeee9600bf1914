"""The ids of events as a client sees them.

Events of all queues are numbered in one order. The gaps between the ids of a client that sees some
queues alone would count the events of the others, so such a client gets ids that reveal neither
order nor distance: the positions, encrypted.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

_POSITION_BITS: Final = 40
_NONCE_BITS: Final = 18
_HALF_BITS: Final = (_POSITION_BITS + _NONCE_BITS) // 2
_HALF: Final = (1 << _HALF_BITS) - 1
_ROUNDS: Final = range(6)
_PART_BITS: Final = 64
_PART: Final = (1 << _PART_BITS) - 1


class Positions:
    """Positions as they are, for clients that see all queues."""

    def of_event(self, position: int) -> int:
        """Return the id of the event at a position."""
        return position

    def of_heartbeat(self, position: int) -> int:
        """Return an id that stands for a position between events."""
        return position

    def read(self, given: int) -> int:
        """Return the position that an id stands for."""
        return given


class EncryptedPositions(Positions):
    """Positions that only this service can read, by a Feistel network of 58 bits.

    An event has one id on all nodes. A heartbeat has a new one each time: an id that stayed the
    same would reveal that nothing happened in other queues.

    Args:
        secret: The same on all nodes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret: Final = hashlib.blake2b(secret, person=b"event positions").digest()

    def of_event(self, position: int) -> int:
        """Return the id of the event at a position."""
        return _each_part(position, lambda part: self._encrypted(part, 0))

    def of_heartbeat(self, position: int) -> int:
        """Return a new id that stands for a position between events."""
        return _each_part(
            position, lambda part: self._encrypted(part, secrets.randbits(_NONCE_BITS))
        )

    def read(self, given: int) -> int:
        """Return the position that an id stands for; any position if it is not one of these."""
        return _each_part(given, self._read)

    def _read(self, given: int) -> int:
        left, right = given >> _HALF_BITS & _HALF, given & _HALF
        for number in reversed(_ROUNDS):
            left, right = right ^ self._mixed(left, number), left
        return left << _HALF_BITS - _NONCE_BITS | right >> _NONCE_BITS

    def _encrypted(self, position: int, nonce: int) -> int:
        value = position % (1 << _POSITION_BITS) << _NONCE_BITS | nonce
        left, right = value >> _HALF_BITS, value & _HALF
        for number in _ROUNDS:
            left, right = right, left ^ self._mixed(right, number)
        return left << _HALF_BITS | right

    def _mixed(self, half: int, number: int) -> int:
        block = half.to_bytes(4) + bytes([number])
        digest = hashlib.blake2b(block, key=self._secret, digest_size=4).digest()
        return int.from_bytes(digest) & _HALF


def _each_part(position: int, change: Callable[[int], int]) -> int:
    """Change each part of a position: it has 64 bits for each cell of the store."""
    changed, place = change(position & _PART), _PART_BITS
    while position >> place:
        changed |= change(position >> place & _PART) << place
        place += _PART_BITS
    return changed


PLAIN: Final = Positions()
