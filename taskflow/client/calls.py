"""A request and its answer, without the connection between them."""

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
from taskflow.client.errors import InvalidArgument, UnexpectedAnswer, Unreachable
from taskflow.client.filters import Filters, query_of, tag_query
from taskflow.client.task import Service
from taskflow.model.task import TagValue

T = TypeVar("T")

LONGEST_WAIT_SECONDS: Final = 60
"""For how long the service lets an answer wait."""

NEEDED_FIELDS: Final = ("id", "payload", "status", "created_at", "run_at")
"""What no task is without."""

TITLE: Final = "TaskFlow"
"""By this name the service is known."""

_JSON: Final = {"Content-Type": "application/json"}
# Read as they come, so not compressed by whoever is between.
_LINES: Final = {"Accept": "application/x-ndjson", "Accept-Encoding": "identity"}
_USERINFO: Final = re.compile(r"//[^/?#]*@")
_NEXT: Final = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
# Nothing has been sent of these.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Call(msgspec.Struct, frozen=True):
    """A request.

    Attributes:
        method: In capitals.
        path: Below the address of the service.
        query: The parameters.
        headers: Further fields.
        body: What is sent with it.
        is_repeatable: Whether doing it twice is as good as doing it once.
        wait_seconds: For how long the answer may wait, where it is asked to.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    is_repeatable: bool = True
    wait_seconds: int = 0


class Answer(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        status_code: What it says it is.
        headers: By name in small letters.
        body: All of it.
        via: Names the proxy that it came through, if there is one.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes
    via: str = ""

    def read(self, kind: type[T]) -> T:
        """The body, by its type.

        Raises:
            UnexpectedAnswer: It is something else.
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnexpectedAnswer(
                f"the answer{self.via} is not one of TaskFlow's: {error}"
            ) from None

    def read_all(self, kind: type[T]) -> list[T]:
        """The body, of which each element is so.

        Raises:
            UnexpectedAnswer: It is something else.
        """
        return self.read(list[kind])  # type: ignore[valid-type]  # known when it runs

    @property
    def next_page(self) -> list[tuple[str, str]] | None:
        """The query of the next page, if there may be one."""
        link = _NEXT.search(self.headers.get("link", ""))
        return parse_qsl(urlsplit(link[1]).query, keep_blank_values=True) if link else None


def base_url_of(url: str) -> str:
    """Where the service is, to be followed by a path.

    Raises:
        InvalidArgument: It is no address.
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
    """An address for errors, without user and password."""
    return _USERINFO.sub("//", url, count=1)


def credentials(api_key: str | None) -> dict[str, str]:
    """How a key is sent.

    Raises:
        InvalidArgument: It cannot be sent.
    """
    if api_key is None:
        return {}
    is_key = isinstance(api_key, str) and api_key.isascii() and api_key.isprintable()
    if not is_key or " " in api_key or not api_key:
        raise InvalidArgument("api_key must be printable ASCII without spaces")
    return {"Authorization": f"Bearer {api_key}"}


@checked_arguments()
def submission(body: bytes, key: str | None, wait_seconds: float | None = None) -> Call:
    """A request that hands something in; it has a key, so it can be repeated.

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
    """A key as a string of RFC 9651, as the draft of Idempotency-Key has it."""
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
        raise InvalidArgument("idempotency_key must be printable ASCII, such as a UUID")
    return '"' + key.replace("\\", r"\\").replace('"', r"\"") + '"'


def whole_wait(seconds: float) -> int:
    """For how long to ask the service to wait: whole seconds, and no more than it does."""
    wanted = arguments.seconds("wait_seconds", seconds)
    return math.ceil(min(LONGEST_WAIT_SECONDS, wanted))


def of_task(
    method: str, task_id: uuid.UUID | str, what: str = "", *, is_repeatable: bool = True
) -> Call:
    """A request about a task.

    Raises:
        InvalidArgument: It is not the id of a task.
    """
    try:
        known = task_id if isinstance(task_id, uuid.UUID) else uuid.UUID(task_id)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidArgument(f"{shown(task_id)} is not the id of a task: {error}") from None
    return Call(method, f"/tasks/{known}{what}", is_repeatable=is_repeatable)


