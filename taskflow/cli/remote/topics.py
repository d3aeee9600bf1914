"""``taskflow topics``."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.output import Column
from taskflow.cli.remote.options import declared_option
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.sections import ListCommands
from taskflow.cli.text import moment, moment_and_age
from taskflow.client.asynchronous.client import Client
from taskflow.model.topics import Topic
from taskflow.schema.topics import TopicRequest

STANDARD_INPUT: Final = "-"
_COLUMNS: Final = (
    Column("TOPIC"),
    Column("QUEUE"),
    Column("ENDPOINTS"),
    Column("CREATED", drop_order=1),
)


@click.group("topics", cls=ListCommands)
def topics_command() -> None:
    """Create, show and delete topics, and publish events; without a subcommand, list them.

    \b
      taskflow topics put orders
      taskflow endpoints put orders billing https://example.com/webhooks
      taskflow topics publish orders invoice.paid '{"invoice": 4711}'
    """


@topics_command.command("list")
@json_option("Topic")
@service_options
def _list_topics(*, as_json: bool, service: RemoteService) -> None:
    """List topics by name.

    \b
      taskflow topics list
    """

    async def work(client: Client) -> list[Topic]:
        return [one async for one in client.topics.iter()]

    output.records(service.call(work), _COLUMNS, row_of, as_json=as_json)


@topics_command.command("show")
@click.argument("name")
@json_option("Topic")
@service_options
def _show(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Show a topic.

    \b
      taskflow topics show orders
    """
    topic = service.call(lambda client: client.topics.get(name))
    output.record(topic, pairs_of, as_json=as_json)


@topics_command.command("put")
@click.argument("name")
@declared_option(TopicRequest, "queue", metavar="NAME")
@json_option("Topic")
@service_options
def _put(*, name: str, queue: str | None, as_json: bool, service: RemoteService) -> None:
    """Create or change a topic.

    \b
      taskflow topics put orders --queue webhooks
    """
    topic = service.call(lambda client: client.topics.put(name, queue=queue))
    output.record(topic, pairs_of, as_json=as_json)


@topics_command.command("delete")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@service_options
def _delete(*, name: str, yes: bool, service: RemoteService) -> None:
    """Delete a topic and its endpoints.

    \b
      taskflow topics delete orders --yes
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("give --yes to delete it without a question")
        click.confirm("Delete the topic and its endpoints?", abort=True, err=True)
    service.call(lambda client: client.topics.delete(name))
    output.line(name, "deleted")


@topics_command.command("publish")
@click.argument("topic")
@click.argument("event_type", metavar="TYPE")
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--idempotency-key", help="Calls with the same key publish one event.")
@json_option("PublishedEvent")
@service_options
def _publish(
    *,
    topic: str,
    event_type: str,
    data: str | None,
    idempotency_key: str | None,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Publish an event, and print its id; its data is JSON, or @FILE, or - for standard input.

    \b
      taskflow topics publish orders invoice.paid '{"invoice": 4711}'
      taskflow topics publish orders invoice.paid @invoice.json
    """
    document = _document_of("null" if data is None else data)
    event = service.call(
        lambda client: client.topics.publish(
            topic, event_type, document, idempotency_key=idempotency_key
        )
    )
    if as_json:
        output.json_line(event)
    else:
        output.line(event.id, f"{len(event.tasks)} deliveries")


def _document_of(data: str) -> msgspec.Raw:
    """Read the data of an event."""
    try:
        text = data.encode()
        if data == STANDARD_INPUT:
            text = sys.stdin.buffer.read()
        elif data.startswith("@"):
            text = Path(data[1:]).read_bytes()
        msgspec.json.decode(text, type=msgspec.Raw)
    except OSError as error:
        raise Failure(f"{data[1:]} cannot be read: {error.strerror}", ExitStatus.USAGE) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failure("the data is not JSON", ExitStatus.USAGE) from None
    return msgspec.Raw(text)


def row_of(topic: Topic) -> tuple[object, ...]:
    """Return the cells of a topic."""
    return (topic.name, topic.queue, topic.endpoints, moment(topic.created_at))


def pairs_of(topic: Topic) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe a topic."""
    now = dt.datetime.now(dt.UTC)
    yield "topic", topic.name
    yield "queue", topic.queue
    yield "endpoints", topic.endpoints
    yield "created", moment_and_age(topic.created_at, now)
    yield "updated", moment_and_age(topic.updated_at, now)
