"""The document as the page is divided: groups of operations, problems, fields of heads, types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import msgspec
from markupsafe import Markup

from taskflow.api.reference.curl import curl_of
from taskflow.api.reference.kinds import kind_of, limits_of
from taskflow.model.outcome import reason_phrase

Json: TypeAlias = dict[str, Any]


class Row(NamedTuple):
    """A parameter, or a field of a type or of a head.

    Attributes:
        name: As it is written.
        place: Where it is: ``path``, ``query``, ``header``; of a field nothing.
        kind: What it is.
        limits: What bounds it.
        is_required: Whether it has to be there, or always is.
        description: What it means.
        example: A value; ``None`` if none is told.
    """

    name: str
    place: str
    kind: Markup
    limits: list[str]
    is_required: bool
    description: str
    example: str | None = None


class Sample(NamedTuple):
    """An example, over as many lines as it takes."""

    name: str
    text: str


class Body(NamedTuple):
    """What is sent or answered, of one media type."""

    media_type: str
    kind: Markup
    samples: list[Sample]


class Reply(NamedTuple):
    """An answer if all is well, or those of a status that are problems.

    Attributes:
        status: Its code.
        phrase: The same in words.
        description: When it comes.
        bodies: What it says.
        fields: Of its head, less those that all have.
        details: What problems say, by short names.
    """

    status: int
    phrase: str
    description: str
    bodies: list[Body]
    fields: list[Row]
    details: list[tuple[str, str]]


class Callback(NamedTuple):
    """What is sent later, to an address that was given."""

    name: str
    description: str
    fields: list[Row]
    bodies: list[Body]


class Entry(NamedTuple):
    """An operation.

    Attributes:
        told: What the document has of it.
        method: In capitals.
        path: With the names of its parameters in braces.
        access: Who may, in words.
        curl: How to ask for it.
        parameters: All of them.
        bodies: What it takes.
        replies: What it answers if all is well.
        problems: The statuses of its other answers.
        callbacks: What is sent later.
    """

    told: Json
    method: str
    path: str
    access: str
    curl: str
    parameters: list[Row]
    bodies: list[Body]
    replies: list[Reply]
    problems: list[int]
    callbacks: list[Callback]


class Contents:
    """The document, divided.

    Attributes:
        info: What it says of the whole.
        groups: Tags with their operations.
        heads: Fields that all answers have, or that answers to a POST may have.
        problems: What goes wrong, by status.
        types: Names, schemas and fields of the named types.
    """

    def __init__(self, document: Json) -> None:
        self._components: Json = document["components"]
        self._needs_key = bool(document["security"])
        self.info: Json = document["info"]
        self.heads = self._common_heads(document)
        entries = [
            self._entry(method, path, told)
            for path, methods in document["paths"].items()
            for method, told in methods.items()
        ]
        self.groups = [
            (tag, [entry for entry in entries if tag["name"] in entry.told["tags"]])
            for tag in document["tags"]
        ]
        self.problems = [
            self._reply(name.removeprefix("Problem"), told)
            for name, told in self._components["responses"].items()
        ]
        self.types = [
            (name, schema, _fields_of(schema))
            for name, schema in sorted(self._components["schemas"].items())
        ]

    def _common_heads(self, document: Json) -> list[Row]:
        """The fields that each answer to a POST refers to, told once for the whole page."""
        heads = [
            set(self._resolved(answer)["headers"])
            for methods in document["paths"].values()
            if "post" in methods
            for answer in methods["post"]["responses"].values()
        ]
        common = set.intersection(*heads)
        return [
            _row(name, told) for name, told in self._components["headers"].items() if name in common
        ]

    def _entry(self, method: str, path: str, told: Json) -> Entry:
        roles = [role for one in told.get("security", ()) for role in one.get("key", ())]
        needs_key = self._needs_key and told.get("security") != []
        access = f"Needs a key with the role {roles[0]}." if roles else "Needs no key."
        replies = {status: one for status, one in told["responses"].items() if "$ref" not in one}
        return Entry(
            told=told,
            method=method.upper(),
            path=path,
            access=access if self._needs_key else "",
            curl=curl_of(method, path, told, needs_key=needs_key),
            parameters=[_row(one["name"], one) for one in told["parameters"]],
            bodies=_bodies(told.get("requestBody", {})),
            replies=[self._reply(status, one) for status, one in replies.items()],
            problems=[int(status) for status in told["responses"] if status not in replies],
            callbacks=[
                _callback(name, post)
                for name, addresses in told.get("callbacks", {}).items()
                for methods in addresses.values()
                for post in methods.values()
            ],
        )

    def _reply(self, status: str, told: Json) -> Reply:
        common = {row.name for row in self.heads}
        return Reply(
            status=int(status),
            phrase=reason_phrase(int(status)),
            description=told["description"],
            bodies=_bodies(told),
            fields=[
                _row(name, self._resolved(head))
                for name, head in told["headers"].items()
                if name not in common
            ],
            details=_details(told),
        )

    def _resolved(self, part: Json) -> Json:
        if "$ref" not in part:
            return part
        _, _, kind, name = part["$ref"].split("/")
        found: Json = self._components[kind][name]
        return found


def _details(told: Json) -> list[tuple[str, str]]:
    examples = told.get("content", {}).get("application/problem+json", {}).get("examples", {})
    return [(name, example["value"]["detail"]) for name, example in examples.items()]


def _callback(name: str, told: Json) -> Callback:
    fields = [_row(one["name"], one) for one in told["parameters"]]
    return Callback(name, told["description"], fields, _bodies(told["requestBody"]))


def _row(name: str, told: Json) -> Row:
    example = told["example"]
    return Row(
        name=name,
        place=told.get("in", ""),
        kind=kind_of(told["schema"]),
        limits=limits_of(told["schema"]),
        is_required=told.get("required", False),
        description=told["description"],
        example=_written(told, example),
    )


def _written(told: Json, example: object) -> str:
    """A value as it stands in a request."""
    if not isinstance(example, list):
        return str(example)
    if told.get("explode"):
        return "&".join(f"{told['name']}={value}" for value in example)
    return ",".join(str(value) for value in example)


def _bodies(told: Json) -> list[Body]:
    return [
        Body(media_type, _kind_of_body(content), list(_samples(content)))
        for media_type, content in told.get("content", {}).items()
    ]


def _kind_of_body(content: Json) -> Markup:
    if "x-itemSchema" not in content:
        return kind_of(content["schema"])
    return Markup("any number of {}").format(kind_of(content["x-itemSchema"]))


def _samples(content: Json) -> Iterator[Sample]:
    for name, example in content.get("examples", {}).items():
        yield Sample(name, _pretty(example["value"]))
    if "example" in content:
        yield Sample("", _pretty(content["example"]))


def _pretty(value: object) -> str:
    if isinstance(value, str):  # lines, events, words
        return value.rstrip("\n")
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _fields_of(schema: Json) -> list[Row]:
    required = schema.get("required", ())
    return [
        Row(
            name=name,
            place="",
            kind=kind_of(field),
            limits=limits_of(field),
            is_required=name in required,
            description=field["description"],
        )
        for name, field in schema.get("properties", {}).items()
    ]
