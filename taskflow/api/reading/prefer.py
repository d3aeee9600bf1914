"""The header ``Prefer`` (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from taskflow.schema.query import LONGEST_WAIT_SECONDS

_WAIT: Final = re.compile("[0-9]{1,9}")


def preferences_of(values: Sequence[str]) -> dict[str, str]:
    """Return the preferences by name in lower case; of two of a name the first one counts.

    Invalid ones are ignored, as the RFC specifies.
    """
    found: dict[str, str] = {}
    for preference in ",".join(values).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def preferred_wait(preferences: dict[str, str]) -> int | None:
    """Return for how many seconds the response may wait, bounded by the maximum."""
    value = preferences.get("wait", "")
    return min(int(value), LONGEST_WAIT_SECONDS) if _WAIT.fullmatch(value) else None
