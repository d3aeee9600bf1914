"""What operations are made of: parameters, bodies, answers and callbacks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

MERGE_PATCH: Final = "application/merge-patch+json"


class Parameter(msgspec.Struct, frozen=True):
    """Something in the path, the query or the head of an answer.

    Attributes:
        name: As it is written in a request.
        description: One line for people.
        kind: Its type.
        example: A value of it.
        is_required: Whether it is always there; of a head only, as a path has all and a query
            needs none.
    """

    name: str
    description: str
    kind: Any
    example: object
    is_required: bool = False


class Content(msgspec.Struct, frozen=True):
    """A body of lines or events, beside that which comes first.

    Attributes:
        media_type: What it is.
        kinds: What each of them may be.
        example: Some of them.
    """

    media_type: str
    kinds: tuple[Any, ...]
    example: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a route answers if all is well.

    Attributes:
        status: Its code.
        description: One line for people.
        kind: The type of its body; ``None`` if it has none.
        example: A body of it.
        media_type: What the body is.
        also: What else it may be.
        picked_kind: The type of its body if the request picks fields, if it can.
        fields: Of its head.
        links: Operations that take the ``id`` in it.
    """

    status: HTTPStatus = HTTPStatus.OK
    description: str
    kind: Any = None
    example: object = None
    media_type: str = "application/json"
    also: tuple[Content, ...] = ()
    picked_kind: Any = None
    fields: tuple[Parameter, ...] = ()
    links: tuple[str, ...] = ()


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A ``POST`` that TaskFlow makes to an address that it was given.

    Attributes:
        name: For programs.
        address: Where that is, as a runtime expression of OpenAPI.
        description: When it comes, and what its answers mean.
        kind: The type of its body.
        example: A body of it.
        fields: Of its head.
    """

    name: str
    address: str
    description: str
    kind: Any
    example: object
    fields: tuple[Parameter, ...]
