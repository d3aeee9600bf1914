"""The sections of the page: groups of operations, problems, headers and types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import msgspec
from markupsafe import Markup

from taskflow.api.reference.prose import curl_of, kind_of, limits_of
from taskflow.model.outcome import reason_phrase

Json: TypeAlias = dict[str, Any]


class Row(NamedTuple):
    """A parameter, a header, or a field of a type.

    Attributes:
        name: Its name.
        place: The place of a parameter: ``path``, ``query`` or ``header``; otherwise empty.
        kind: Its type.
        limits: Its limits and its default.
        is_required: Whether it is required, or always present in responses.
        description: Its description.
        example: An example value, if there is one.
    """

    name: str
    place: str
    kind: Markup
    limits: list[str]
    is_required: bool
    description: str
    example: str | None = None


class Sample(NamedTuple):
    """An example of a body, in one or more lines."""

    name: str
    text: str


class Body(NamedTuple):
    """The body of a request or a response, in one media type."""

    media_type: str
    kind: Markup
    samples: list[Sample]


class Reply(NamedTuple):
    """A successful response, or the problems with one status code.

    Attributes:
        status: The status code.
        phrase: The reason phrase.
        description: When the service sends it.
        bodies: Its bodies, by media type.
        fields: Its headers, without the common ones.
        details: The details of example problems, with the names of the examples.
    """

    status: int
    phrase: str
    description: str
    bodies: list[Body]
    fields: list[Row]
    details: list[tuple[str, str]]


class Callback(NamedTuple):
    """A request that the service sends to a URL of the client."""

    name: str
    description: str
    fields: list[Row]
    bodies: list[Body]


class Entry(NamedTuple):
    """An operation.

    Attributes:
        operation: The operation in the document.
        method: The method in upper case.
        path: The path, with the names of its parameters in braces.
        access: The required role, in words.
        curl: The command that calls it.
        parameters: Its parameters.
        bodies: The bodies of its request, by media type.
        replies: Its successful responses.
        problems: The status codes of its other responses.
        callbacks: The requests that it makes the service send.
    """

    operation: Json
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
    """The sections of the page.

    Attributes:
        info: The title and description of the document.
        groups: The tags with their operations.
        headers: The headers that all responses to a POST may have.
        problems: The problems by status code.
        types: The name, schema and fields of each named type.
    """

    def __init__(self, document: Json) -> None:
        self._components: Json = document["components"]
        self._needs_key = bool(document["security"])
        self.info: Json = document["info"]
        self.headers = self._common_headers(document)
        entries = [
            self._entry(method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]
        self.groups = [
            (tag, [entry for entry in entries if tag["name"] in entry.operation["tags"]])
            for tag in document["tags"]
        ]
        self.problems = [
            self._reply(name.removeprefix("Problem"), response)
            for name, response in self._components["responses"].items()
        ]
        self.types = [
            (name, schema, _fields_of(schema))
            for name, schema in sorted(self._components["schemas"].items())
        ]

    def _common_headers(self, document: Json) -> list[Row]:
        """Return the headers of all responses to a POST, which the page shows once."""
        headers = [
            set(self._resolved(response)["headers"])
            for methods in document["paths"].values()
            if "post" in methods
            for response in methods["post"]["responses"].values()
        ]
        common = set.intersection(*headers)
        return [
            _row(name, header)
            for name, header in self._components["headers"].items()
            if name in common
        ]

    def _entry(self, method: str, path: str, operation: Json) -> Entry:
        roles = [role for one in operation.get("security", ()) for role in one.get("key", ())]
        needs_key = self._needs_key and operation.get("security") != []
        access = f"Requires a key with the role {roles[0]}." if roles else "Requires no key."
        replies = {
            status: one for status, one in operation["responses"].items() if "$ref" not in one
        }
        return Entry(
            operation=operation,
            method=method.upper(),
            path=path,
            access=access if self._needs_key else "",
            curl=curl_of(method, path, operation, needs_key=needs_key),
            parameters=[_row(one["name"], one) for one in operation["parameters"]],
            bodies=_bodies(operation.get("requestBody", {})),
            replies=[self._reply(status, one) for status, one in replies.items()],
            problems=[int(status) for status in operation["responses"] if status not in replies],
            callbacks=[
                _callback(name, post)
                for name, addresses in operation.get("callbacks", {}).items()
                for methods in addresses.values()
                for post in methods.values()
            ],
        )

    def _reply(self, status: str, response: Json) -> Reply:
        common = {row.name for row in self.headers}
        return Reply(
            status=int(status),
            phrase=reason_phrase(int(status)),
            description=response["description"],
            bodies=_bodies(response),
            fields=[
                _row(name, self._resolved(header))
                for name, header in response["headers"].items()
                if name not in common
            ],
            details=_details(response),
        )

    def _resolved(self, part: Json) -> Json:
        if "$ref" not in part:
            return part
        _, _, kind, name = part["$ref"].split("/")
        found: Json = self._components[kind][name]
        return found


def _details(response: Json) -> list[tuple[str, str]]:
    examples = response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    return [(name, example["value"]["detail"]) for name, example in examples.items()]


def _callback(name: str, operation: Json) -> Callback:
    fields = [_row(one["name"], one) for one in operation["parameters"]]
    return Callback(name, operation["description"], fields, _bodies(operation["requestBody"]))


def _row(name: str, spec: Json) -> Row:
    example = spec["example"]
    return Row(
        name=name,
        place=spec.get("in", ""),
        kind=kind_of(spec["schema"]),
        limits=limits_of(spec["schema"]),
        is_required=spec.get("required", False),
        description=spec["description"],
        example=_written(spec, example),
    )


def _written(spec: Json, example: object) -> str:
    """Return the value as it is written in a request."""
    if not isinstance(example, list):
        return str(example)
    if spec.get("explode"):
        return "&".join(f"{spec['name']}={value}" for value in example)
    return ",".join(str(value) for value in example)


def _bodies(message: Json) -> list[Body]:
    contents = {**message.get("content", {}), **message.get("x-streams", {})}
    return [
        Body(media_type, _kind_of_body(content), list(_samples(content)))
        for media_type, content in contents.items()
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
    if isinstance(value, str):  # NDJSON, events, plain text
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
