"""A form for a task, and the document that ``POST /tasks`` takes: one made of the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from taskflow.api.dashboard.formatting import body_text, payload_of, short
from taskflow.api.reading.kept_credentials import is_same_origin
from taskflow.model.errors import BadRequest, FieldError
from taskflow.model.masking import MASK, MAX_SEARCHED_CHARACTERS, Masking
from taskflow.model.task import Task
from taskflow.yielding import Checkpoints

# By the field of the form, where a fault in the document is shown.
_PLACES: Final[Mapping[str, str]] = {
    "url": "#/payload",
    "method": "#/payload/method",
    "headers": "#/payload/headers",
    "body": "#/payload/body",
    "timeout": "#/payload/timeout",
    "queue": "#/queue",
    "priority": "#/priority",
    "delay": "#/delay",
    "max_attempts": "#/max_attempts",
    "tags": "#/tags",
    "callback_url": "#/callback_url",
}
_NUMBERS: Final = ("priority", "delay", "max_attempts")
FIELDS: Final = tuple(_PLACES)
_MOST_FIELDS: Final = 50
_MAX_LINES: Final = 200
_PIECE_BYTES: Final = 16 * 2**10
_MAX_ESCAPE_BYTES: Final = 2  # of one that goes on behind a cut
_ESCAPED_FACTOR: Final = 4
"""How much longer it takes to undo escapes than to read as many bytes."""

# As numbers are written; what has more digits than any that is taken is text.
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")


async def filled_in(body: bytes) -> dict[str, str]:
    """What a browser sends of a form.

    Raises:
        BadRequest: No form here has so many fields.
    """
    if body.count(b"&") >= _MOST_FIELDS:
        raise BadRequest(f"a form has at most {_MOST_FIELDS} fields")
    filled, checkpoints = {}, Checkpoints()
    for pair in filter(None, body.split(b"&")):
        name, _, value = pair.partition(b"=")
        filled[await _unquoted(name, checkpoints)] = await _unquoted(value, checkpoints)
    return filled


async def _unquoted(text: bytes, checkpoints: Checkpoints) -> str:
    """Undo the coding of a name or value, which takes long where much of it is escaped."""
    parts, start = [], 0
    while start < len(text):
        end = start + _PIECE_BYTES
        escape = text.rfind(b"%", end - _MAX_ESCAPE_BYTES, end)
        end = end if escape < 0 else escape  # no escape is cut in two
        parts.append(unquote_to_bytes(text[start:end].replace(b"+", b" ")))
        start = end
        await checkpoints.after(_ESCAPED_FACTOR * _PIECE_BYTES)
    return b"".join(parts).decode("utf-8", "replace")


class FormError(ValueError):
    """A field that cannot be read.

    Args:
        field: Which.
        message: What it must be.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def document_of(form: Mapping[str, str]) -> bytes:
    """The document of what was filled in.

    Raises:
        FormError: A field cannot be read; whether a value can be used is not looked at.
    """
    filled = {name: form[name].strip() for name in FIELDS if form.get(name, "").strip()}
    if "url" not in filled:
        raise FormError("url", "where is the request to go? Such as https://example.com/")
    document: dict[str, Any] = {"payload": _payload(filled)}
    document |= {name: filled[name] for name in ("queue", "callback_url") if name in filled}
    document |= {name: _number(name, filled[name]) for name in _NUMBERS if name in filled}
    if "tags" in filled:
        document["tags"] = {
            name: _tag_value(value) for name, value in _lines("tags", filled["tags"])
        }
    return msgspec.json.encode(document)


def faults_by_field(faults: Iterable[FieldError]) -> dict[str, str]:
    """What is wrong, by the field of the form where it is shown."""
    told: dict[str, str] = {}
    for fault in faults:
        within = [name for name, place in _PLACES.items() if fault.pointer.startswith(place)]
        name = max(within, key=lambda name: len(_PLACES[name]), default="url")
        told[name] = f"{told[name]}; {fault.detail}" if name in told else fault.detail
    return told


def form_of(task: Task) -> dict[str, str]:
    """A form filled in with what a task is to do."""
    payload = payload_of(task)
    body = payload.get("body")
    told = {
        "url": payload.get("url"),
        "method": payload.get("method"),
        "headers": _told(payload.get("headers") or {}),
        "body": None if body is None else body_text(bytes(body)),
        "timeout": payload.get("timeout"),
        "queue": task.queue,
        "priority": task.priority or None,
        "max_attempts": task.max_attempts,
        "tags": _told(task.tags),
        "callback_url": task.callback_url,
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def unmasked(
    form: Mapping[str, str], original: Mapping[str, str], masking: Masking
) -> dict[str, str]:
    """A form with the values that are masked in it as they are in the task that was copied.

    Only as long as its URL leads to the same origin: otherwise whoever may submit tasks could
    have the credentials of others sent to a server of their own.

    Args:
        form: As it was sent.
        original: That of the task that was copied, with its credentials.
        masking: What is masked.
    """
    filled = dict(form)
    for name in ("url", "callback_url"):
        if is_same_origin(form.get(name), original.get(name)):
            filled[name] = masking.unmasked_url(form[name].strip(), original[name])
    is_short = len(form.get("headers", "")) <= MAX_SEARCHED_CHARACTERS
    if is_short and is_same_origin(form.get("url"), original.get("url")):
        known = {
            name.lower(): value for name, value in _lines("headers", original.get("headers", ""))
        }
        filled["headers"] = "\n".join(
            f"{name}: {_unmasked_value(value, known.get(name.lower(), ''), masking)}"
            for name, value in _lines("headers", form.get("headers", ""))
        )
    return filled


def _unmasked_value(value: str, original: str, masking: Masking) -> str:
    if value == MASK and original:
        return original
    return masking.unmasked_url(value, original)


def _payload(filled: Mapping[str, str]) -> str | dict[str, Any]:
    request: dict[str, Any] = {"url": filled["url"]}
    if "headers" in filled:
        request["headers"] = dict(_lines("headers", filled["headers"]))
    if "body" in filled:
        request["body"] = _body(filled["body"])
    if "timeout" in filled:
        request["timeout"] = _number("timeout", filled["timeout"])
    method = filled.get("method", "GET")
    if method != ("POST" if "body" in filled else "GET"):
        request["method"] = method
    return request if len(request) > 1 else filled["url"]


def _body(text: str) -> Any:
    """JSON as it is; anything else as text."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return text
    except RecursionError:  # whoever reads the document says that it is too deep
        pass
    return msgspec.Raw(text.encode())


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise FormError(name, "this must be a number") from None
    return int(number) if number.is_integer() else number


def _lines(field: str, text: str) -> list[tuple[str, str]]:
    pairs = []
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        raise FormError(field, f"these must be at most {_MAX_LINES} lines")
    for line in filter(None, map(str.strip, lines)):
        name, colon, value = line.partition(":")
        if not colon:
            raise FormError(
                field, f"each line must be a name, a colon and a value; {short(line)!r} is not"
            )
        pairs.append((name.strip(), value.strip()))
    return pairs


def _tag_value(text: str) -> str | int | bool:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _INTEGER.fullmatch(text) else text


def _told(pairs: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in pairs.items()
    )
