"""Requests and responses, without the connection between them."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import msgspec

from taskflow.client import arguments
from taskflow.client.arguments import checked_arguments, json_of, shown
from taskflow.client.errors import InvalidArgument, UnexpectedResponse, Unreachable
from taskflow.client.listing import Listing, missing_cells_of
from taskflow.client.options import Filters, moment_text, query_of, tag_query
from taskflow.client.task import Service
from taskflow.model.task import TagValue

T = TypeVar("T")

LONGEST_WAIT_SECONDS: Final = 60
"""The longest time that the service lets a response wait."""

NEEDED_FIELDS: Final = ("id", "payload", "status", "created_at", "run_at")
"""The fields that every task has."""

TITLE: Final = "TaskFlow"
"""The name in the document of the API."""

_JSON: Final = {"Content-Type": "application/json"}
# Streams are read as they arrive, so proxies must not compress them.
_LINES: Final = {"Accept": "application/x-ndjson", "Accept-Encoding": "identity"}
_EVENT_STREAM: Final = {"Accept": "text/event-stream"}
_USERINFO: Final = re.compile(r"//[^/?#]*@")
_NEXT: Final = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
# With these errors nothing has been sent.
_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
_HOW_TO_TRUST: Final = (
    "; if it has a certificate of a private authority, set SSL_CERT_FILE to the file of that "
    "authority's certificate"
)
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Call(msgspec.Struct, frozen=True):
    """A request.

    Attributes:
        method: The method, in capitals.
        path: The path below the address of the service.
        query: The parameters.
        headers: More headers.
        body: The body.
        is_repeatable: Whether it is idempotent.
        wait_seconds: How long the service may delay the response.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    is_repeatable: bool = True
    wait_seconds: int = 0


class Answer(msgspec.Struct, frozen=True):
    """A response.

    Attributes:
        status_code: The status.
        headers: The headers, by name in lower case.
        body: The whole body.
        via: Names the proxy of the connection, if there is one.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes
    via: str = ""

    def read(self, kind: type[T]) -> T:
        """Return the body as this type.

        Raises:
            UnexpectedResponse: It has another type.
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnexpectedResponse(
                f"the answer{self.via} is not one of TaskFlow's: {error}"
            ) from None

    def read_all(self, kind: type[T]) -> Listing[T]:
        """Return the body as a list of this type.

        Raises:
            UnexpectedResponse: It has another type.
        """
        items: list[T] = self.read(list[kind])  # type: ignore[valid-type]  # known when it runs
        return Listing(items, missing_cells_of(self.headers))

    @property
    def next_page(self) -> list[tuple[str, str]] | None:
        """Return the query of the next page, if there may be one."""
        link = _NEXT.search(self.headers.get("link", ""))
        return parse_qsl(urlsplit(link[1]).query, keep_blank_values=True) if link else None


def base_url_of(url: str) -> str:
    """Return the address of the service, without a slash at its end.

    Raises:
        InvalidArgument: It is not an address.
    """
    if not _is_address(url):
        seen = shown(shown_url(url) if isinstance(url, str) else url)
        raise InvalidArgument(
            f"{seen} is not the address of a service, such as http://127.0.0.1:8080"
        )
    return url.rstrip("/")


def _is_address(url: object) -> bool:
    if not isinstance(url, str) or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")  # as sockets do: no label is empty or too long
        return bool(is_whole and not parts.query and not parts.fragment and httpx.URL(url).host)
    except (ValueError, httpx.InvalidURL):  # also of names that cannot be international ones
        return False


def shown_url(url: str) -> str:
    """Return an address for messages, without user and password."""
    return _USERINFO.sub("//", url, count=1)


def credentials(api_key: str | None) -> dict[str, str]:
    """Return the headers with an API key.

    Raises:
        InvalidArgument: The key cannot be sent.
    """
    if api_key is None:
        return {}
    is_key = isinstance(api_key, str) and api_key.isascii() and api_key.isprintable()
    if not is_key or " " in api_key or not api_key:
        raise InvalidArgument("api_key must be printable ASCII without spaces")
    return {"Authorization": f"Bearer {api_key}"}


