"""Values as people read them. What comes from strangers is made visible, never let do anything."""

from __future__ import annotations

import datetime as dt
import math
import re
import shlex
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from taskflow.model.queue_limits import QueueSettings
from taskflow.model.queues import limits_text
from taskflow.model.task import Task

MOST_SHOWN_BYTES: Final = 64 * 2**10
LONGEST_LINE: Final = 120
LONGEST_TARGET: Final = 1000
NOTHING: Final = "\N{EN DASH}"
_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60))
_SIZES: Final = ("bytes", "KiB", "MiB", "GiB")
# What has no shape, or turns the order in which other characters are shown (UAX 9).
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JSON_TOKEN: Final = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*"|(?P<empty>[\[{])\s*[\]}]|(?P<opening>[\[{])|(?P<closing>[\]}])'
    r'|[,:]|[^\s,:\[\]{}"]+'
)
_SPACED: Final = {":": ": "}
_OPTIONS: Final = ("queue", "priority", "max_attempts", "backoff", "retry_on", "success_on")
_MORE_OPTIONS: Final = ("tags", "retention", "callback_url")


def visible(text: str) -> str:
    """Text in which characters that are not seen are written out, line ends and tabs aside."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{{{ord(c):x}}}" if unicodedata.category(c) in _HIDDEN and c not in "\n\t" else c
        for c in text.replace("\r\n", "\n")
    )


def count(number: float) -> str:
    """A whole number, with marks between the thousands."""
    return f"{number:,.0f}"


def percent(share: float | None) -> str:
    """A share of one; small ones are told from none."""
    if share is None:
        return NOTHING
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"  # noqa: PLR2004 - a tenth


def seconds(value: float | None) -> str:
    """How long something takes, by its two greatest units."""
    if value is None:
        return NOTHING
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:  # noqa: PLR2004 - a minute
        return f"{value:.1f} s"
    left = math.floor(value)
    parts = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        parts.append(f"{number} {unit}" if number else "")
    parts.append(f"{left} s" if left else "")
    return " ".join([part for part in parts if part][:2])


def milliseconds(value: float | None) -> str:
    """The same of milliseconds."""
    return NOTHING if value is None else seconds(value / 1000)


def size(number: int) -> str:
    """How many bytes something has."""
    value, unit = float(number), _SIZES[0]
    for unit in _SIZES:  # noqa: B007 - the last one counts
        if value < 1024:  # noqa: PLR2004 - the next unit
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == _SIZES[0] else f"{value:.1f} {unit}"


def limits(settings: QueueSettings) -> str:
    """The limits of a queue."""
    return limits_text(settings) or NOTHING


def moment(value: dt.datetime | None) -> str:
    """A point in time, to the second."""
    return NOTHING if value is None else f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


def iso(value: dt.datetime) -> str:
    """A point in time for programs."""
    return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pretty(document: bytes) -> str:
    """JSON over several lines, with numbers as they were, up to where no more of it is shown.

    Deep in brackets each value has a line that is long by its indentation alone: all of it could
    take a thousand times the room of what a stranger sent.
    """
    lines, depth, room = [""], 0, MOST_SHOWN_BYTES
    for token in _JSON_TOKEN.finditer(document.decode("utf-8", "replace")):
        text, empty = token.group(), token["empty"]
        if token["closing"]:
            depth -= 1
            lines.append("  " * depth)
        lines[-1] += "[]" if empty == "[" else "{}" if empty else _SPACED.get(text, text)
        if token["opening"]:
            depth += 1
        if token["opening"] or text == ",":
            room -= len(lines[-1]) + 1
            lines.append("  " * depth)
        if room < 0:
            break
    return "\n".join(lines)


def beginning(text: str) -> tuple[str, bool]:
    """As much of a text as is shown, and whether that is not all."""
    return text[:MOST_SHOWN_BYTES], len(text) > MOST_SHOWN_BYTES


def payload_of(task: Task) -> dict[str, Any]:
    """What a task is to do: a request, though it be only a URL, or whatever else it is."""
    document = bytes(task.payload)
    try:
        return _request_of(document)
    except (ValueError, RecursionError):  # no version of TaskFlow kept it like that
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
    """What a task fetches, on one line."""
    payload = payload_of(task)
    method = payload["method"]
    # Only as much as a line has room for: what is hidden in a megabyte takes long to find.
    url = visible(str(payload.get("url") or "")[:LONGEST_TARGET]).replace("\n", " ")
    return url if method in ("", "GET") else f"{method} {url}"


def short(text: str, longest: int = LONGEST_LINE) -> str:
    """The beginning of a text."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def curl_of_task(task: Task, url: str) -> str:
    """A command that hands the same task in again.

    Args:
        task: Which.
        url: Where this service is.
    """
    told = {
        name: value
        for name in (*_OPTIONS, *_MORE_OPTIONS)
        if (value := getattr(task, name)) not in (None, {}, 0)
    }
    document = msgspec.json.encode({"payload": task.payload, **told}).decode()
    return f"curl {shlex.quote(url + '/tasks')} --json {shlex.quote(document)}"


def curl_of_request(task: Task) -> str:
    """A command that makes the request of a task, about as TaskFlow does."""
    payload = payload_of(task)
    words = ["curl", "--include", "--request", str(payload["method"] or "GET")]
    for name, value in _headers_of(payload).items():
        words += ["--header", f"{name}: {value}"]
    if payload.get("body") is not None:
        words += ["--data-raw", body_text(bytes(payload["body"]))]
    # By its name, so that one which begins with a dash is no option.
    words += ["--url", str(payload.get("url") or "")]
    return " ".join(map(shlex.quote, words))


def _headers_of(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    headers = payload.get("headers")
    return headers if isinstance(headers, dict) else {}


def _has_body(fields: Mapping[str, msgspec.Raw]) -> bool:
    return "body" in fields and bytes(fields["body"]) != b"null"


def body_text(body: bytes) -> str:
    """The body of a request (JSON text) as it is sent: text without its quotes, else as it is."""
    return msgspec.json.decode(body) if body.startswith(b'"') else body.decode("utf-8", "replace")
