"""Credentials of a schedule that is changed: they are kept, and taken to no other origin.

Credentials are not shown to clients. A client may send a schedule as it was shown, with masks, and
must not be able to have the credentials sent to a server of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.masking import MASK, Masking
from taskflow.model.url import parse_target
from taskflow.schema.validation_errors import ValidationErrors, token

_ANYTHING: Final = msgspec.json.Decoder(float_hook=str)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_Fields: TypeAlias = Mapping[str, msgspec.Raw]


def is_same_origin(url: str | None, original: str | None) -> bool:
    """Return whether two URLs lead to the same scheme, host and port."""
    if not url or not original:
        return False
    try:
        return parse_target(url.strip()).origin == parse_target(original).origin
    except InvalidUrl:
        return False


def with_kept_credentials(sent: msgspec.Raw, before: msgspec.Raw, masking: Masking) -> msgspec.Raw:
    """Return a task with its masked values as they are stored, for URLs of the same origin.

    Args:
        sent: The task, as JSON text.
        before: The task of the schedule, as JSON text.
        masking: What is masked.
    """
    if not is_masked(bytes(sent)):
        return sent
    fields, stored = _FIELDS.decode(sent), _FIELDS.decode(before)
    new, old = _payload_fields(fields), _payload_fields(stored)
    url, old_url = _text_of(new, "url"), _text_of(old, "url")
    if is_same_origin(url, old_url):
        kept_url = masking.unmasked_url(url, old_url)
        headers = _fields_of(old.get("headers"))
        fields["payload"] = _with_kept(fields["payload"], kept_url, headers, masking)
    callback, old_callback = _text_of(fields, "callback_url"), _text_of(stored, "callback_url")
    if is_same_origin(callback, old_callback):
        fields["callback_url"] = _encoded(masking.unmasked_url(callback, old_callback))
    return _encoded(fields)


def is_masked(task: bytes) -> bool:
    """Return whether a task is an object with a mask anywhere in its text."""
    return MASK.encode() in task and task.startswith(b"{")


def refuse_moved_credentials(before: bytes, after: bytes, patch: bytes, masking: Masking) -> None:
    """Refuse a patch after which stored credentials would be sent to another origin.

    Args:
        before: The task of the schedule, as JSON text.
        after: The same with the patch applied.
        patch: The patch of the task.
        masking: What is masked.

    Raises:
        Unprocessable: Headers that the patch does not contain would be sent elsewhere.
    """
    old, new = _payload_of(before), _payload_of(after)
    url = new.get("url")
    if url == old.get("url") or is_same_origin(_text(url), _text(old.get("url"))):
        return
    sent = _object(_payload_of(patch).get("headers"))
    headers = _object(new.get("headers"))
    kept = {name: value for name, value in headers.items() if name not in sent}
    errors = ValidationErrors()
    for name, value in masking.headers(kept).items():
        if value != kept[name]:
            errors.add(
                f"/task/payload/headers{token(name)}",
                f"the header {name} is kept only for the scheme, host and port of the URL that it "
                "was sent with; send its value again, or null to remove it",
            )
    errors.raise_if_any()


def _with_kept(payload: msgspec.Raw, url: str, headers: _Fields, masking: Masking) -> msgspec.Raw:
    """Return a payload with this URL, and with the stored values in place of masked headers."""
    if not bytes(payload).startswith(b"{"):
        return _encoded(url)
    fields = _FIELDS.decode(payload) | {"url": _encoded(url)}
    sent = _fields_of(fields.get("headers"))
    masked = {name: _text_of(sent, name) for name in sent if _is_masked_text(sent[name])}
    if masked:
        stored = {name: _text_of(headers, name) for name in headers}
        kept = masking.unmasked_headers(masked, stored)
        fields["headers"] = _encoded({**sent} | {name: _encoded(kept[name]) for name in kept})
    return _encoded(fields)


def _payload_fields(task: _Fields) -> _Fields:
    """Return the fields of the payload of a task; a URL alone is a field, too."""
    payload = task.get("payload")
    if payload is not None and bytes(payload).startswith(b'"'):
        return {"url": payload}
    return _fields_of(payload)


def _fields_of(value: msgspec.Raw | None) -> _Fields:
    """Return the fields of an object, not decoded; none of anything else."""
    is_object = value is not None and bytes(value).startswith(b"{")
    return _FIELDS.decode(value) if value is not None and is_object else {}


def _text_of(fields: _Fields, name: str) -> str:
    """Return a field that is text; an empty text if it is something else, or missing."""
    value = fields.get(name)
    is_text = value is not None and bytes(value).startswith(b'"')
    return _TEXT.decode(value) if value is not None and is_text else ""


def _encoded(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _payload_of(task: bytes) -> Mapping[str, Any]:
    payload = _object(_ANYTHING.decode(task)).get("payload")
    return {"url": payload} if isinstance(payload, str) else _object(payload)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _is_masked_text(value: msgspec.Raw) -> bool:
    text = bytes(value)
    return MASK.encode() in text and text.startswith(b'"')