@checked_arguments()
def submission(body: bytes, key: str | None, wait_seconds: float | None = None) -> Call:
    """Return a submission; it has an idempotency key, so it can be repeated.

    Raises:
        InvalidArgument: The key cannot be sent.
    """
    wait = 0 if wait_seconds is None else whole_wait(wait_seconds)
    return Call(
        "POST",
        "/tasks",
        query=[("wait", str(wait))] if wait else [],
        headers={
            "Content-Type": "application/json",
            "Idempotency-Key": str(uuid.uuid4()) if key is None else _quoted(key),
        },
        body=body,
        wait_seconds=wait,
    )


def _quoted(key: str) -> str:
    """Return a key as a string of RFC 9651, as the draft of Idempotency-Key requires."""
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
        raise InvalidArgument("idempotency_key must be printable ASCII, such as a UUID")
    return '"' + key.replace("\\", r"\\").replace('"', r"\"") + '"'


def whole_wait(seconds: float) -> int:
    """Return how long the service should wait: whole seconds, at most its maximum."""
    wanted = arguments.seconds("wait_seconds", seconds)
    return math.ceil(min(LONGEST_WAIT_SECONDS, wanted))


def of_task(
    method: str, task_id: uuid.UUID | str, what: str = "", *, is_repeatable: bool = True
) -> Call:
    """Return a request for a task.

    Raises:
        InvalidArgument: It is not the id of a task.
    """
    try:
        known = task_id if isinstance(task_id, uuid.UUID) else uuid.UUID(task_id)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidArgument(f"{shown(task_id)} is not the id of a task: {error}") from None
    return Call(method, f"/tasks/{known}{what}", is_repeatable=is_repeatable)


@checked_arguments()
def new_group(body: bytes, key: str | None) -> Call:
    """Return a request for a new group; it has an idempotency key, so it can be repeated.

    Raises:
        InvalidArgument: The key cannot be sent.
    """
    return msgspec.structs.replace(submission(body, key), path="/groups")


def of_group(
    method: str, group_id: uuid.UUID | str, what: str = "", *, is_repeatable: bool = True
) -> Call:
    """Return a request for a group.

    Raises:
        InvalidArgument: It is not the id of a group.
    """
    try:
        known = group_id if isinstance(group_id, uuid.UUID) else uuid.UUID(group_id)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidArgument(f"{shown(group_id)} is not the id of a group: {error}") from None
    return Call(method, f"/groups/{known}{what}", is_repeatable=is_repeatable)


def of_failure(failure_id: uuid.UUID | str) -> Call:
    """Return a request for a failure.

    Raises:
        InvalidArgument: It is not the id of a failure.
    """
    try:
        known = failure_id if isinstance(failure_id, uuid.UUID) else uuid.UUID(failure_id)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidArgument(f"{shown(failure_id)} is not the id of a failure: {error}") from None
    return Call("GET", f"/failures/{known}")


def waiting(call: Call, seconds: int) -> Call:
    """Return the same request with a wait."""
    return msgspec.structs.replace(call, query=[("wait", str(seconds))], wait_seconds=seconds)


@checked_arguments()
def task_action(
    verb: str, filters: Filters, *, everything: bool, dry_run: bool, is_repeatable: bool
) -> Call:
    """Return a request for a bulk action."""
    query_of(filters)  # validates the filters
    body = {**filters, **({"all": True} if everything else {}), "dry_run": dry_run}
    return Call(
        "POST",
        f"/tasks/{verb}",
        headers={"Content-Type": "application/json"},
        body=json_of(body),
        is_repeatable=is_repeatable,
    )


@checked_arguments()
def page(limit: int, filters: Filters, fields: Sequence[str] | None = None) -> Call:
    """Return a request for a page of tasks."""
    return Call("GET", "/tasks", query=_query(limit, filters, fields))


