"""Writes what is generated of the functions that submit tasks: ``python -m tools.sql_submission``.

The parts are in the newest migration that has them. A released migration stays as it is: copy its
functions into a new one first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import inspect

from taskflow.schema.tasks import TaskRequest
from taskflow.schema.validation_errors import kinds_of
from taskflow.store.postgres.rows import load_queries
from tools.sql_rules import rules

MIGRATIONS: Final = Path(__file__).parents[1] / "taskflow/store/postgres/migrations"
_PART: Final = re.compile(r"(?<=^-- generated: )(\w+)\n(.*?)(?=^-- end$)", re.MULTILINE | re.DOTALL)
_TYPES: Final[Mapping[type[inspect.Type], str]] = {
    inspect.IntType: "integer",
    inspect.FloatType: "double precision",
    inspect.BoolType: "boolean",
    inspect.DateTimeType: "timestamptz",
    inspect.UUIDType: "uuid",
    inspect.StrType: "text",
    inspect.EnumType: "text",
}
# Types that the declaration does not say: a single task has the ids of its parents.
_OTHER_TYPES: Final = {"after": "uuid[]"}
_DEFAULTS: Final = {"queue": "'default'"}
_FIRST: Final = ("payload", "queue")
# Other values than arrays of the statement `add`.
_NO_NODE: Final = {
    "%(token)s::uuid": "NULL::uuid",
    "%(node_id)s": "NULL::uuid",
    "%(sender)s": "''",
    "%(own_nodes)b::uuid[]": "'{}'::uuid[]",
    "%%": "%",
}
_ARRAYS: Final = re.compile(r"%\((\w+)\)b::(\w+\[\])")
_WIDTH: Final = 110


def parts() -> dict[str, str]:
    """Return the generated parts by name."""
    return {
        "rules": _rules(),
        "add": _add(),
        "parameters": _parameters(),
        "document": _document(),
    }


def parts_in(migration: Path) -> dict[str, str]:
    """Return the generated parts that a migration has."""
    return {found[1]: found[2] for found in _PART.finditer(migration.read_text("utf-8"))}


def newest_with(name: str) -> Path:
    """Return the newest migration that has a generated part."""
    return max(path for path in MIGRATIONS.glob("*.sql") if name in parts_in(path))


def _rules() -> str:
    lines = ",\n".join(_folded(rules()))
    return (
        "CREATE FUNCTION taskflow_submission_rules() RETURNS jsonb LANGUAGE sql IMMUTABLE "
        "PARALLEL SAFE AS $rules$\n"
        f"SELECT '{{\n{lines.replace(chr(39), 2 * chr(39))}\n}}'::jsonb\n$rules$;\n"
    )


def _folded(value: Mapping[str, Any], depth: int = 1) -> list[str]:
    """Return the members of an object as JSON, each on one line unless it is too long."""
    lines = []
    for name, member in value.items():
        text = json.dumps(member)
        if isinstance(member, dict) and len(text) > _WIDTH:
            inner = ",\n".join(_folded(member, depth + 1))
            text = f"{{\n{inner}\n{' ' * depth}}}"
        lines.append(f"{' ' * depth}{json.dumps(name)}: {text}")
    return lines


def _add() -> str:
    statement = load_queries()["add"]
    arrays = _ARRAYS.findall(statement.replace("%(own_nodes)b", ""))
    for text, other in _NO_NODE.items():
        statement = statement.replace(text, other)
    statement = _ARRAYS.sub(lambda found: f"new_{found[1]}", statement)
    parameters = ", ".join(f"new_{name} {kind}" for name, kind in arrays)
    return f"""CREATE FUNCTION taskflow_add({parameters})
RETURNS TABLE (place bigint, task_id uuid, task_priority smallint, task_run_at timestamptz,
               created_at timestamptz, is_claimed boolean) LANGUAGE plpgsql AS $add$
#variable_conflict use_column
BEGIN
RETURN QUERY
{statement};
END
$add$;
"""


def _parameters() -> str:
    lines = [f"    {_quoted(name)} {kind}{default}" for name, kind, default in _options()]
    return ",\n".join([*lines, "    idempotency_key text DEFAULT NULL"]) + "\n"


def _document() -> str:
    return ",\n".join(f"('{name}', to_jsonb({_quoted(name)}))" for name, *_ in _options()) + "\n"


def _options() -> list[tuple[str, str, str]]:
    """Return the name, the type and the default of each parameter that is a field of a task."""
    info = inspect.type_info(TaskRequest)
    assert isinstance(info, inspect.StructType)
    fields = {field.name: field for field in info.fields}
    others = [name for name in fields if name not in _FIRST]
    return [
        (
            name,
            _OTHER_TYPES.get(name) or _type_of(fields[name].type),
            "" if fields[name].required else f" DEFAULT {_DEFAULTS.get(name, 'NULL')}",
        )
        for name in (*_FIRST, *others)
    ]


def _type_of(info: inspect.Type) -> str:
    kinds = list(kinds_of(info))
    return _TYPES.get(type(kinds[0]), "jsonb") if len(kinds) == 1 else "jsonb"


def _quoted(name: str) -> str:
    """Return a name as an identifier: `group` and `unique` are words of SQL."""
    return f'"{name}"'


def write() -> None:
    """Write all parts."""
    for name, text in parts().items():
        path = newest_with(name)
        written = _PART.sub(
            lambda found, name=name, text=text: f"{name}\n{text}" if found[1] == name else found[0],
            path.read_text("utf-8"),
        )
        path.write_text(written, "utf-8")


if __name__ == "__main__":
    write()
