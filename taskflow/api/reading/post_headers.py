"""The headers of a ``POST`` that concern its tasks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from taskflow.model.errors import BadRequest
from taskflow.model.task import MAX_KEY_CHARACTERS, IdempotencyKey

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
