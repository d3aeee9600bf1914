"""``Accept`` (RFC 9110, section 12.5.1): whether a client wants an array or a stream of lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
LINE_TYPES: Final = frozenset(
    f"{group}/{prefix}{name}"
    for group in ("application", "text")
    for prefix in ("", "x-")
    for name in ("ndjson", "jsonl", "jsonlines", "json-lines", "ldjson")
)
"""Media types of JSON that is a line for each document; none of them is registered."""

_QUALITY: Final = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def wants_lines(values: Sequence[str]) -> bool:
    """Whether lines are asked for by their name, and JSON not liked better or as well.

    Ranges such as ``*/*``, and whatever else stands there, mean JSON.
    """
    wanted = _qualities_of(values)
    lines = max(wanted.get(name, 0.0) for name in LINE_TYPES)
    named = wanted.get(JSON)
    if named is not None:
        return lines > named
    return lines > 0 and lines >= max(wanted.get("application/*", 0.0), wanted.get("*/*", 0.0))


def _qualities_of(values: Sequence[str]) -> dict[str, float]:
    """Media ranges in small letters, with how much each is liked; what has no sense is not."""
    found: dict[str, float] = {}
    for choice in ",".join(values).split(","):
        name, *parameters = (part.strip().lower() for part in choice.split(";"))
        quality = "1"
        for parameter in parameters:
            if parameter.startswith("q="):
                quality = parameter.removeprefix("q=")
        found[name] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return found