def waiting(call: Call, seconds: int) -> Call:
    """The same request, with an answer that may wait for so long."""
    return msgspec.structs.replace(call, query=[("wait", str(seconds))], wait_seconds=seconds)


@checked_arguments()
def by_hand(
    verb: str, filters: Filters, *, everything: bool, dry_run: bool, is_repeatable: bool
) -> Call:
    """A request to move all tasks of a filter."""
    query_of(filters)  # which knows the filters
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
    """A request for tasks."""
    return Call("GET", "/tasks", query=_query(limit, filters, fields))


@checked_arguments()
def lines(limit: int | None, filters: Filters, fields: Sequence[str] | None) -> Call:
    """A request for tasks, a line each."""
    query = _query(limit, filters, fields)
    return Call("GET", "/tasks", query=query, headers=_LINES)


def _query(
    limit: int | None, filters: Filters, fields: Sequence[str] | None
) -> list[tuple[str, str]]:
    query = [] if limit is None else [("limit", str(limit))]
    query += query_of(filters)
    return query if fields is None else [*query, ("fields", ",".join(fields))]


@checked_arguments()
def of_queue(method: str, name: str, what: str = "", body: bytes | None = None) -> Call:
    """A request about a queue."""
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
    """A request about a schedule."""
    return Call(
        method,
        f"/schedules/{_segment(name)}{what}",
        headers={**_JSON, **({"If-None-Match": "*"} if must_be_new else {})},
        body=body,
        is_repeatable=is_repeatable and not must_be_new,
    )


def _segment(name: str) -> str:
    """A name as a part of a path; it has no dots alone, which would lead elsewhere."""
    if arguments.text("name", name).strip(".") == "":
        raise InvalidArgument(f"{name!r} is no name")
    return quote(name, safe="")


class _Info(msgspec.Struct, frozen=True):
    title: str
    version: str


class _Document(msgspec.Struct, frozen=True):
    info: _Info


def service_of(answer: Answer) -> Service:
    """What the document of an API says of who answers.

    Raises:
        UnexpectedAnswer: It is not TaskFlow.
    """
    info = answer.read(_Document).info
    if info.title != TITLE:
        raise UnexpectedAnswer(
            f"the answer{answer.via} is of {info.title!r}, which is not TaskFlow"
        )
    date = answer.headers.get("date", "")
    with contextlib.suppress(ValueError):
        return Service(info.version, parsedate_to_datetime(date).astimezone(dt.UTC))
    return Service(info.version, None)


def of_queue_only(queue: str | None) -> list[tuple[str, str]]:
    """The parameter that asks about one queue; nothing for all."""
    return [] if queue is None else [("queue", arguments.text("queue", queue))]


def events(
    task_id: uuid.UUID | str | None, queue: str | None, tags: Mapping[str, TagValue]
) -> Call:
    """A request for events, of one task or of some.

    Raises:
        InvalidArgument: Both are asked for.
    """
    query = of_queue_only(queue) + tag_query(tags)
    if task_id is None:
        return Call("GET", "/events", query=query, headers={"Accept": "text/event-stream"})
    if query:
        raise InvalidArgument(
            "a task's events are all of one queue and of the same tags: give its id"
        )
    call = of_task("GET", task_id, "/events")
    return msgspec.structs.replace(call, headers={"Accept": "text/event-stream"})


def resuming(call: Call, position: int | None) -> Call:
    """A request for events that goes on after one of them."""
    if position is None:
        return call
    return msgspec.structs.replace(call, headers={**call.headers, "Last-Event-ID": str(position)})


@contextlib.contextmanager
def mapped_errors(via: str = "") -> Iterator[None]:
    """Turn httpx's errors into ours.

    Args:
        via: Names the proxy that is asked, if there is one.

    Raises:
        Unreachable: There was no connection, or it broke.
        UnexpectedAnswer: What came is not what an HTTP server says.
    """
    try:
        yield
    except httpx.DecodingError as error:
        raise UnexpectedAnswer(f"the answer{via} cannot be read: {error}") from error
    except httpx.TransportError as error:
        said = str(error).rstrip(".") or type(error).__name__
        raise Unreachable(
            f"TaskFlow does not answer{via}: {said}", is_sent=not isinstance(error, _NOT_SENT)
        ) from error