@checked_arguments()
def audit_page(limit: int, filters: Mapping[str, str | dt.datetime | None]) -> Call:
    """Return a request for a page of the audit log."""
    query = [("limit", str(arguments.whole_number("limit", limit, minimum=1)))]
    for name, value in filters.items():
        if isinstance(value, dt.datetime):
            query.append((name, moment_text(value)))
        elif value is not None:
            query.append((name, arguments.text(name, value)))
    return Call("GET", "/audit", query=query)


@checked_arguments()
def lines(limit: int | None, filters: Filters, fields: Sequence[str] | None) -> Call:
    """Return a request for a stream of tasks."""
    query = _query(limit, filters, fields)
    return Call("GET", "/tasks", query=query, headers=_LINES)


def _query(
    limit: int | None, filters: Filters, fields: Sequence[str] | None
) -> list[tuple[str, str]]:
    query = [] if limit is None else [("limit", str(limit))]
    query += query_of(filters)
    return query if fields is None else [*query, ("fields", ",".join(fields))]


@checked_arguments()
def of_configuration(body: bytes) -> Call:
    """Change several resources."""
    return Call("POST", "/config", headers=_JSON, body=body, is_repeatable=False)


def of_queue(method: str, name: str, what: str = "", body: bytes | None = None) -> Call:
    """Return a request for a queue."""
    return Call(method, f"/queues/{_segment(name)}{what}", headers=_JSON, body=body)


@checked_arguments()
def of_schedule(
    method: str,
    name: str,
    what: str = "",
    body: bytes | None = None,
    *,
    is_repeatable: bool = True,
    must_be_new: bool = False,
) -> Call:
    """Return a request for a schedule."""
    return Call(
        method,
        f"/schedules/{_segment(name)}{what}",
        headers={**_JSON, **({"If-None-Match": "*"} if must_be_new else {})},
        body=body,
        is_repeatable=is_repeatable and not must_be_new,
    )


@checked_arguments()
def of_heartbeat(
    method: str,
    name: str,
    what: str = "",
    body: bytes | None = None,
    *,
    is_repeatable: bool = True,
) -> Call:
    """Return a request for a heartbeat."""
    path = f"/heartbeats/{_segment(name)}{what}"
    return Call(method, path, headers=_JSON, body=body, is_repeatable=is_repeatable)


@checked_arguments()
def of_topic(
    method: str,
    names: tuple[str, ...],
    what: str = "",
    body: bytes | None = None,
    *,
    query: Sequence[tuple[str, str]] = (),
    is_repeatable: bool = True,
) -> Call:
    """Return a request for a topic, or for an endpoint of it.

    Args:
        method: The method.
        names: The names of the topic and the endpoint.
        what: The rest of the path.
        body: The body.
        query: The query.
        is_repeatable: Whether it may be sent twice.
    """
    path = f"/topics/{'/endpoints/'.join(map(_segment, names))}{what}"
    return Call(method, path, query=[*query], headers=_JSON, body=body, is_repeatable=is_repeatable)


@checked_arguments()
def new_event(topic: str, body: bytes, key: str | None) -> Call:
    """Return a request for an event; it has an idempotency key, so it can be repeated.

    Raises:
        InvalidArgument: The key cannot be sent.
    """
    path = f"/topics/{_segment(topic)}/events"
    return msgspec.structs.replace(submission(body, key), path=path)


@checked_arguments()
def of_next_runs(name: str, count: int) -> Call:
    """Return a request for the next runs of a schedule."""
    return Call("GET", f"/schedules/{_segment(name)}/next", query=[("count", str(count))])


@checked_arguments()
def of_credential(
    method: str, name: str, body: bytes | None = None, *, is_forced: bool = False
) -> Call:
    """Return a request for a credential."""
    return Call(
        method,
        f"/credentials/{_segment(name)}",
        query=[("force", "true")] if is_forced else [],
        headers=_JSON,
        body=body,
        is_repeatable=method != "DELETE",
    )


def of_alert(method: str, name: str, path: str = "", body: bytes | None = None) -> Call:
    """Return a request for an alert, or for what is below it."""
    return Call(
        method,
        f"/alerts/{_segment(name)}{path}",
        headers=_JSON,
        body=body,
        is_repeatable=method in ("GET", "PUT", "PATCH"),
    )


