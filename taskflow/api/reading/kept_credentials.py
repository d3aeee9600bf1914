"""The rule that a change of a URL takes no credentials to another origin.

Credentials are not shown to clients, so a client that may change a schedule must not be able to
have them sent to a server of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.masking import Masking
from taskflow.model.url import parse_target
from taskflow.schema.validation_errors import ValidationErrors, token

_ANYTHING: Final = msgspec.json.Decoder(float_hook=str)


def is_same_origin(url: str | None, original: str | None) -> bool:
    """Return whether two URLs lead to the same scheme, host and port."""
    if not url or not original:
        return False
    try:
        return parse_target(url.strip()).origin == parse_target(original).origin
    except InvalidUrl:
        return False


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


def _payload_of(task: bytes) -> Mapping[str, Any]:
    payload = _object(_ANYTHING.decode(task)).get("payload")
    return {"url": payload} if isinstance(payload, str) else _object(payload)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
