"""Writes the types of the TypeScript client: ``python -m tools.typescript``.

They come from the schemas of ``/openapi.json``. A generator from npm would write each operation,
too, which the client does not need, and could not run where there is no Node.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from taskflow.api.app import ROUTES
from taskflow.api.document.openapi import document

Schema: TypeAlias = dict[str, Any]

FILE: Final = Path(__file__).parents[1] / "clients" / "typescript" / "src" / "schemas.ts"
NOTE: Final = (
    "// Written by `python -m tools.typescript` from the schemas of /openapi.json: change those.\n"
)
# For types that would have the name of a class of the client, or of the Fetch API.
_OTHER_NAMES: Final = {"Problem": "ProblemDocument", "Response": "TaskResult"}
_WIDTH: Final = 100
_SIMPLE: Final = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
_NAME: Final = re.compile(r"[A-Za-z_$][\w$]*")


def written() -> str:
    """Return the module with a type for each named schema."""
    schemas = document(ROUTES, has_keys=True)["components"]["schemas"]
    return "\n".join([NOTE, *(_declaration(name, one) for name, one in schemas.items())])


def _declaration(name: str, schema: Schema) -> str:
    comment = "".join(f"{line}\n" for line in _comment(schema.get("description", ""), ""))
    if "properties" in schema and schema.get("type") == "object":
        return f"{comment}export interface {_named(name)} {_object(schema, '')}\n"
    return f"{comment}export type {_named(name)} = {type_of(schema)};\n"


def _object(schema: Schema, indent: str) -> str:
    """Return an object type with a line for each property."""
    inner = indent + "  "
    required = set(schema.get("required", ()))
    lines = ["{"]
    for name, field in schema["properties"].items():
        lines += _comment(field.get("description", ""), inner)
        key = name if _NAME.fullmatch(name) else json.dumps(name)
        mark = "" if name in required else "?"
        lines.append(f"{inner}{key}{mark}: {type_of(field, inner)};")
    return "\n".join([*lines, f"{indent}}}"])


def type_of(schema: Schema, indent: str = "") -> str:
    """Return the type of a schema, as an expression.

    Args:
        schema: The schema. Bounds and patterns have no counterpart.
        indent: What lines after the first one begin with.
    """
    if "$ref" in schema:
        return _named(schema["$ref"].rpartition("/")[2])
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return _union(map(json.dumps, values))
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return _union(type_of({**schema, "type": kind}, indent) for kind in kinds)
    # Beside a type, alternatives are rules about which properties there must be.
    if kinds is None and (alternatives := schema.get("anyOf") or schema.get("oneOf")):
        return _union(type_of(one, indent) for one in alternatives)
    if kinds == "object":
        return _mapping(schema, indent)
    return _array(schema, indent) if kinds == "array" else _SIMPLE.get(kinds or "", "unknown")


def _array(schema: Schema, indent: str) -> str:
    item = type_of(schema.get("items", {}), indent)
    return f"({item})[]" if " | " in item else f"{item}[]"


def _named(name: str) -> str:
    return _OTHER_NAMES.get(name, name)


def _mapping(schema: Schema, indent: str) -> str:
    if "properties" in schema:
        return _object(schema, indent)
    values = schema.get("additionalProperties")
    value = type_of(values, indent) if isinstance(values, dict) else "unknown"
    key = schema.get("propertyNames", {})
    if "$ref" in key:
        return f"Partial<Record<{type_of(key)}, {value}>>"
    return f"Record<string, {value}>"


def _union(types: Iterator[str]) -> str:
    return " | ".join(dict.fromkeys(types))


def _comment(text: str, indent: str) -> list[str]:
    """Return a description as a documentation comment."""
    if not text:
        return []
    text = text.replace("*/", "*\\/")
    lines = [part for line in text.splitlines() for part in _wrapped(line, len(indent) + 3)]
    if len(lines) == 1 and len(indent) + len(lines[0]) + 7 <= _WIDTH:
        return [f"{indent}/** {lines[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]


def _wrapped(line: str, used: int) -> list[str]:
    lines = [""]
    for word in line.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 1 > _WIDTH - used:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(written(), "utf-8")
