"""A method of a path, as clients see it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from taskflow.api.document.operations.parts import Answer, Callback, Content, Parameter
from taskflow.api.document.operations.problems import ACCESS, ANY_REQUEST


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A method of a path.

    Attributes:
        method: In small letters.
        path: With the names of its parameters in braces.
        name: For programs that make clients of the document; unique.
        group: What it is listed under.
        summary: A few words.
        description: All of it.
        answer: If all is well.
        others: What it may answer beside that if all is well.
        problems: The statuses of its other answers, those of any request aside.
        path_parameters: All of those in the path.
        fields: Of the head of a request.
        query: The type of its query; parameters are its fields.
        query_examples: A value for each of them.
        query_repeated: Which of those that are lists are given once for each value; the others
            have commas between them.
        body: The type of the body that it takes, if it takes one.
        body_type: The media type of the body.
        body_examples: Bodies, by short names.
        also_takes: Bodies of another media type.
        is_open: Whether the rules of access do not hold for it: anybody may ask.
        callback: What is sent later to an address that it was given, if anything is.
    """

    method: str
    path: str
    name: str
    group: str
    summary: str
    description: str
    answer: Answer
    others: tuple[Answer, ...] = ()
    problems: tuple[HTTPStatus, ...] = ()
    path_parameters: tuple[Parameter, ...] = ()
    fields: tuple[Parameter, ...] = ()
    query: type[msgspec.Struct] | None = None
    query_examples: Mapping[str, object] = msgspec.field(default_factory=dict)
    query_repeated: tuple[str, ...] = ()
    body: Any = None
    body_type: str = "application/json"
    body_examples: Mapping[str, object] = msgspec.field(default_factory=dict)
    also_takes: tuple[Content, ...] = ()
    is_open: bool = False
    callback: Callback | None = None

    def all_problems(self) -> list[HTTPStatus]:
        """The statuses of all answers but the one if all is well."""
        access = () if self.is_open else ACCESS
        limit = (HTTPStatus.TOO_MANY_REQUESTS,) if self.is_limited else ()
        return sorted({*ANY_REQUEST, *access, *limit, *self.problems})

    @property
    def is_limited(self) -> bool:
        """Whether a rate limit may be set for it."""
        return self.method in ("get", "post") and not self.is_open
