"""Who has much to do takes turns with others who have, so that who has little need not wait.

Trio runs whoever can go on, one after the other, before it looks at the network again. Were
two hundred bodies decoded for half a millisecond each in between, whoever asks the API would
wait for a tenth of a second, again and again.
"""

from __future__ import annotations

from typing import Final

import trio

_TURN: Final = trio.lowlevel.RunVar[trio.Lock]("turn")


async def wait_for_turn() -> None:
    """Wait until all others who wait for theirs have had it: one has it in each pass."""
    async with _lock_of_this_run():
        await trio.lowlevel.checkpoint()


def _lock_of_this_run() -> trio.Lock:
    try:
        return _TURN.get()
    except LookupError:
        _TURN.set(trio.Lock())
        return _TURN.get()
