"""JSON merge patches (RFC 7396)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from taskflow.api.reading.json_text import decoded
from taskflow.model.errors import BadRequest, Unprocessable

MAX_PATCH_NESTING: Final = 32
"""Each level is read again for the next one, so their number bounds the work."""

MAX_PATCH_FIELDS: Final = 1000
"""How many fields an object in a patch may have."""

_Fields: TypeAlias = dict[str, msgspec.Raw]
_ANYTHING: Final = msgspec.json.Decoder(float_hook=str)
"""Any JSON, also numbers that no float can be."""
_FIELDS: Final = msgspec.json.Decoder(_Fields)


def patch_fields_of(body: bytes, *, how: str) -> Mapping[str, msgspec.Raw]:
    """Read the patch of an object.

    Args:
        body: JSON text.
        how: What to send instead, for people.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: It is, but cannot be kept unchanged.
    """
    document = decoded(body, _ANYTHING, how=how)
    if not isinstance(document, dict):
        raise BadRequest(f"the body is not a JSON object; {how}")
    _check_number(len(document))
    return _FIELDS.decode(body)


def patched(
    target: Mapping[str, msgspec.Raw],
    patch: Mapping[str, msgspec.Raw],
    *,
    max_nesting: int = MAX_PATCH_NESTING,
) -> _Fields:
    """Apply a patch; values that it does not name stay as they are, to the byte.

    Raises:
        Unprocessable: The patch is nested too deep.
    """
    if max_nesting == 0:
        raise Unprocessable(
            f"a merge patch may be nested {MAX_PATCH_NESTING} levels deep at most; send the whole "
            "document by PUT"
        )
    _check_number(len(patch))
    result = dict(target)
    for name, change in patch.items():
        text = bytes(change)
        if text == b"null":
            result.pop(name, None)
        elif text.startswith(b"{"):
            below = patched(
                _fields_of(result.get(name)), _FIELDS.decode(text), max_nesting=max_nesting - 1
            )
            result[name] = msgspec.Raw(msgspec.json.encode(below))
        else:
            result[name] = change
    return result


def _check_number(fields: int) -> None:
    if fields > MAX_PATCH_FIELDS:
        raise Unprocessable(f"a merge patch has at most {MAX_PATCH_FIELDS} fields in an object")


def _fields_of(value: msgspec.Raw | None) -> _Fields:
    """The fields of a value; none if it is no object, which a patch replaces."""
    is_object = value is not None and bytes(value).startswith(b"{")
    return _FIELDS.decode(value) if is_object and value is not None else {}
