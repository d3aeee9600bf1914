"""The named types of the document: ``components/schemas``, made of the types that validate."""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import itertools
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET

from taskflow.api import problems
from taskflow.api.bulk_actions import ManyMoved
from taskflow.api.listing import Broken, TaskFields
from taskflow.api.monitoring import History
from taskflow.api.submission import Added, Refused, Summary
from taskflow.model import outcome
from taskflow.model.errors import Fault
from taskflow.model.event import TaskEvent
from taskflow.model.monitoring import HostRecord, Minute, NodeRecord, RunningTask
from taskflow.model.options import Backoff
from taskflow.model.outcome import ErrorType
from taskflow.model.problem_types import ProblemType
from taskflow.model.queue_limits import Hold, HoldReason, HostHold, HostLimits, Rate
from taskflow.model.queues import Ended, Queue, QueueStatistics, TaskStatistics, TotalStatistics
from taskflow.model.request import RequestPayload
from taskflow.model.schedule import Missed, Schedule
from taskflow.model.task import AttemptRecord, AttemptStatus, Task, TaskStatus
from taskflow.schema import schedules, tasks
from taskflow.schema.filters import FILTERS, ManyRequest
from taskflow.schema.merge_patch import patch_type
from taskflow.schema.queues import HostLimitsRequest, QueuePatch, QueueRequest, RateRequest
from taskflow.schema.schedules import SchedulePatch, ScheduleRequest
from taskflow.schema.tasks import TaskRequest, TaskTemplate

Json: TypeAlias = dict[str, Any]

_SENT: Final = (
    *(TaskRequest, RequestPayload, Backoff, ManyRequest),
    *(QueueRequest, HostLimitsRequest, RateRequest),
    *(QueuePatch, patch_type(HostLimitsRequest), patch_type(RateRequest)),
    *(TaskTemplate, ScheduleRequest, SchedulePatch),
)
_SHOWN: Final = (
    *(Task, TaskFields, TaskEvent, AttemptRecord, outcome.Response, outcome.KeptResponse),
    *(problems.Problem, ProblemType, Fault),
    *(Added, Refused, Summary, ManyMoved, Broken, Schedule),
    *(Queue, HostLimits, Rate, Hold),
    *(TaskStatistics, QueueStatistics, TotalStatistics, Ended),
    *(History, Minute, NodeRecord, RunningTask, HostRecord, HostHold),
)
_ENUMS: Final = (TaskStatus, AttemptStatus, ErrorType, HoldReason, Missed)
_PARAGRAPH: Final = "\n\n"
_SCHEMAS: Final = "#/components/schemas/{name}"


def schema_of(kind: Any) -> Json:
    """Of a type, with named ones by reference."""
    [schema], _ = msgspec.json.schema_components([kind], ref_template=_SCHEMAS)
    return schema


def schemas() -> Json:
    """The named types, with the meanings of their fields."""
    _, components = msgspec.json.schema_components((*_SENT, *_SHOWN), ref_template=_SCHEMAS)
    for schema in components.values():
        schema["description"] = prose(schema["description"])
    for kind in (*_SENT, *_SHOWN):
        _explain(components[kind.__name__], kind)
    for kind in _ENUMS:
        components[kind.__name__] |= _values(kind)
    for kind in _SHOWN:
        _name_keys(components[kind.__name__], kind)
        _make_whole(components[kind.__name__], kind)
    for name in ("TaskRequest", "TaskTemplate"):
        _ignore(components[name], tasks.ONLY_SHOWN)
    _ignore(components["ScheduleRequest"], schedules.ONLY_SHOWN)
    _forbid_both(components["TaskRequest"], "run_at", "delay")
    _demand_one(components["ManyRequest"], FILTERS, "all")
    _forbid_both(components["ScheduleRequest"], "cron", "start_at")
    components["ScheduleRequest"]["oneOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
        for name in ("cron", "every")
    ]
    for name in ("Task", "TaskFields"):  # to stores a result is text
        components[name]["properties"]["result"] |= {
            "anyOf": [schema_of(outcome.Response), {"type": "null"}]
        }
    return components


def _explain(schema: Json, kind: type) -> None:
    schema["description"], meanings = described(kind)
    for name, meaning in meanings.items():
        schema["properties"][name]["description"] = meaning


def _values(kind: type[enum.StrEnum]) -> Json:
    """The values of an enumeration in their order, with what each of them means."""
    text, meanings = inspect.getdoc(kind) or "", _meanings_of(kind)
    told = {value.value: meanings[value.name] for value in kind}
    listed = "".join(f"\n- `{value}`: {meaning}" for value, meaning in told.items())
    return {
        "type": "string",
        "enum": list(told),
        "description": f"{prose(text.partition(_PARAGRAPH)[0])}\n{listed}",
        "x-enumDescriptions": told,
    }


@functools.cache
def _meanings_of(kind: type[enum.StrEnum]) -> dict[str, str]:
    """What each member means: the first paragraph of what stands below it in the source."""
    # To have a class's own source found takes longer than to read all of its module.
    module = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    [definition] = (
        node
        for node in module.body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    meanings = {}
    for member, below in itertools.pairwise(definition.body):
        match member, below:
            case ast.Assign(targets=[ast.Name(name)]), ast.Expr(ast.Constant(str(text))):
                meanings[name] = prose(inspect.cleandoc(text).partition(_PARAGRAPH)[0])
    return meanings


def _ignore(schema: Json, names: Iterable[str]) -> None:
    """What is shown may be sent back: these fields are accepted, whatever they are."""
    schema["patternProperties"] = {f"^({'|'.join(sorted(names))})$": True}


def _forbid_both(schema: Json, one: str, other: str) -> None:
    """Two fields must not be given together; null is as if it was not given."""
    properties = {name: {"not": {"type": "null"}} for name in (one, other)}
    schema["not"] = {"required": [one, other], "properties": properties}


def _demand_one(schema: Json, names: Iterable[str], flag: str) -> None:
    """One of the fields must be given, or the flag be true."""
    schema["anyOf"] = [
        *({"required": [name]} for name in names),
        {"required": [flag], "properties": {flag: {"const": True}}},
    ]


def _name_keys(schema: Json, kind: type) -> None:
    """List the names that an object may have where they are the values of an enumeration."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        match field.type:
            case msgspec.inspect.DictType(key_type=msgspec.inspect.EnumType(cls=names)):
                schema["properties"][field.encode_name]["propertyNames"] = schema_of(names)


def _make_whole(schema: Json, kind: type) -> None:
    """What is shown has all its fields but those that can be unset, with whatever value."""
    schema["required"] = [
        field.encode_name for field in msgspec.structs.fields(kind) if field.default is not UNSET
    ]
    for field in schema["properties"].values():
        field.pop("default", None)
        if {} in field.get("anyOf", ()):  # any JSON, or something that is JSON too
            del field["anyOf"]


def described(kind: type) -> tuple[str, dict[str, str]]:
    """Return what the docstring of a class says about it and about each attribute."""
    text, _, attributes = (inspect.getdoc(kind) or "").partition("\n\nAttributes:\n")
    # Each begins at an indentation of four; its further lines are indented by more.
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE)
    return prose(text), {name: prose(meaning) for name, meaning in entries}


def prose(text: str) -> str:
    """Return the text of a docstring as Markdown, in terms of JSON."""
    return re.sub(r"\s+", " ", text).replace("``None``", "null").replace("``", "`")


def plain(value: object) -> Any:
    """A value as it looks when it was sent."""
    return msgspec.json.decode(msgspec.json.encode(value))
