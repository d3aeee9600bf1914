"""Converts between the form for a task and the document for ``POST /tasks``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from taskflow.api.dashboard.formatting import body_text, payload_of, short
from taskflow.api.reading.kept_credentials import is_same_origin
from taskflow.checkpoints import Checkpoints
from taskflow.model.display import YES_OR_NO
from taskflow.model.errors import BadRequest, FieldError
from taskflow.model.masking import Masking
from taskflow.model.task import Task

# By the field of the form, the JSON pointer of errors that are shown there.
_POINTERS: Final[Mapping[str, str]] = {
    "url": "#/payload",
    "method": "#/payload/method",
    "headers": "#/payload/headers",
    "body": "#/payload/body",
    "timeout_seconds": "#/payload/timeout_seconds",
    "queue": "#/queue",
    "priority": "#/priority",
    "delay_seconds": "#/delay_seconds",
    "max_attempts": "#/max_attempts",
    "backoff": "#/backoff",
    "retry_on": "#/retry_on",
    "success_on": "#/success_on",
    "retention_seconds": "#/retention_seconds",
    "sign": "#/sign",
    "credential": "#/credential",
    "tags": "#/tags",
    "completion": "#/completion",
    "within_seconds": "#/completion/within_seconds",
    "callback_url": "#/callback_url",
    "order_key": "#/order_key",
    "on_failure": "#/on_failure",
    "after": "#/after",
    "on_parent_failure": "#/on_parent_failure",
}
_NUMBERS: Final = ("priority", "delay_seconds", "max_attempts", "retention_seconds")
_LISTS: Final = ("backoff", "retry_on", "success_on")
_TEXTS: Final = (
    *("queue", "credential", "callback_url", "order_key", "on_failure", "on_parent_failure"),
)
_CHOICES: Final[Mapping[str, bool]] = {"yes": True, "no": False}
FIELDS: Final = tuple(_POINTERS)
_MAX_FIELDS: Final = 50
_MAX_LINES: Final = 200
_PIECE_BYTES: Final = 16 * 2**10
_MAX_ESCAPE_BYTES: Final = 2  # of an escape that continues in the next piece
_ESCAPED_FACTOR: Final = 4
"""How much longer it takes to decode escapes than to read the same number of bytes."""

# A number with more digits than a tag can have is text.
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")


async def read_form(body: bytes) -> dict[str, str]:
    """Parse a form as browsers send it.

    Raises:
        BadRequest: It has too many fields.
    """
    if body.count(b"&") >= _MAX_FIELDS:
        raise BadRequest(f"a form has at most {_MAX_FIELDS} fields")
    filled, checkpoints = {}, Checkpoints()
    for pair in filter(None, body.split(b"&")):
        name, _, value = pair.partition(b"=")
        filled[await _unquoted(name, checkpoints)] = await _unquoted(value, checkpoints)
    return filled


async def _unquoted(text: bytes, checkpoints: Checkpoints) -> str:
    """Decode a name or a value, with checkpoints, since decoding many escapes takes long."""
    parts, start = [], 0
    while start < len(text):
        end = start + _PIECE_BYTES
        escape = text.rfind(b"%", end - _MAX_ESCAPE_BYTES, end)
        end = end if escape < 0 else escape  # do not split an escape
        parts.append(unquote_to_bytes(text[start:end].replace(b"+", b" ")))
        start = end
        await checkpoints.after(_ESCAPED_FACTOR * _PIECE_BYTES)
    return b"".join(parts).decode("utf-8", "replace")


class FormError(ValueError):
    """A field that cannot be parsed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def document_of(form: Mapping[str, str]) -> bytes:
    """Return the document for the values of a form, which are not validated here.

    Raises:
        FormError: A field cannot be parsed.
    """
    filled = {name: form[name].strip() for name in FIELDS if form.get(name, "").strip()}
    if "url" not in filled:
        raise FormError("url", "enter a URL, such as https://example.com/")
    document: dict[str, Any] = {"payload": _payload(filled)}
    document |= {name: filled[name] for name in _TEXTS if name in filled}
    document |= {name: _number(name, filled[name]) for name in _NUMBERS if name in filled}
    document |= {name: _list(filled[name]) for name in _LISTS if name in filled}
    if "after" in filled:
        document["after"] = filled["after"].replace(",", " ").split()
    if "completion" in filled or "within_seconds" in filled:
        document["completion"] = _completion(filled)
    if "sign" in filled:
        document["sign"] = _CHOICES.get(filled["sign"], filled["sign"])
    if "tags" in filled:
        document["tags"] = {
            name: _tag_value(value) for name, value in _parse_lines("tags", filled["tags"])
        }
    return msgspec.json.encode(document)


