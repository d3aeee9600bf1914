"""JSON merge patches (RFC 7396): their declaration, and how they are applied."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.model.errors import BadRequest, Unprocessable
from taskflow.schema.json_text import decoded

MAX_PATCH_NESTING: Final = 32
"""Each level is read again for the next one, so their number bounds the work."""

MAX_PATCH_FIELDS: Final = 1000
"""How many fields an object in a patch may have."""

_WHAT_A_PATCH_IS: Final = (
    "A JSON merge patch. A field that is not given stays as it is; null resets it to its default."
)

_Fields: TypeAlias = dict[str, msgspec.Raw]
_ANYTHING: Final = msgspec.json.Decoder(float_hook=str)
"""Any JSON, also numbers that no float can be."""
_FIELDS: Final = msgspec.json.Decoder(_Fields)


@functools.cache  # one type per object, as each is named in the document
def patch_type(kind: type[msgspec.Struct], **replaced: Any) -> Any:
    """Return the declaration of a patch of the object that another one declares.

    Args:
        kind: The declaration of the whole object.
        replaced: Types of fields that differ from those in ``kind``.
    """
    return msgspec.defstruct(
        kind.__name__.replace("Request", "Patch"),
        [
            (
                field.name,
                _patched_type(replaced.get(field.name, field.type), *_absent(field)),
                UNSET,
            )
            for field in msgspec.structs.fields(kind)
        ],
        namespace={"__doc__": f"{_WHAT_A_PATCH_IS} The whole object is ``{kind.__name__}``."},
        forbid_unknown_fields=True,
    )


def _absent(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    """Return what a field may be beside its value; null would remove one that is required."""
    return (UnsetType,) if field.required else (UnsetType, None)


def _patched_type(kind: Any, *absent: Any) -> Any:
    """Return the type of a field of a patch, with its description."""
    if get_origin(kind) is Annotated:
        inner, *bounds, description = get_args(kind)
        if bounds:
            return Annotated[Union[(Annotated[(inner, *bounds)], *absent)], description]
        return Annotated[_patched_type(inner, *absent), description]
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return Union[(*map(_patched_member, members), *absent)]


def _patched_member(kind: Any) -> Any:
    is_object = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return patch_type(kind) if is_object else kind


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
