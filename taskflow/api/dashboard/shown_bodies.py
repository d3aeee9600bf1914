"""Bodies of requests and responses as the page of a task shows them: text, trees and images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from taskflow.api.dashboard import formatting
from taskflow.api.dashboard.json_tree import Row, tree_of
from taskflow.api.dashboard.preview import has_preview
from taskflow.model.outcome import KeptResponse, StoredResponse
from taskflow.model.task import AttemptRecord

MAX_RESPONSES: Final = 5
_RESULT: Final = msgspec.json.Decoder(StoredResponse)


class ShownBody(NamedTuple):
    """A body as it is shown.

    Attributes:
        text: The text, truncated if it is long; empty if the body is not text.
        is_truncated: Whether it is truncated.
        tree: The rows of its tree, if it is a JSON object or array that is not long.
        is_image: Whether it can be shown as an image.
    """

    text: str
    is_truncated: bool = False
    tree: Sequence[Row] = ()
    is_image: bool = False


def request_body(document: bytes) -> ShownBody:
    """Return the body of a request, given its JSON in the payload."""
    return _json(document)


def result_of(document: msgspec.Raw) -> StoredResponse | None:
    """Decode the stored response of a task; ``None`` if it cannot be decoded."""
    try:
        return _RESULT.decode(document)
    except ValueError:  # no version of TaskFlow stores such a result
        return None


def result_body(result: StoredResponse) -> ShownBody:
    """Return the body of the response of a COMPLETED task."""
    document = bytes(result.result)
    if result.encoding == "json":
        return _json(document)
    if result.encoding == "base64":
        return ShownBody("", is_image=has_preview(result))
    text = msgspec.json.decode(document)
    return _text(text if isinstance(text, str) else "")


def failed_bodies(attempts: Sequence[AttemptRecord]) -> list[ShownBody | None]:
    """Return the response bodies of the last failed attempts, to keep the page small."""
    responses = [attempt.response or None for attempt in attempts]
    bodies = [response and _failed_body(response) for response in responses[-MAX_RESPONSES:]]
    return [None] * (len(attempts) - len(bodies)) + bodies


def _failed_body(response: KeptResponse) -> ShownBody:
    if response.encoding == "json":
        return _json(bytes(response.body))
    return _text("" if response.encoding == "base64" else response.text)


def _json(document: bytes) -> ShownBody:
    return _text(formatting.pretty(document))._replace(tree=tree_of(document))


def _text(text: str) -> ShownBody:
    shown, is_truncated = formatting.beginning(text)
    return ShownBody(formatting.visible(shown), is_truncated)
