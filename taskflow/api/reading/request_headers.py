"""Headers of requests: ``Idempotency-Key``, trace context, ``Prefer`` and ``Accept``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from taskflow.model.errors import BadRequest
from taskflow.model.task import MAX_KEY_CHARACTERS, IdempotencyKey
from taskflow.schema.query import LONGEST_WAIT_SECONDS

_CHARACTER: Final = r'[ !#-\[\]-~]|\\["\\]'
IdempotencyKeyText: TypeAlias = Annotated[
    str,
    Meta(
        pattern=f'^([!#-~]{{1,{MAX_KEY_CHARACTERS}}}|"({_CHARACTER}){{1,{MAX_KEY_CHARACTERS}}}")$(?!\n)'
    ),
]
# RFC 9651's string, as the draft has it, or the same without quotes, as many clients send it.
_KEY: Final = re.compile(r'"(?P<quoted>(?:[ !#-\[\]-~]|\\["\\])*)"|(?P<bare>[!#-~]+)')
_TRACEPARENT: Final = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_TRACESTATE: Final = re.compile("[ -~]{1,512}")
_WAIT: Final = re.compile("[0-9]{1,9}")
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


def idempotency_key_of(
    values: Sequence[str], *, caller: str | None, body: bytes, seconds: float
) -> IdempotencyKey | None:
    """Read ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header-07); ``None`` without.

    Args:
        values: The values of all headers of that name.
        caller: The name of the API key: idempotency keys of other callers are separate.
        body: The body of the request.
        seconds: How long the key is remembered.

    Raises:
        BadRequest: It is invalid, or too long.
    """
    if not values:
        return None
    match = _KEY.fullmatch(values[0]) if len(values) == 1 else None
    key = match and (match["bare"] or re.sub(r"\\(.)", r"\1", match["quoted"] or ""))
    if not key or len(key) > MAX_KEY_CHARACTERS:
        raise BadRequest(
            f"Idempotency-Key must be one text of 1 to {MAX_KEY_CHARACTERS} printable characters, "
            "such as a new UUID for each new request"
        )
    # Neither can contain a line feed, so no two pairs give the same text.
    return IdempotencyKey(f"{caller or ''}\n{key}", hashlib.sha256(body).digest(), seconds)


def trace_of(parents: Sequence[str], states: Sequence[str]) -> dict[str, str]:
    """``traceparent`` and ``tracestate``, if they are valid; others are ignored.

    Args:
        parents: The values of ``traceparent``; two are ambiguous, and ignored.
        states: The values of ``tracestate``, which are one list.
    """
    if len(parents) != 1 or not _TRACEPARENT.fullmatch(parents[0]):
        return {}
    trace, state = {"traceparent": parents[0]}, ",".join(states)
    return trace | {"tracestate": state} if _TRACESTATE.fullmatch(state) else trace


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


def wants_json(values: Sequence[str]) -> bool:
    """Return whether JSON is accepted by its name, and plain text not preferred or as well."""
    wanted = _qualities_of(values)
    text = max(wanted.get(name, 0.0) for name in ("text/plain", "text/*", "*/*"))
    return wanted.get(JSON, 0.0) > 0 and wanted[JSON] >= text


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
