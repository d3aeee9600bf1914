"""JSON Schemas, as people read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.reference.markdown import code

Schema = Mapping[str, Any]

FORMATS = {
    "date-time": "date and time (RFC 3339)",
    "uuid": "UUID",
    "uri": "URI",
    "binary": "bytes",
}


def kind_of(schema: Schema) -> str:
    """Return the type of a value in a few words, with links to named types."""
    if ref := schema.get("$ref"):
        return link_to(ref.rpartition("/")[2])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(json.dumps(one)) for one in schema["enum"])
    for word in ("anyOf", "oneOf"):
        if kinds := [kind_of(one) for one in schema.get(word, ())]:
            return " or ".join(dict.fromkeys(kinds))
    return " or ".join(_plain(one, schema) for one in _types(schema)) or "any JSON"


def link_to(name: str) -> str:
    """Return a link to a named type."""
    return f"[{name}](#{name.lower()})"


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _plain(kind: str, schema: Schema) -> str:
    if kind == "array":
        items = kind_of(schema.get("items", {}))
        items = f"({items})" if " or " in items or ", `" in items else items
        return f"array{_bounds(schema, 'Items', ' items')} of {items}"
    if kind == "string":
        bounds = _bounds(schema, "Length", " characters")
        return FORMATS.get(schema.get("format", ""), f"string{bounds}")
    if kind in {"integer", "number"}:
        return f"{kind}{_bounds(schema, 'imum')}"
    if kind == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        return f"object of {kind_of(values)}"
    return kind


def _bounds(schema: Schema, of: str, unit: str = "") -> str:
    minimum, maximum = schema.get(f"min{of}"), schema.get(f"max{of}")
    if "exclusiveMinimum" in schema and of == "imum":
        upper = "" if maximum is None else f", at most {maximum:,}"
        return f" (above {schema['exclusiveMinimum']:,}{upper})"
    if minimum is None and maximum is None:
        return ""
    if minimum is None:
        return f" (at most {maximum:,}{unit})"
    if maximum is None:
        return " (not empty)" if unit and minimum == 1 else f" (at least {minimum:,}{unit})"
    return f" ({minimum:,} to {maximum:,}{unit})"


def fields_of(schema: Schema) -> Iterator[tuple[str, str, str]]:
    """Yield the name, type and description of each field of an object."""
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        kind = kind_of(field)
        optional = f"{kind.removesuffix(' or null')}; optional"
        yield code(name), kind if name in required else optional, meaning_of(field)


def meaning_of(schema: Schema) -> str:
    """Return the description of a schema, with its default."""
    meaning = str(schema.get("description", ""))
    if schema.get("default") is not None and "Default: " not in meaning:
        meaning += f" Default: {code(json.dumps(schema['default']))}."
    return meaning
