"""The rules of submitted tasks as data, for the functions of migration 0037 that read them.

They are derived from the declarations in ``taskflow/schema`` and ``taskflow/model``, so that a task
that is submitted with SQL is validated, and its errors are worded, as one that comes by HTTP.
"""

from __future__ import annotations

import inspect as builtin_inspect
import itertools
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from msgspec import inspect

from taskflow.enqueuing import IDEMPOTENCY_SECONDS
from taskflow.model import references
from taskflow.model import url as urls
from taskflow.model.completion import COMPLETION_URL_HEADER
from taskflow.model.errors import (
    BadRequest,
    BodyTooLarge,
    GroupClosed,
    IdempotencyKeyReused,
    NotUnique,
    RequestError,
    TaskGone,
    Unprocessable,
)
from taskflow.model.graphs import MAX_EDGES
from taskflow.model.hostname import MAX_NAME_CHARACTERS
from taskflow.model.masking import MASK, MASKING, MAX_SEARCHED_CHARACTERS
from taskflow.model.options import WEBHOOK_SECONDS
from taskflow.model.parents import MAX_CHILDREN
from taskflow.model.request import HEADERS_MADE_HERE, MAX_HEADERS, HeaderName, HeaderValue
from taskflow.model.signature import SIGNATURE_FIELDS
from taskflow.model.suggestions import ADVICE, MEANT_BY, Vocabulary
from taskflow.model.uniqueness import ALWAYS_UNIQUE, Debounce, Unique
from taskflow.model.untrusted_text import MAX_NESTING
from taskflow.schema.new_task import TASK_READER
from taskflow.schema.payload import PAYLOAD_READER
from taskflow.schema.reader import Reader
from taskflow.schema.tasks import MAX_TASKS
from taskflow.schema.validation_errors import (
    MAX_ERRORS,
    MAX_UNKNOWN,
    MAX_URL_BYTES,
    brackets_of_parts,
    expectation_of,
    kinds_of,
)
from taskflow.settings.fields import Settings

Rules: TypeAlias = dict[str, Any]

_FORBIDDEN_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cs", "Zs", "Zl", "Zp"))
# Assigned in Unicode 15; the supported versions of Python differ in whether they know it.
_RECENTLY_FORBIDDEN: Final = range(0x13430, 0x13440)
_SURROGATES: Final = range(0xD800, 0xE000)
_PROBLEMS: Final = (
    BadRequest,
    BodyTooLarge,
    Unprocessable,
    IdempotencyKeyReused,
    NotUnique,
    GroupClosed,
    TaskGone,
)
_PRINTABLE_ASCII: Final = range(0x20, 0x7F)


def rules() -> Rules:
    """Return all rules."""
    return {
        "task": _reader_rules(TASK_READER),
        "payload": _reader_rules(PAYLOAD_READER),
        "unique": _reader_rules(Reader(Unique)),
        "debounce": _reader_rules(Reader(Debounce)),
        "header_name": _kinds(inspect.type_info(HeaderName)),
        "header_value": _kinds(inspect.type_info(HeaderValue)),
        "headers_made_here": list(HEADERS_MADE_HERE),
        "signature_headers": list(SIGNATURE_FIELDS),
        "completion_header": COMPLETION_URL_HEADER,
        "webhook_seconds": list(WEBHOOK_SECONDS),
        "always_unique": list(ALWAYS_UNIQUE),
        "mask": MASK,
        "masked_parameter": f"({MASKING.parameters})",
        "not_in_urls": _not_in_urls(),
        "max_url_characters": urls.MAX_URL_CHARACTERS,
        "max_host_characters": MAX_NAME_CHARACTERS,
        "max_headers": MAX_HEADERS,
        "max_searched_characters": MAX_SEARCHED_CHARACTERS,
        "max_nesting": MAX_NESTING,
        "max_references": references.MAX_REFERENCES,
        "max_reference_depth": references.MAX_DEPTH,
        "max_pointer_characters": references.MAX_POINTER_CHARACTERS,
        "max_pointer_parts": references.MAX_POINTER_PARTS,
        "max_errors": MAX_ERRORS,
        "max_unknown": MAX_UNKNOWN,
        "max_shown_url_bytes": MAX_URL_BYTES,
        "max_tasks": MAX_TASKS,
        "max_task_bytes": Settings().max_body_bytes,
        "max_children": MAX_CHILDREN,
        "max_edges": MAX_EDGES,
        "idempotency_seconds": IDEMPOTENCY_SECONDS,
        "problems": {kind.problem.name: _problem_rules(kind) for kind in _PROBLEMS},
        "meant_by": dict(sorted(MEANT_BY.items())),
        "advice": dict(ADVICE),
    }


def _problem_rules(kind: type[RequestError]) -> Rules:
    """Return how errors of a kind are reported, with their message if they have a fixed one."""
    problem = kind.problem
    return {
        "type": problem.type,
        "status": int(problem.status),
        "detail": builtin_inspect.getdoc(kind) or "",
    }