def _segment(name: str) -> str:
    """Return a name as a segment of a path; only dots would lead elsewhere."""
    if arguments.text("name", name).strip(".") == "":
        raise InvalidArgument(f"{name!r} is no name")
    return quote(name, safe="")


class _Info(msgspec.Struct, frozen=True):
    title: str
    version: str


class _Document(msgspec.Struct, frozen=True):
    info: _Info


def service_of(answer: Answer) -> Service:
    """Return the version of the service from the document of its API.

    Raises:
        UnexpectedResponse: The service is not TaskFlow.
    """
    info = answer.read(_Document).info
    if info.title != TITLE:
        raise UnexpectedResponse(
            f"the answer{answer.via} is of {info.title!r}, which is not TaskFlow"
        )
    date = answer.headers.get("date", "")
    with contextlib.suppress(ValueError):
        return Service(info.version, parsedate_to_datetime(date).astimezone(dt.UTC))
    return Service(info.version, None)


def of_queue_only(queue: str | None) -> list[tuple[str, str]]:
    """Return the parameter for one queue; nothing for all."""
    return [] if queue is None else [("queue", arguments.text("queue", queue))]


def given_only(wanted: Mapping[str, str | int | dt.datetime | None]) -> list[tuple[str, str]]:
    """Return the parameters that are given.

    Raises:
        InvalidArgument: One cannot be used.
    """
    query = []
    for name, value in wanted.items():
        if isinstance(value, dt.datetime):
            query.append((name, moment_text(value)))
        elif isinstance(value, int):
            query.append((name, str(arguments.whole_number(name, value, minimum=1))))
        elif value is not None:
            query.append((name, arguments.text(name, value)))
    return query


def events(
    task_id: uuid.UUID | str | None, queue: str | None, tags: Mapping[str, TagValue]
) -> Call:
    """Return a request for events, of one task or of several.

    Raises:
        InvalidArgument: Both are given.
    """
    query = of_queue_only(queue) + tag_query(tags)
    if task_id is None:
        return Call("GET", "/events", query=query, headers=_EVENT_STREAM)
    if query:
        raise InvalidArgument(
            "a task's events are all of one queue and of the same tags: give its id"
        )
    return msgspec.structs.replace(of_task("GET", task_id, "/events"), headers=_EVENT_STREAM)


def group_events(group_id: uuid.UUID | str) -> Call:
    """Return a request for the events of the tasks of a group."""
    return msgspec.structs.replace(of_group("GET", group_id, "/events"), headers=_EVENT_STREAM)


def resuming(call: Call, position: int | None) -> Call:
    """Return a request that continues after an event."""
    if position is None:
        return call
    return msgspec.structs.replace(call, headers={**call.headers, "Last-Event-ID": str(position)})


@contextlib.contextmanager
def mapped_errors(via: str = "") -> Iterator[None]:
    """Turn errors of httpx into errors of the client.

    Args:
        via: Names the proxy of the connection, if there is one.

    Raises:
        Unreachable: There was no connection, or it broke.
        UnexpectedResponse: The response is not HTTP.
    """
    try:
        yield
    except httpx.DecodingError as error:
        raise UnexpectedResponse(f"the answer{via} cannot be read: {error}") from error
    except httpx.TransportError as error:
        reason = _reason_of(error)
        is_untrusted = _UNTRUSTED in reason
        raise Unreachable(
            f"TaskFlow does not answer{via}: {reason}{_HOW_TO_TRUST if is_untrusted else ''}",
            is_sent=not isinstance(error, _NOT_SENT),
            is_untrusted=is_untrusted,
        ) from error


def _reason_of(error: BaseException) -> str:
    """Return why there is no response; Trio's errors have their text in their cause."""
    if isinstance(error, httpx.TimeoutException):  # its cause is how Trio ends what takes too long
        return "timed out"
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return str(cause or type(error).__name__).rstrip(".")
