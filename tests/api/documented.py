"""The document of the API, and whether an answer is as it says."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from taskflow.api.app import ROUTES
from taskflow.api.document.openapi import document
from tests.api.client import Answer

DOCUMENT = document(ROUTES, has_keys=True)
OPERATIONS = {
    (method, path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
PARAMETER_IN_PATH = re.compile(r"{(\w+)}")


def resolved(part: dict) -> dict:
    """A part of the document, or what it refers to."""
    if "$ref" not in part:
        return part
    found: Any = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def complaints(value: object, schema: dict) -> list[str]:
    """What a schema of the document, formats included, has against a value."""
    return [error.message for error in _validator(json.dumps(schema)).iter_errors(value)]


@functools.cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    """One for each schema: to make it takes as long as to ask for a response."""
    whole = {**json.loads(schema), "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def parts(value: object) -> Iterator[dict]:
    """Every object in the document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from parts(inner)


# Headers of framing and of HTTP itself (RFC 9110, 9112); OpenAPI has media types elsewhere.
FRAMING = {"connection", "content-length", "content-type", "date", "transfer-encoding"}


def check(answer: Answer, method: str, path: str) -> None:
    """The answer is one that the document has for the operation, with its head and its body."""
    responses = OPERATIONS[method, path]["responses"]
    check_response(answer, resolved(responses[str(answer.status)]))


def check_response(answer: Answer, documented_response: dict) -> None:
    """The answer is as the document says of it, with its head and its body."""
    check_head(answer, documented_response)
    if "content" not in documented_response:
        assert (answer.body, answer.header("content-type")) == (b"", None)
        return
    sent_type = answer.header("content-type")
    media_type = sent_type.partition(";")[0]
    content = (
        documented_response["content"].get(media_type) or documented_response["content"]["*/*"]
    )
    is_json = sent_type.endswith(("/json", "+json"))
    body = answer.json if is_json else answer.body.decode("latin-1")
    assert complaints(body, content["schema"]) == []


def check_head(answer: Answer, documented_response: dict) -> None:
    """The response has all required headers, no undocumented ones, and valid values."""
    headers = {
        name.lower(): resolved(header) for name, header in documented_response["headers"].items()
    }
    assert {name for name, _ in answer.fields} - FRAMING <= headers.keys()
    for name, header in headers.items():
        text = answer.header(name)
        assert text or not header["required"], name
        if text is not None:
            is_number = header["schema"].get("type") == "integer"
            assert complaints(int(text) if is_number else text, header["schema"]) == []
