"""What ``POST /groups`` accepts, as a new group and its first tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from taskflow.api.reading.graph import check_graph
from taskflow.checkpoints import Checkpoints
from taskflow.model.errors import RequestError
from taskflow.model.groups import NewGroup, OnMemberFailure
from taskflow.model.request import RequestPayload
from taskflow.model.task import DEFAULT_QUEUE, NewTask
from taskflow.schema.graph_tasks import refuse_links
from taskflow.schema.groups import NOT_IN_COMPLETIONS, ONLY_SHOWN, GroupRequest
from taskflow.schema.json_text import object_fields
from taskflow.schema.new_task import elements_of
from taskflow.schema.reader import Fields, Reader
from taskflow.schema.tasks import KEYS, SINGLE_MOMENTS, TaskRequest
from taskflow.schema.validation_errors import ValidationErrors, token

HOW: Final = (
    'send a JSON object such as {"on_complete": {"payload": "https://example.com/done"}, "tasks": '
    '[{"payload": "https://example.com/"}]}'
)
_READER: Final = Reader(
    GroupRequest,
    ignored=ONLY_SHOWN,
    elsewhere=[
        (
            set(TaskRequest.__struct_fields__) - set(GroupRequest.__struct_fields__),
            "{} goes inside on_complete, or inside a task of tasks",
        ),
        (RequestPayload.__struct_fields__, "{} goes inside on_complete.payload"),
    ],
    custom={"on_complete": lambda text, _: text, "tasks": lambda text, _: text},
)
_NULL: Final = b"null"
_PAYLOAD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

ReadTask = Callable[[bytes], NewTask]
"""Reads a task as ``POST /tasks`` does."""


async def new_group_of(body: bytes, read_task: ReadTask) -> tuple[NewGroup, list[NewTask]]:
    """Read a group and its first tasks.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    fields = object_fields(body, how=HOW)
    errors = ValidationErrors()
    given = _READER.read(fields, errors)
    template = _text_of(fields, "on_complete")
    completion = None if template is None else _completion_of(template, read_task, errors)
    elements = _text_of(fields, "tasks")
    tasks = [] if elements is None else await _members_of(elements, read_task, errors)
    errors.raise_if_any()
    is_open = given.get("open")
    group = NewGroup(
        name=given.get("name"),
        queue=given.get("queue") or DEFAULT_QUEUE,
        on_complete=None if template is None else msgspec.Raw(template),
        completion=completion,
        on_failure=given.get("on_failure") or OnMemberFailure.RUN,
        tags=given.get("tags") or {},
        is_open=not tasks if is_open is None else is_open,
    )
    return group, tasks


def _text_of(fields: Fields, name: str) -> bytes | None:
    text = bytes(fields.get(name, _NULL))
    return None if text == _NULL else text


async def _members_of(text: bytes, read_task: ReadTask, errors: ValidationErrors) -> list[NewTask]:
    try:
        elements: Sequence[msgspec.Raw] = elements_of(text)
    except RequestError as error:
        errors.add_part("/tasks", "tasks", error)
        return []
    tasks, checkpoints = [], Checkpoints()
    for index, element in enumerate(elements):
        place, label = f"/tasks{token(index)}", f"tasks[{index}]"
        await checkpoints.after(len(bytes(element)))
        try:
            task = read_task(bytes(element))
        except RequestError as error:
            errors.add_part(place, label, error)
        else:
            if task.group is not None:
                errors.add(f"{place}/group", f"{label}.group is the new group; leave it out")
            for name in KEYS:
                if getattr(task.options, name) is not None:
                    what = f"{label}.{name} must not be given: tasks of a group have no such key"
                    errors.add(f"{place}/{name}", what)
            tasks.append(task)
        if errors.is_full:
            break
    if not errors:
        await check_graph(tasks, errors, under="/tasks")
    return tasks


def _completion_of(text: bytes, read_task: ReadTask, errors: ValidationErrors) -> NewTask | None:
    """Return the template of the completion task; its payload is an object without a body."""
    if not text.startswith(b"{"):
        errors.add(
            "/on_complete", f"on_complete must be an object, as POST /tasks accepts it; {HOW}"
        )
        return None
    try:
        task = read_task(text)
    except RequestError as error:
        errors.add_part("/on_complete", "on_complete", error)
        return None
    excluded = {name: getattr(task, name) for name in (*SINGLE_MOMENTS, "group")}
    excluded |= {name: getattr(task, name) for name in NOT_IN_COMPLETIONS}
    excluded |= {name: getattr(task.options, name) for name in KEYS}
    for name, value in excluded.items():
        if value is not None:
            errors.add(
                f"/on_complete/{name}",
                f"on_complete.{name} is for POST /tasks: the task of a completed group cannot have "
                "it",
            )
    refuse_links(task, "/on_complete", errors)
    payload = _request_of(bytes(task.payload), errors)
    return msgspec.structs.replace(task, payload=msgspec.Raw(payload))


def _request_of(payload: bytes, errors: ValidationErrors) -> bytes:
    """Return a payload as an object with a method and without a body."""
    if payload.startswith(b"{"):
        request = _PAYLOAD.decode(payload)
        if bytes(request.pop("body", _NULL)) != _NULL:
            errors.add(
                "/on_complete/payload/body",
                "on_complete.payload.body is set by TaskFlow: it has the group and its counts; "
                "leave it out",
            )
        if bytes(request.get("method", _NULL)) == _NULL:
            request["method"] = msgspec.Raw(b'"POST"')
        return msgspec.json.encode(request)
    if not payload.startswith(b'"'):
        errors.add(
            "/on_complete/payload",
            "on_complete.payload must be a URL, or a whole request as an object",
        )
    return b'{"url":%b,"method":"POST"}' % payload