def _reader_rules(reader: Reader[Any]) -> Rules:
    info = inspect.type_info(reader.kind)
    assert isinstance(info, inspect.StructType)
    return {
        **_names_rules(reader.names),
        "ignored": sorted(reader.ignored),
        "required": [field.encode_name for field in info.fields if field.required],
        "fields": {field.encode_name: _field_rules(field.type) for field in info.fields},
    }


def _names_rules(names: Vocabulary) -> Rules:
    elsewhere = {one: advice.format(one) for others, advice in names.elsewhere for one in others}
    return {"names": list(names.names), "elsewhere": dict(sorted(elsewhere.items()))}


def _field_rules(info: inspect.Type) -> Rules:
    kinds = list(kinds_of(info))
    found: Rules = {"kinds": _kinds(info), "expected": expectation_of(info)}
    if brackets := brackets_of_parts(kinds):
        found["parts"] = [{"{": "object", "[": "array"}[one] for one in brackets.decode()]
    if any(isinstance(kind, inspect.IntType) for kind in kinds):
        found["is_whole"] = True
    if any(isinstance(kind, inspect.RawType) for kind in kinds):
        found["is_any"] = True
    names = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    if names:
        [kind] = names
        found["names"] = [field.encode_name for field in kind.fields]
    return found


def _kinds(info: inspect.Type) -> list[Rules]:
    """Return the kinds of values that a type allows."""
    if isinstance(info, inspect.Metadata):
        return _kinds(info.type)
    if isinstance(info, inspect.UnionType):
        return list(itertools.chain.from_iterable(map(_kinds, info.types)))
    return [_KINDS[type(info)](info)]


def _text(info: Any) -> Rules:
    pattern = None if info.pattern is None else _pattern(info.pattern)
    return _given("string", pattern=pattern, min=info.min_length, max=info.max_length)


def _number(info: Any) -> Rules:
    assert info.gt is info.lt is info.multiple_of is None, "no field has these"
    name = "integer" if isinstance(info, inspect.IntType) else "number"
    return _given(name, min=info.ge, max=info.le)


def _array(info: Any) -> Rules:
    return {
        **_given("array", min=info.min_length, max=info.max_length),
        "items": _kinds(info.item_type),
    }


def _members(info: Any) -> Rules:
    return {
        **_given("members", min=info.min_length, max=info.max_length),
        "names": _kinds(info.key_type),
        "values": _kinds(info.value_type),
    }


def _object(info: Any) -> Rules:
    assert info.forbid_unknown_fields, "the readers reject unknown fields"
    required = [field.encode_name for field in info.fields if field.required]
    fields = {field.encode_name: _kinds(field.type) for field in info.fields}
    return {"kind": "object", "required": required, "fields": fields}


def _given(kind: str, **bounds: Any) -> Rules:
    return {"kind": kind, **{name: value for name, value in bounds.items() if value is not None}}


_KINDS: Final[dict[type[inspect.Type], Callable[[Any], Rules]]] = {
    inspect.NoneType: lambda _: {"kind": "null"},
    inspect.BoolType: lambda _: {"kind": "boolean"},
    inspect.RawType: lambda _: {"kind": "any"},
    inspect.UUIDType: lambda _: {"kind": "uuid"},
    inspect.DateTimeType: lambda _: {"kind": "moment"},
    inspect.EnumType: lambda info: {"kind": "one_of", "values": [one.value for one in info.cls]},
    inspect.LiteralType: lambda info: {"kind": "one_of", "values": list(info.values)},
    inspect.StrType: _text,
    inspect.IntType: _number,
    inspect.FloatType: _number,
    inspect.VarTupleType: _array,
    inspect.ListType: _array,
    inspect.DictType: _members,
    inspect.StructType: _object,
}


def _pattern(pattern: str) -> str:
    """Return a pattern as PostgreSQL reads it: jsonb has no U+0000, and neither has text."""
    return "".join(
        one if ord(one) in _PRINTABLE_ASCII else f"\\u{max(ord(one), 1):04x}" for one in pattern
    )


def _not_in_urls() -> str:
    """Return the pattern of what no URL contains (``_refuse_odd_characters``)."""
    odd = (0x5C, *range(1, 0x21), 0x7F, *filter(_is_forbidden, range(0x80, sys.maxunicode + 1)))
    return "[" + "".join(map(_range_text, _ranges(sorted(odd)))) + "]"


def _is_forbidden(code: int) -> bool:
    if code in _SURROGATES:  # no text in PostgreSQL contains them
        return False
    return code in _RECENTLY_FORBIDDEN or unicodedata.category(chr(code)) in _FORBIDDEN_CATEGORIES


def _ranges(codes: list[int]) -> Iterator[tuple[int, int]]:
    for _, run in itertools.groupby(enumerate(codes), lambda pair: pair[1] - pair[0]):
        found = [code for _, code in run]
        yield found[0], found[-1]


def _range_text(bounds: tuple[int, int]) -> str:
    return "-".join(f"\\U{code:08x}" for code in dict.fromkeys(bounds))
