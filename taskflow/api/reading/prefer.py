"""``Prefer`` (RFC 7240): what a client would like, if it can be had."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.errors import Unprocessable

LONGEST_WAIT_SECONDS: Final = 60

WaitSeconds: TypeAlias = Annotated[int, Meta(ge=0, le=LONGEST_WAIT_SECONDS)]

_WAIT: Final = re.compile("[0-9]{1,9}")


class WaitRequest(msgspec.Struct, frozen=True):
    """The query of what can wait for a task.

    Attributes:
        wait: For how many seconds the answer may wait for the end of the task, as `Prefer` says it
            otherwise.
    """

    wait: WaitSeconds | None = None


def preferences_of(values: Sequence[str]) -> dict[str, str]:
    """The preferences by name in small letters; of two of a name the first one counts.

    What cannot be read is passed over, as the RFC has it.
    """
    found: dict[str, str] = {}
    for preference in ",".join(values).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def preferred_wait(preferences: dict[str, str]) -> int | None:
    """For how many seconds an answer may wait, at most as long as is waited here."""
    value = preferences.get("wait", "")
    return min(int(value), LONGEST_WAIT_SECONDS) if _WAIT.fullmatch(value) else None


def wait_of(text: str) -> int:
    """Read the parameter ``wait``.

    Raises:
        Unprocessable: It is no whole number of seconds within bounds.
    """
    if not _WAIT.fullmatch(text) or int(text) > LONGEST_WAIT_SECONDS:
        raise Unprocessable(
            f"wait must be a whole number of seconds from 0 to {LONGEST_WAIT_SECONDS}"
        )
    return int(text)
