"""``taskflow endpoints``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.output import Column
from taskflow.cli.remote.options import declared_option
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.remote.values import HEADER_FIELD, PAST, dict_of
from taskflow.cli.sections import Commands
from taskflow.cli.text import moment, moment_and_age
from taskflow.client.asynchronous.client import Client
from taskflow.client.task import Task
from taskflow.model.delivery import Delivery
from taskflow.model.topics import Endpoint, Recovered
from taskflow.schema.query import DeliveriesRequest
from taskflow.schema.topics import EndpointRequest, RotationRequest

DEFAULT_LIMIT: Final = 20
_COLUMNS: Final = (
    Column("ENDPOINT"),
    Column("ENABLED"),
    Column("FAILING SINCE", drop_order=2),
    Column("EVENT TYPES", may_shrink=True, drop_order=1),
    Column("URL", may_shrink=True, min_width=16),
)
_DELIVERY_COLUMNS: Final = (
    Column("ID"),
    Column("STATUS"),
    Column("EVENT TYPE", may_shrink=True),
    Column("CREATED", drop_order=2),
    Column("ATTEMPT", drop_order=3),
    Column("ERROR", may_shrink=True, min_width=12, drop_order=1),
)


@click.group("endpoints", cls=Commands)
def endpoints_command() -> None:
    """Create, show, test, recover and delete the endpoints of a topic.

    \b
      taskflow endpoints put orders billing https://example.com/webhooks
      taskflow endpoints test orders billing
      taskflow endpoints deliveries orders billing --status FAILED
    """


@endpoints_command.command("list")
@click.argument("topic")
@json_option("Endpoint")
@service_options
def _list_endpoints(*, topic: str, as_json: bool, service: RemoteService) -> None:
    """List the endpoints of a topic by name.

    \b
      taskflow endpoints list orders
    """

    async def work(client: Client) -> list[Endpoint]:
        return [one async for one in client.topics.endpoints(topic)]

    output.records(service.call(work), _COLUMNS, row_of, as_json=as_json)


@endpoints_command.command("show")
@click.argument("topic")
@click.argument("name")
@json_option("Endpoint")
@service_options
def _show(*, topic: str, name: str, as_json: bool, service: RemoteService) -> None:
    """Show an endpoint: what it receives, and whether it fails.

    \b
      taskflow endpoints show orders billing
    """
    endpoint = service.call(lambda client: client.topics.endpoint(topic, name))
    output.record(endpoint, pairs_of, as_json=as_json)


@endpoints_command.command("put")
@click.argument("topic")
@click.argument("name")
@click.argument("target", metavar="URL")
@click.option(
    "--type",
    "event_types",
    multiple=True,
    metavar="TYPE",
    help="An event type that it receives, or the beginning of types such as invoice.*. Default: "
    "all.",
)
@click.option("--header", "-H", type=HEADER_FIELD, multiple=True, help="A header of its requests.")
@declared_option(EndpointRequest, "timeout_seconds", "--fetch-timeout", argument="fetch_timeout")
@declared_option(EndpointRequest, "queue", metavar="NAME")
@declared_option(EndpointRequest, "credential", metavar="NAME")
@declared_option(EndpointRequest, "max_attempts")
@declared_option(EndpointRequest, "enabled", "--enabled/--disabled")
@click.option(
    "--secret-file",
    "path",
    type=Path,
    help="A file with its signing secret. Default: its present one, or the secrets of the service.",
)
@json_option("Endpoint")
@service_options
def _put(  # noqa: PLR0913 - each is an option
    *,
    topic: str,
    name: str,
    target: str,
    event_types: tuple[str, ...],
    header: tuple[tuple[str, str], ...],
    fetch_timeout: float | None,
    queue: str | None,
    credential: str | None,
    max_attempts: int | None,
    enabled: bool | None,
    path: Path | None,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Create or replace an endpoint. What is not given gets its default.

    \b
      taskflow endpoints put orders billing https://example.com/webhooks --type 'invoice.*'
      taskflow endpoints put orders billing https://example.com/webhooks --secret-file s.txt
    """
    secret = None if path is None else _secret_in(path)

    async def work(client: Client) -> Endpoint:
        return await client.topics.put_endpoint(
            topic,
            name,
            target,
            event_types=event_types or None,
            headers=dict_of(header, "--header"),
            timeout_seconds=fetch_timeout,
            queue=queue,
            credential=credential,
            max_attempts=max_attempts,
            enabled=enabled,
            signing_secret=secret,
        )

    output.record(service.call(work), pairs_of, as_json=as_json)


@endpoints_command.command("delete")
@click.argument("topic")
@click.argument("name")
@service_options
def _delete(*, topic: str, name: str, service: RemoteService) -> None:
    """Delete an endpoint.

    \b
      taskflow endpoints delete orders billing
    """
    service.call(lambda client: client.topics.delete_endpoint(topic, name))
    output.line(f"{topic}/{name}", "deleted")


