"""Completes ids of tasks of which the command line has the first digits."""

from __future__ import annotations

import uuid
from typing import Final

import click

from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.text import moment, safe
from taskflow.client.asynchronous.client import Client
from taskflow.client.task import Task
from taskflow.model.filter import url_of

MAX_LISTED: Final = 10
_FIELDS: Final = ("queue",)
_MAX_URL: Final = 60
_ID_DIGITS: Final = 32


async def full_id(client: Client, text: str) -> uuid.UUID:
    """Return the id that begins with a text that ``TaskId`` accepted.

    Raises:
        Failure: No task has such an id, or several have.
    """
    if len(text.replace("-", "")) == _ID_DIGITS:
        return uuid.UUID(text)
    found = await client.list_tasks(limit=MAX_LISTED + 1, fields=_FIELDS, id_prefix=text)
    if not found:
        raise Failure(f"no task has an id that begins with {text}", ExitStatus.NOT_FOUND)
    if len(found) > 1:
        lines = [_described(task) for task in found[:MAX_LISTED]]
        lines += ["..."] if len(found) > MAX_LISTED else []
        click.echo("\n".join(lines), err=True)
        raise Failure(f"several tasks have ids that begin with {text}", ExitStatus.USAGE)
    return found[0].id


def _described(task: Task) -> str:
    url = safe(url_of(task.payload_bytes)[:_MAX_URL])
    return f"{task.id}  {task.status}  {task.queue}  {moment(task.created_at)}  {url}".rstrip()
