"""A JSON array of tasks, cut into its elements at a bounded cost."""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.model.errors import BadRequest, Unprocessable
from taskflow.schema.json_text import decoded
from taskflow.schema.tasks import MAX_TASKS

HOW: Final = 'send an array of tasks, such as [{"payload": "https://example.com/"}]'

_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_MIN_BYTES_OF_ELEMENT: Final = 2  # with its comma


def elements_of(body: bytes) -> list[msgspec.Raw]:
    """Return the elements of an array.

    Raises:
        BadRequest: It is not a JSON array.
        Unprocessable: It has no elements, or too many.
    """
    try:
        elements = _decoded(body)
    except msgspec.ValidationError as error:
        if body.lstrip().startswith(b"["):
            raise _wrong_length() from error
        raise BadRequest(f"the body is not a JSON array; {HOW}") from None
    if not elements:
        raise _wrong_length()
    return elements


def _decoded(body: bytes) -> list[msgspec.Raw]:
    if len(body) <= _MIN_BYTES_OF_ELEMENT * MAX_TASKS:
        return decoded(body, _LIST, how=HOW)
    found = decoded(body, _bounded_decoder(), how=HOW)
    return [element for element in msgspec.structs.astuple(found) if element is not UNSET]


@functools.cache
def _bounded_decoder() -> msgspec.json.Decoder[Any]:
    """A decoder that stops at the first element that is too many.

    A bound on a list is checked when all of it has been decoded: eight million elements in 16 MiB
    would take 0.6 s and 0.5 GB first.
    """
    fields = [(f"at_{index}", msgspec.Raw | UnsetType, UNSET) for index in range(MAX_TASKS)]
    kind = msgspec.defstruct("Elements", fields, array_like=True, forbid_unknown_fields=True)
    return msgspec.json.Decoder(kind)


def _wrong_length() -> Unprocessable:
    return Unprocessable(
        f"an array has 1 to {MAX_TASKS} tasks; send more of them as application/x-ndjson, "
        "a line for each"
    )
