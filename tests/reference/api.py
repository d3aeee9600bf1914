"""docs/reference/api.md and problems.md, from the document at ``/openapi.json``."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from taskflow.api.app import ROUTES
from taskflow.api.document.openapi import document
from taskflow.model.outcome import reason_phrase
from taskflow.model.problem_types import PROBLEM_TYPES
from tests.reference.markdown import code, table
from tests.reference.markdown import page as page_of
from tests.reference.schemas import Schema, fields_of, kind_of, link_to, meaning_of

INTRODUCTION = """\
This page lists every route with its parameters and responses. `/openapi.json` of a running service
has the same content, to generate clients from. [The API by example](../api-by-example.md) shows
requests with their responses. Every request can fail with the problems {any_request};
[Problems](problems.md) explains these and all others."""

OF_PROBLEMS = """\
This page lists the errors of the API. Every error response is a JSON object of the media type
`application/problem+json` (RFC 9457): `type` identifies the kind of problem, for programs, and
`detail` says what is wrong in this case and what to do."""

OF_TYPES = """\
## Types

The name of a type never changes. A `GET` request to it returns this explanation, as HTML or
JSON, with or without a key; `/problems` lists all types."""

ERROR = 400
SOURCE = "taskflow/api"


def page() -> str:
    """The reference of the routes, and of the types that they name."""
    whole = document(ROUTES, has_keys=True)
    any_request = ", ".join(sorted(_of_any_request(whole)))
    groups = [_group(whole, tag) for tag in whole["tags"]]
    types = [_type(name, schema) for name, schema in whole["components"]["schemas"].items()]
    introduction = INTRODUCTION.format(any_request=any_request)
    everywhere = _of_every_answer(whole)
    rows = (
        (code(name), whole["components"]["headers"][name]["description"])
        for name in whole["components"]["headers"]
        if name in everywhere
    )
    fields = table(["header of any response", "meaning"], rows)
    return page_of("The API", SOURCE, introduction, fields, *groups, "## Types", *types)


def problems_page() -> str:
    """The reference of the problems."""
    whole = document(ROUTES, has_keys=True)
    schema = whole["components"]["schemas"]["Problem"]
    found = {name: one for name, one in _responses(whole).items() if _examples(one)}
    parts = [_problem(whole, found[name]) for name in sorted(found)]
    fields = table(["field", "type", "meaning"], _without_links(schema))
    rows = (
        (code(one.type), str(one.status), one.meaning, one.action) for one in PROBLEM_TYPES.values()
    )
    types = table(["`type`", "status", "meaning", "what to do"], rows)
    return page_of("Problems", SOURCE, OF_PROBLEMS, fields, OF_TYPES, types, *parts)


def _group(whole: Schema, tag: Schema) -> str:
    operations = [
        _operation(whole, method, path, operation)
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
        if tag["name"] in operation["tags"]
    ]
    return "\n\n".join([f"## {tag['name'].capitalize()}", tag["description"], *operations])


def _operation(whole: Schema, method: str, path: str, operation: Schema) -> str:
    parts = [
        f"### `{method.upper()} {path}`",
        f"{operation['summary']}. {operation['description']}",
    ]
    if parameters := operation.get("parameters"):
        rows = (_parameter(_resolved(whole, one)) for one in parameters)
        parts.append(table(["parameter", "in", "type", "meaning"], rows))
    if body := operation.get("requestBody"):
        parts.append("\n".join(_contents("Request body", body)))
    answers = [
        _answer(whole, status, one)
        for status, one in operation["responses"].items()
        if int(status) < ERROR
    ]
    return "\n\n".join([*parts, "\n".join(answers), _problems_of(whole, operation)])


def _parameter(parameter: Schema) -> tuple[str, str, str, str]:
    kind = kind_of(parameter["schema"])
    must = "" if parameter.get("required") else "; optional"
    meaning = meaning_of({**parameter["schema"], "description": parameter["description"]})
    return code(parameter["name"]), parameter["in"], kind + must, meaning


def _contents(word: str, holder: Schema) -> Iterator[str]:
    for media, content in holder.get("content", {}).items():
        yield f"- {word} `{media}`: {kind_of(content.get('schema', {}))}"
    for media, content in holder.get("x-streams", {}).items():
        yield f"- {word} `{media}`: any number of {kind_of(content['x-itemSchema'])}, one per line"


def _answer(whole: Schema, status: str, response: Schema) -> str:
    fields = "".join(f"\n  {line}" for line in _own_fields(whole, response))
    kinds = [kind_of(one.get("schema", {})) for one in response.get("content", {}).values()]
    what = f" ({'; '.join(dict.fromkeys(kinds))})" if kinds else ""
    return f"- **{status}** {response['description']}{what}{fields}"


def _own_fields(whole: Schema, response: Schema) -> list[str]:
    """The header fields of an answer that not all of them have."""
    fields = response.get("headers", {})
    return [
        f"- `{name}`: {_resolved(whole, field).get('description', '')}"
        for name, field in fields.items()
        if name not in _of_every_answer(whole)
    ]


def _of_every_answer(whole: Schema) -> set[str]:
    return set.intersection(*(set(one.get("headers", {})) for one in _responses(whole).values()))


def _resolved(whole: Schema, found: Schema) -> Schema:
    """What a reference within the document leads to; what is no reference, as it is."""
    if "$ref" not in found:
        return found
    _, *way = found["$ref"].split("/")
    return functools.reduce(lambda place, name: place[name], way, whole)


def _problems_of(whole: Schema, operation: Schema) -> str:
    own = [status for status in operation["responses"] if int(status) >= ERROR]
    own = [status for status in own if status not in _of_any_request(whole)]
    return f"Problems: {', '.join(_link_to_problem(one) for one in own)}." if own else "No others."


def _of_any_request(whole: Schema) -> set[str]:
    all_of_them = [
        {status for status in operation["responses"] if int(status) >= ERROR}
        for methods in whole["paths"].values()
        for operation in methods.values()
    ]
    return set.intersection(*all_of_them)


def _link_to_problem(status: str) -> str:
    return (
        f"[{status}](problems.md#{status}-{reason_phrase(int(status)).lower().replace(' ', '-')})"
    )


def _type(name: str, schema: Schema) -> str:
    parts = [f"### {name}"]
    if described := schema.get("description"):
        parts.append(described)
    if schema.get("properties"):
        parts.append(table(["field", "type", "meaning"], fields_of(schema)))
    else:
        parts.append(f"One of {kind_of(schema)}.")
    return "\n\n".join(parts)


def _responses(whole: Schema) -> dict[str, Any]:
    return whole["components"]["responses"]


def _examples(response: Schema) -> dict[str, Any]:
    """Bodies of a problem, by when they come."""
    content = response.get("content", {}).get("application/problem+json", {})
    if "example" in content:
        return {"": content["example"]}
    return {name: one["value"] for name, one in content.get("examples", {}).items()}


def _problem(whole: Schema, response: Schema) -> str:
    examples = _examples(response)
    first = next(iter(examples.values()))
    status = first["status"]
    fields = _own_fields(whole, response)
    parts = [f"## {status} {reason_phrase(status)}", response["description"]]
    if fields:
        parts.append("\n".join(fields))
    if len(examples) > 1:
        rows = ((name, code(one["type"]), one["detail"]) for name, one in examples.items())
        parts.append(table(["such as", "`type`", "`detail`"], rows))
    return "\n\n".join([*parts, f"```json\n{json.dumps(first, ensure_ascii=False, indent=2)}\n```"])


def _without_links(schema: Schema) -> Iterator[tuple[str, str, str]]:
    """As the types are on another page."""
    for name, kind, meaning in fields_of(schema):
        yield name, kind.replace(link_to("FieldError"), "[FieldError](api.md#fielderror)"), meaning
