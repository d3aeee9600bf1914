"""The JSON text of a body: what must hold before its fields are read."""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn, TypeVar

import msgspec

from taskflow.model.errors import BadRequest, Unprocessable
from taskflow.model.untrusted_text import MAX_NESTING, foreign_format_of

MAX_READ_TWICE_BYTES: Final = 256 * 2**10
"""The longest body that is read again by the standard library, which takes much longer."""

# What msgspec says of an unpaired surrogate; at the end of a text, that it was truncated.
_SURROGATE_COMPLAINTS: Final = ("surrogate", "unexpected end of hex escape")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_END_BYTES: Final = 16

_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

Document = TypeVar("Document")

HOW: Final = 'send a JSON object with a payload, such as {"payload": "https://example.com/"}'


def decoded(body: bytes, decoder: msgspec.json.Decoder[Document], *, how: str = HOW) -> Document:
    """Read JSON text.

    Args:
        body: In UTF-8.
        decoder: Of the type that it is to have.
        how: What to send instead, for people.

    Raises:
        BadRequest: It is not JSON.
        Unprocessable: It is, but cannot be kept unchanged.
        msgspec.ValidationError: It has another type.
    """
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        kind = foreign_format_of(body)
        what = f"but {kind.name}" if kind else f"(at byte {error.start})"
        raise BadRequest(f"the body is not UTF-8 {what}; send UTF-8: {how}") from None
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except RecursionError:
        refuse_depth()
    except msgspec.DecodeError as error:
        if not body.strip():
            raise BadRequest(f"the body is empty; {how}") from None
        if _has_unpaired_surrogate(body, str(error)):
            raise Unprocessable(
                "the body has an unpaired surrogate escape (\\ud800 to \\udfff), which is no "
                "character and cannot be stored; remove it"
            ) from None
        if kind := foreign_format_of(body):
            raise BadRequest(f"the body is not JSON but {kind.name}; send UTF-8: {how}") from None
        raise BadRequest(f"the body is not JSON ({error}); {how}") from None


def object_fields(body: bytes, *, how: str = HOW) -> dict[str, msgspec.Raw]:
    """Read JSON text as an object; its members stay JSON text.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: It is, but cannot be kept unchanged.
    """
    try:
        return decoded(body, _FIELDS, how=how)
    except msgspec.ValidationError:
        raise BadRequest(f"the body is not a JSON object; {how}") from None


def refuse_depth() -> NoReturn:
    """Reject what is nested too deep.

    Raises:
        Unprocessable: Always.
    """
    raise Unprocessable(f"the body is nested more than {MAX_NESTING} levels deep; flatten it")


def _has_unpaired_surrogate(body: bytes, complaint: str) -> bool:
    """Return whether nothing else is wrong with it; of a large body, whether it has one."""
    if len(body) <= MAX_READ_TWICE_BYTES:
        return _is_json(body.decode())
    if "truncated" in complaint:
        return _SURROGATE.search(body, len(body) - _END_BYTES) is not None
    return any(words in complaint for words in _SURROGATE_COMPLAINTS)


def _is_json(text: str) -> bool:
    """Return whether the standard library reads it, which accepts unpaired surrogates.

    It reads text, as it would also accept UTF-16 as bytes.
    """
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except RecursionError:
        refuse_depth()
    except ValueError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
