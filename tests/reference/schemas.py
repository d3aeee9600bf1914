"""JSON Schemas, as people read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.reference.markdown import code

Schema = Mapping[str, Any]

FORMATS = {"date-time": "a time (RFC 3339)", "uuid": "a UUID", "uri": "a URI"}


def kind_of(schema: Schema) -> str:
    """What a value may be, in a few words, with links to types that have a name."""
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
    """A link to the type of this name."""
    return f"[{name}](#{name.lower()})"


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _plain(kind: str, schema: Schema) -> str:
    if kind == "array":
        items = kind_of(schema.get("items", {}))
        items = f"({items})" if " or " in items or ", `" in items else items
        return f"an array{_bounds(schema, 'Items')} of {items}"
    if kind == "string":
        return FORMATS.get(schema.get("format", ""), f"text{_bounds(schema, 'Length')}")
    if kind in {"integer", "number"}:
        word = "a whole number" if kind == "integer" else "a number"
        return f"{word}{_bounds(schema, 'imum')}"
    if kind == "object" and (values := schema.get("additionalProperties")):
        return f"an object of {kind_of(values)}" if isinstance(values, dict) else "an object"
    return {"boolean": "true or false", "null": "null", "object": "an object"}[kind]


def _bounds(schema: Schema, of: str) -> str:
    least, most = schema.get(f"min{of}"), schema.get(f"max{of}")
    if "exclusiveMinimum" in schema and of == "imum":
        return f" (above {schema['exclusiveMinimum']:,}{'' if most is None else f', to {most:,}'})"
    if least is None and most is None:
        return ""
    if least is None:
        return f" ({most:,} at most)"
    return f" ({least:,} at least)" if most is None else f" ({least:,} to {most:,})"


def fields_of(schema: Schema) -> Iterator[tuple[str, str, str]]:
    """Name, what it may be, meaning: of each field of an object."""
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        kind = kind_of(field)
        optional = f"{kind.removesuffix(' or null')}; optional"
        yield code(name), kind if name in required else optional, meaning_of(field)


def meaning_of(schema: Schema) -> str:
    """What is told of it, with its default."""
    meaning = str(schema.get("description", ""))
    if schema.get("default") is not None and "Default: " not in meaning:
        meaning += f" Default: {code(json.dumps(schema['default']))}."
    return meaning