@endpoints_command.command("deliveries")
@click.argument("topic")
@click.argument("name")
@declared_option(DeliveriesRequest, "status")
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(1),
    default=DEFAULT_LIMIT,
    show_default=True,
    help="Maximum number of deliveries.",
)
@json_option("Task")
@service_options
def _deliveries(
    *,
    topic: str,
    name: str,
    status: str | None,
    limit: int,
    as_json: bool,
    service: RemoteService,
) -> None:
    """List the deliveries of an endpoint, newest first; `taskflow show` has more of each.

    \b
      taskflow endpoints deliveries orders billing --status FAILED
    """

    async def work(client: Client) -> list[Task]:
        found: list[Task] = []
        page = min(limit, 100)
        async for one in client.topics.deliveries(topic, name, status=status, page=page):
            found.append(one)
            if len(found) == limit:
                break
        return found

    output.records(service.call(work), _DELIVERY_COLUMNS, _delivery_row_of, as_json=as_json)


@endpoints_command.command("test")
@click.argument("topic")
@click.argument("name")
@json_option("PublishedEvent")
@service_options
def _test(*, topic: str, name: str, as_json: bool, service: RemoteService) -> None:
    """Send a test event to an endpoint, and print the id of its delivery.

    \b
      taskflow endpoints test orders billing
    """
    event = service.call(lambda client: client.topics.test_endpoint(topic, name))
    if as_json:
        output.json_line(event)
    else:
        output.line(*event.tasks)


@endpoints_command.command("rotate")
@click.argument("topic")
@click.argument("name")
@click.option("--secret-file", "path", type=Path, help="A file with the new secret.")
@declared_option(RotationRequest, "overlap_seconds")
@json_option("RotatedSecret")
@service_options
def _rotate(
    *,
    topic: str,
    name: str,
    path: Path | None,
    overlap_seconds: float | None,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Rotate the signing secret of an endpoint, and print the new one, which is not shown again.

    \b
      taskflow endpoints rotate orders billing --overlap 2h
    """
    secret = None if path is None else _secret_in(path)
    rotated = service.call(
        lambda client: client.topics.rotate_secret(
            topic, name, signing_secret=secret, overlap_seconds=overlap_seconds
        )
    )
    if as_json:
        output.json_line(rotated)
    else:
        output.line(rotated.signing_secret)


@endpoints_command.command("recover")
@click.argument("topic")
@click.argument("name")
@click.option(
    "--since",
    type=PAST,
    required=True,
    help="FAILED deliveries of events from this time on are sent again: a time, or an age.",
)
@json_option("Recovered")
@service_options
def _recover(
    *, topic: str, name: str, since: dt.datetime, as_json: bool, service: RemoteService
) -> None:
    """Send again what an endpoint failed to receive.

    \b
      taskflow endpoints recover orders billing --since 2d
    """

    async def work(client: Client) -> int:
        count, is_complete = 0, False
        while not is_complete:
            recovered = await client.topics.recover(topic, name, since)
            count, is_complete = count + recovered.count, recovered.complete
        return count

    count = service.call(work)
    if as_json:
        output.json_line(Recovered(count, complete=True))
    else:
        output.line(f"{count} deliveries are sent again")


def _secret_in(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", ExitStatus.USAGE) from None
    except UnicodeDecodeError:
        raise Failure(f"{path} is not text", ExitStatus.USAGE) from None


def row_of(endpoint: Endpoint) -> tuple[object, ...]:
    """Return the cells of an endpoint."""
    return (
        endpoint.name,
        "yes" if endpoint.enabled else "no",
        moment(endpoint.failing_since),
        " ".join(endpoint.event_types),
        endpoint.url,
    )


def pairs_of(endpoint: Endpoint) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe an endpoint."""
    now = dt.datetime.now(dt.UTC)
    yield "endpoint", f"{endpoint.topic}/{endpoint.name}"
    yield "url", endpoint.url
    yield "enabled", "yes" if endpoint.enabled else "no"
    yield "disabled", endpoint.disabled_reason
    yield "failing since", moment_and_age(endpoint.failing_since, now)
    yield "event types", " ".join(endpoint.event_types)
    for name, value in endpoint.headers.items():
        yield "header", f"{name}: {value}"
    yield "timeout", endpoint.timeout_seconds and f"{endpoint.timeout_seconds:g} s"
    yield "queue", endpoint.queue
    yield "credential", endpoint.credential
    yield "attempts", endpoint.max_attempts
    yield "signing", endpoint.signing
    yield "former secret until", moment_and_age(endpoint.former_secret_until, now)
    yield "created", moment_and_age(endpoint.created_at, now)
    yield "updated", moment_and_age(endpoint.updated_at, now)


def _delivery_row_of(task: Task) -> tuple[object, ...]:
    delivery = task.delivery
    return (
        task.id,
        task.status,
        delivery.event_type if isinstance(delivery, Delivery) else None,
        moment(task.created_at),
        f"{task.attempt}/{task.max_attempts}",
        task.error,
    )
