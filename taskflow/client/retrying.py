"""Whether to ask again, and when."""

from __future__ import annotations

from typing import Final

from taskflow.client.calls import Call
from taskflow.client.errors import ClientError, Problem, TooManyRequests, Unavailable, Unreachable

# One step of an attempt: connecting, sending a part, the next part of the answer. The service
# promises to answer within 5 s.
STEP_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 3.0


def pause_seconds(call: Call, trouble: ClientError, *, attempt: int, chance: float) -> float | None:
    """How long to wait before asking again; ``None`` if that makes no sense, or is not safe.

    Args:
        call: What was requested.
        trouble: What came of it.
        attempt: How often it was requested, from 1.
        chance: From 0 to 1, drawn anew each time.
    """
    if not _is_passing(call, trouble):
        return None
    grown: float = min(_FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, 16), _LONGEST_PAUSE_SECONDS)
    requested = trouble.retry_after_seconds if isinstance(trouble, Problem) else None
    return max(requested or 0.0, grown * (0.5 + chance / 2))


def _is_passing(call: Call, trouble: ClientError) -> bool:
    """Whether the same may go better later, and nothing is done twice by it."""
    if isinstance(trouble, TooManyRequests):  # nothing was done
        return True
    if isinstance(trouble, Unreachable):
        return call.is_repeatable or not trouble.is_sent
    return isinstance(trouble, Unavailable) and call.is_repeatable
