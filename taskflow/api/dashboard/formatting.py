"""Values as people read them. Text of tasks and responses is escaped so that it can do no harm."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from taskflow.model import display
from taskflow.model.order_keys import WaitingFor, WaitReason
from taskflow.model.proxy import DIRECT, masked_proxy
from taskflow.model.queue_limits import Hold, HoldReason, QueueSettings
from taskflow.model.queues import limits_text
from taskflow.model.task import Task

MAX_SHOWN_CHARACTERS: Final = 64 * 2**10
MAX_LINE_CHARACTERS: Final = 120
MAX_TARGET_CHARACTERS: Final = 1000
NOTHING: Final = "\N{EN DASH}"
# A string that is longer than all that is shown is not read to its end.
_JSON_TOKEN: Final = re.compile(
    r"\s*+(?P<token>"
    rf'"(?:[^"\\]++|\\.){{0,{MAX_SHOWN_CHARACTERS}}}+"?'
    r'|(?P<empty>[\[{])\s*[\]}]|(?P<opening>[\[{])|(?P<closing>[\]}])|[,:]|[^\s,:\[\]{}"]+)'
)
_SPACED: Final = {":": ": "}
_OPTIONS: Final = ("queue", "priority", "max_attempts", "backoff", "retry_on", "success_on")
_MORE_OPTIONS: Final = (
    *("sign", "credential", "unique", "debounce", "tags", "retention_seconds", "completion"),
    "callback_url",
)
_RELATIONS: Final = ("order_key", "on_failure", "after", "on_parent_failure")
_HOLDS: Final[Mapping[HoldReason, str]] = {
    HoldReason.QUEUE_PAUSED: "queue paused",
    HoldReason.QUEUE_CONCURRENCY: "queue concurrency limit",
    HoldReason.QUEUE_RATE: "queue rate limit",
    HoldReason.HOST_CONCURRENCY: "host concurrency limit",
    HoldReason.HOST_RATE: "host rate limit",
    HoldReason.HOST_FAILING: "circuit breaker open",
}
_WAITS: Final[Mapping[WaitReason, str]] = {
    WaitReason.ORDER_KEY: "waits for its turn",
    WaitReason.PARENTS: "waits for its parents",
    WaitReason.COMPLETION: "waits for its outcome",
}


def visible(text: str) -> str:
    """Escape invisible characters, except line ends and tabs."""
    if text.isascii() and text.isprintable():
        return text
    return display.escape_invisible(
        text.replace("\r\n", "\n"), lambda char: f"\\u{{{ord(char):x}}}", keep="\n\t"
    )


def count(number: float) -> str:
    """Return a whole number with thousands separators."""
    return f"{number:,.0f}"


def percent(share: float | None) -> str:
    """Return a share of one as a percentage, with a decimal if it is small."""
    if share is None:
        return NOTHING
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"  # noqa: PLR2004 - a tenth


def seconds(value: float | None) -> str:
    """Return a duration in its two largest units."""
    return NOTHING if value is None else display.duration(value)


def size(number: int) -> str:
    """Return a number of bytes."""
    return display.size(number)


def limits(settings: QueueSettings) -> str:
    """Return the limits of a queue."""
    return limits_text(settings) or NOTHING


def egress_label(settings: QueueSettings) -> str:
    """Return a label for the egress proxy of a queue, credentials masked; "" if not set."""
    proxy = masked_proxy(settings.egress_proxy)
    return "no proxy" if proxy == DIRECT else f"through {proxy}" if proxy else ""


def hold(value: Hold) -> str:
    """Return why a task that is due does not start, in a few words."""
    return f"held: {_HOLDS[value.reason]}"


def wait(value: WaitingFor) -> str:
    """Return what a task waits for, in a few words."""
    return _WAITS[value.reason]


def moment(value: dt.datetime | None) -> str:
    """Return a time in UTC, to the second."""
    return NOTHING if value is None else f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


def clock(value: dt.datetime) -> str:
    """Return the time of day in UTC, to the second."""
    return f"{value.astimezone(dt.UTC):%H:%M:%S}"


def relative(value: dt.datetime, now: dt.datetime) -> str:
    """Return how long ago a time was, or in how long it will be, in its largest unit."""
    seconds = (now - value).total_seconds()
    if abs(seconds) < 1:
        return "now"
    text = display.duration(round(abs(seconds)), units=1)
    return f"{text} ago" if seconds > 0 else f"in {text}"


def iso(value: dt.datetime) -> str:
    """Return a time for the ``datetime`` attribute."""
    return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pretty(document: bytes) -> str:
    """Indent JSON, with numbers as they were written, up to the limit of what is shown.

    The indentation of deeply nested values could make the whole text a thousand times as long as
    the document.
    """
    lines, depth, room = [""], 0, MAX_SHOWN_CHARACTERS
    for found in _JSON_TOKEN.finditer(document.decode("utf-8", "replace")):
        text, empty = found["token"], found["empty"]
        if found["closing"]:
            depth -= 1
            lines.append("  " * depth)
        lines[-1] += "[]" if empty == "[" else "{}" if empty else _SPACED.get(text, text)
        if found["opening"]:
            depth += 1
        if found["opening"] or text == ",":
            room -= len(lines[-1]) + 1
            lines.append("  " * depth)
        if room < len(lines[-1]):
            break
    return "\n".join(lines)


def beginning(text: str) -> tuple[str, bool]:
    """Return the part of a text that is shown, and whether it is truncated."""
    return text[:MAX_SHOWN_CHARACTERS], len(text) > MAX_SHOWN_CHARACTERS


def payload_of(task: Task) -> dict[str, Any]:
    """Return the request of a task; a payload that is not one becomes its URL."""
    document = bytes(task.payload)
    try:
        return _request_of(document)
    except (ValueError, RecursionError):  # no version of TaskFlow accepts such a payload
        return {"url": document.decode("utf-8", "replace"), "method": ""}


def _request_of(document: bytes) -> dict[str, Any]:
    if document.startswith(b"{"):
        fields: dict[str, msgspec.Raw] = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
        read = {
            name: msgspec.json.decode(value) for name, value in fields.items() if name != "body"
        }
        method = read.get("method") or ("POST" if _has_body(fields) else "GET")
        headers = _headers_of(read)
        return {**read, "method": method, "headers": headers, "body": fields.get("body")}
    if document.startswith(b'"'):
        return {"url": msgspec.json.decode(document), "method": "GET"}
    return {"url": document.decode("utf-8", "replace"), "method": ""}


def target(task: Task) -> str:
    """Return the method and the URL of a task on one line."""
    payload = payload_of(task)
    method = payload["method"]
    # Truncated first: escaping a megabyte takes long.
    url = visible(str(payload.get("url") or "")[:MAX_TARGET_CHARACTERS]).replace("\n", " ")
    return url if method in ("", "GET") else f"{method} {url}"


def short(text: str, max_characters: int = MAX_LINE_CHARACTERS) -> str:
    """Truncate a text."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 1]}…"