def errors_by_field(found: Iterable[FieldError]) -> dict[str, str]:
    """Return the validation errors by the field of the form where they are shown."""
    errors: dict[str, str] = {}
    for error in found:
        within = [name for name, pointer in _POINTERS.items() if error.pointer.startswith(pointer)]
        name = max(within, key=lambda name: len(_POINTERS[name]), default="url")
        errors[name] = f"{errors[name]}; {error.detail}" if name in errors else error.detail
    return errors


def form_of(task: Task) -> dict[str, str]:
    """Return the form that would submit the same task."""
    payload = payload_of(task)
    body = payload.get("body")
    values = {
        "url": payload.get("url"),
        "method": payload.get("method"),
        "headers": _lines_of(payload.get("headers") or {}),
        "body": None if body is None else body_text(bytes(body)),
        "timeout_seconds": payload.get("timeout_seconds", payload.get("timeout")),
        "queue": task.queue,
        "priority": task.priority or None,
        "max_attempts": task.max_attempts,
        "backoff": _list_text(task.backoff),
        "retry_on": _list_text(task.retry_on),
        "success_on": _list_text(task.success_on),
        "retention_seconds": _number_text(task.retention_seconds),
        "sign": YES_OR_NO[task.sign],
        "credential": task.credential,
        "tags": _lines_of(task.tags),
        "completion": task.completion and task.completion.mode,
        "within_seconds": task.completion and _number_text(task.completion.within_seconds),
        "callback_url": task.callback_url,
        "order_key": task.order_key,
        "on_failure": task.on_failure,
        "after": "\n".join(map(str, task.after or ())) or None,
        "on_parent_failure": task.on_parent_failure,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def unmasked(
    form: Mapping[str, str], original: Mapping[str, str], masking: Masking
) -> dict[str, str]:
    """Replace the masked values of a form by the values of the copied task.

    Only if the URL has the same origin as in that task. Otherwise every user who may submit tasks
    could have the credentials of other users sent to a server of their own.

    Args:
        form: The form as it was sent.
        original: The form of the task that was copied, with its credentials.
        masking: Which values are masked.
    """
    filled = dict(form)
    for name in ("url", "callback_url"):
        if is_same_origin(form.get(name), original.get(name)):
            filled[name] = masking.unmasked_url(form[name].strip(), original[name])
    if is_same_origin(form.get("url"), original.get("url")):
        sent, stored = (
            dict(_parse_lines("headers", one.get("headers", ""))) for one in (form, original)
        )
        kept = masking.unmasked_headers(sent, stored)
        filled["headers"] = "\n".join(f"{name}: {value}" for name, value in kept.items())
    return filled


def _completion(filled: Mapping[str, str]) -> dict[str, Any]:
    if "completion" not in filled:
        raise FormError("completion", "choose who completes the task")
    if "within_seconds" not in filled:
        raise FormError("within_seconds", "enter a number of seconds, such as 3600")
    within = _number("within_seconds", filled["within_seconds"])
    return {"mode": filled["completion"], "within_seconds": within}


def _payload(filled: Mapping[str, str]) -> str | dict[str, Any]:
    request: dict[str, Any] = {"url": filled["url"]}
    if "headers" in filled:
        request["headers"] = dict(_parse_lines("headers", filled["headers"]))
    if "body" in filled:
        request["body"] = _body(filled["body"])
    if "timeout_seconds" in filled:
        request["timeout_seconds"] = _number("timeout_seconds", filled["timeout_seconds"])
    method = filled.get("method", "GET")
    if method != ("POST" if "body" in filled else "GET"):
        request["method"] = method
    return request if len(request) > 1 else filled["url"]


def _body(text: str) -> Any:
    """Return JSON as it is, and any other body as text."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return text
    except RecursionError:  # the validation of the document reports it
        pass
    return msgspec.Raw(text.encode())


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise FormError(name, "must be a number") from None
    return int(number) if number.is_integer() else number


def _list(text: str) -> Any:
    """Return a list of numbers and words; a single word that is no status, or JSON, as it is."""
    if text.startswith(("{", "[")):
        return _body(text)
    parts = [_item(part) for part in text.replace(",", " ").split()]
    return parts[0] if len(parts) == 1 and str(parts[0]).isalpha() else parts


def _item(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def _list_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return ", ".join(
            part if isinstance(part, str) else str(_number_text(part)) for part in value
        )
    return msgspec.json.encode(value).decode()


def _number_text(number: float | None) -> str | None:
    return None if number is None else f"{number:.12g}"


def _parse_lines(field: str, text: str) -> list[tuple[str, str]]:
    pairs = []
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        raise FormError(field, f"must be at most {_MAX_LINES} lines")
    for line in filter(None, map(str.strip, lines)):
        name, colon, value = line.partition(":")
        if not colon:
            raise FormError(
                field, f"each line must have the form name: value; {short(line)!r} has not"
            )
        pairs.append((name.strip(), value.strip()))
    return pairs


def _tag_value(text: str) -> str | int | bool:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _INTEGER.fullmatch(text) else text


def _lines_of(pairs: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in pairs.items()
    )
