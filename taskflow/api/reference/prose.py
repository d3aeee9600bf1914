"""What the page says of an operation: descriptions as HTML, schemas in words, the curl command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import msgspec
from markupsafe import Markup, escape

_CODE: Final = re.compile(r"`([^`]+)`")
_STRONG: Final = re.compile(r"\*\*([^*]+)\*\*")
Schema: TypeAlias = dict[str, Any]
# A detail of patterns that is not shown: a line end does not count as the end of the text.
_NO_LINE_END: Final = "(?!\n)"
_MAX_LISTED_VALUES: Final = 5
"""A longer list of values is collapsed."""
_NULL: Final = {"type": "null"}
_FORMATS: Final = {"date-time": "date and time", "uuid": "UUID", "binary": "bytes"}
ADDRESS: Final = "http://localhost:8080"
"""The address in commands; the page replaces it by the address of the service."""
_KEY: Final = '-H "Authorization: Bearer $TASKFLOW_API_KEY"'


def line(text: str) -> Markup:
    """Render a text of one paragraph, without the paragraph element."""
    marked = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    return Markup(_STRONG.sub(r"<strong>\1</strong>", marked))  # noqa: S704 - escaped above


def paragraphs(text: str) -> Markup:
    """Render a text of paragraphs and lists."""
    return Markup("\n").join(_block(block) for block in re.split(r"\n{2,}", text.strip()))


def _block(block: str) -> Markup:
    if not block.startswith("- "):
        return Markup("<p>{}</p>").format(line(block))
    items = (line(item) for item in block.removeprefix("- ").split("\n- "))
    return Markup("<ul>{}</ul>").format(
        Markup("").join(Markup("<li>{}</li>").format(item) for item in items)
    )


def kind_of(schema: Schema) -> Markup:
    """Return the type of values that a schema allows."""
    for key, describe in _KINDS.items():
        if key in schema:
            return describe(schema)
    return Markup("any JSON")


def limits_of(schema: Schema) -> list[str]:
    """Return the limits of a schema, each in a few words, and its default."""
    limited = next((one for one in schema.get("anyOf", ()) if one != _NULL), schema)
    return [*_range(limited), *_lengths(limited), *_pattern(limited), *_default(schema)]


def _named(schema: Schema) -> Markup:
    name = schema["$ref"].rpartition("/")[2]
    return Markup('<a href="#{0}">{1}</a>').format(anchor_of(name), name)


def anchor_of(name: str) -> str:
    """Return the anchor of a named type on the page."""
    return f"type-{name}"


def _one_of(schema: Schema) -> Markup:
    # Simple types first, then arrays, and null at the end.
    kinds = sorted(schema["anyOf"], key=lambda one: (one == _NULL, one.get("type") == "array"))
    return Markup(" or ").join(dict.fromkeys(kind_of(one) for one in kinds))


def _listed(schema: Schema) -> Markup:
    values = [_code(value) for value in schema["enum"]]
    if len(values) <= _MAX_LISTED_VALUES:
        return Markup(" or ").join(values)
    return Markup("<details><summary>one of {}</summary>{}</details>").format(
        len(values), Markup(", ").join(values)
    )


def _constant(schema: Schema) -> Markup:
    return _code(schema["const"])


def _code(value: object) -> Markup:
    return Markup("<code>{}</code>").format(msgspec.json.encode(value).decode())


def _typed(schema: Schema) -> Markup:
    kinds = schema["type"]
    if isinstance(kinds, list):
        return Markup(" or ").join(kinds)
    if kinds == "array":
        item = kind_of(schema.get("items", {}))
        listed = Markup("array of ({})") if " or " in item else Markup("array of {}")
        return listed.format(item)
    if kinds == "object" and isinstance(schema.get("additionalProperties"), dict):
        names = schema.get("propertyNames", {})
        return Markup("object of {} by {}").format(
            kind_of(schema["additionalProperties"]),
            kind_of(names) if "$ref" in names else "name",
        )
    if "format" in schema:
        return escape(_FORMATS.get(schema["format"], schema["format"]))
    return escape(kinds)


_KINDS: Final[dict[str, Callable[[Schema], Markup]]] = {
    "$ref": _named,
    "anyOf": _one_of,
    "enum": _listed,
    "const": _constant,
    "type": _typed,
}


def _range(schema: Schema) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        yield f"{_number(low)} to {_number(high)}"
    elif low is not None:
        yield f"at least {_number(low)}"
    elif high is not None:
        above = "above 0, " if schema.get("exclusiveMinimum") == 0 else ""
        yield f"{above}at most {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,}"


def _lengths(schema: Schema) -> Iterator[str]:
    for unit, lower, upper in (
        ("characters", "minLength", "maxLength"),
        ("items", "minItems", "maxItems"),
        ("fields", "minProperties", "maxProperties"),
    ):
        if schema.get(upper) is not None:
            yield f"at most {_number(schema[upper])} {unit}"
        elif schema.get(lower):
            yield f"at least {_number(schema[lower])} {unit}" if schema[lower] > 1 else "not empty"


def _pattern(schema: Schema) -> Iterator[str]:
    if "pattern" in schema:
        pattern = schema["pattern"].replace(_NO_LINE_END, "").encode("unicode_escape").decode()
        yield f"`{pattern.replace(chr(92) * 2, chr(92))}`"


def _default(schema: Schema) -> Iterator[str]:
    if schema.get("default") is not None:
        yield f"default: `{msgspec.json.encode(schema['default']).decode()}`"


def curl_of(method: str, path: str, operation: dict[str, Any], *, needs_key: bool) -> str:
    """Return the command that calls an operation, with its required parts filled from examples.

    Args:
        method: The method in lower case.
        path: The path, with the names of its parameters in braces.
        operation: The operation in the document.
        needs_key: Whether it requires an API key.
    """
    for one in operation["parameters"]:
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(one["example"]))
    parts = [f"curl{_options(operation)} {ADDRESS}{path}"]
    if needs_key:
        parts.append(_KEY)
    body = _first_body(operation)
    if body is not None:
        media_type, text = body
        parts.append(f"-H 'Content-Type: {media_type}'")
        parts.append(f"-d {shlex.quote(text)}")
    if method not in ("get", "post") or (method == "post" and body is None):
        parts[0] = parts[0].replace("curl", f"curl -X {method.upper()}", 1)
    return " \\\n  ".join(parts)


def _options(operation: dict[str, Any]) -> str:
    types = [
        name for response in operation["responses"].values() for name in response.get("content", {})
    ]
    if "text/event-stream" in types:
        return " -N"
    return " -OJ" if "*/*" in types else ""


def _first_body(operation: dict[str, Any]) -> tuple[str, str] | None:
    """Return the media type and the text of the first example of a body."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        for example in content.get("examples", {}).values():
            return media_type, msgspec.json.encode(example["value"]).decode()
    return None