def curl_of_task(task: Task, url: str) -> str:
    """Return a command that submits the same task again."""
    options = {
        name: value
        for name in (*_OPTIONS, *_MORE_OPTIONS, *_RELATIONS)
        if (value := getattr(task, name)) not in (None, {}) and (name, value) != ("priority", 0)
    }
    document = msgspec.json.encode({"payload": task.payload, **options}).decode()
    return f"curl {shlex.quote(url + '/tasks')} --json {shlex.quote(document)}"


def curl_of_request(task: Task) -> str:
    """Return a command that sends the request of a task, approximately as TaskFlow does."""
    payload = payload_of(task)
    words = ["curl", "--include", "--request", str(payload["method"] or "GET")]
    for name, value in _headers_of(payload).items():
        words += ["--header", f"{name}: {value}"]
    if payload.get("body") is not None:
        words += ["--data-raw", body_text(bytes(payload["body"]))]
    # As an option, since a URL that begins with a dash would be taken for one.
    words += ["--url", str(payload.get("url") or "")]
    return " ".join(map(shlex.quote, words))


def _headers_of(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    headers = payload.get("headers")
    return headers if isinstance(headers, dict) else {}


def _has_body(fields: Mapping[str, msgspec.Raw]) -> bool:
    return "body" in fields and bytes(fields["body"]) != b"null"


def body_text(body: bytes) -> str:
    """Return the body that a request sends: a JSON string is sent as text, other JSON as it is."""
    return msgspec.json.decode(body) if body.startswith(b'"') else body.decode("utf-8", "replace")
