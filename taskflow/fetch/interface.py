"""The seam between the engine and the network: one request in, one outcome out."""

from __future__ import annotations

import abc
from typing import Final, TypeAlias

import msgspec

from taskflow.fetch.recording import Recorder
from taskflow.model.conditional_fetch import NOT_MODIFIED
from taskflow.model.options import SUCCESS, matches
from taskflow.model.outcome import ErrorType, Failed, Outcome, failed
from taskflow.model.request import StoredPayload, content_of

Headers: TypeAlias = tuple[tuple[str, str], ...]


class FetchRequest(msgspec.Struct, frozen=True):
    """A request as the task asks for it.

    Attributes:
        url: As it was handed in; not yet judged.
        method: An HTTP method in upper case.
        headers: Header fields beside those that the transport makes itself.
        body: The request body in bytes.
        follows_redirects: Whether to go where a redirect leads.
        success_on: Which statuses count as success.
        timeout_seconds: How long it may take; ``None`` is as the settings say.
        is_conditional: Whether TaskFlow made it conditional, so that 304 is an answer, too.
        recorder: Remembers the last response, which a failed attempt shows.
    """

    url: str
    method: str = "GET"
    headers: Headers = ()
    body: bytes = b""
    follows_redirects: bool = True
    success_on: tuple[int | str, ...] = SUCCESS
    timeout_seconds: float | None = None
    is_conditional: bool = False
    recorder: Recorder | None = None

    def is_success(self, status: int) -> bool:
        """Whether an answer with this status is what the task is after."""
        return matches(status, self.success_on) or self.is_not_modified(status)

    def is_not_modified(self, status: int) -> bool:
        """Whether an answer with this status says that nothing has changed."""
        return self.is_conditional and status == NOT_MODIFIED


_PAYLOAD: Final = msgspec.json.Decoder(str | StoredPayload)
# Numbers of any size.
_ANY_JSON: Final = msgspec.json.Decoder(float_hook=str)
# What msgspec raises is a ValueError; the other is for what is nested too deep.
_UNREADABLE: Final = (ValueError, RecursionError)


class Fetcher(abc.ABC):
    """Fetches over the network. ``client.HttpFetcher`` does; tests may bring their own."""

    @abc.abstractmethod
    async def fetch(self, request: FetchRequest) -> Outcome:
        """Fetch once and say how it went.

        Every fault of the target or of the network is an outcome, not an exception. It
        takes as long as the target does: the caller bounds it with a cancel scope.
        """


def request_of(
    payload: bytes, success_on: tuple[int | str, ...] | None = None
) -> FetchRequest | Failed:
    """What a task's payload (JSON text) asks for: a string is a URL to GET.

    Args:
        payload: The task's.
        success_on: Which statuses count as success, if the task says so.
    """
    success_on = SUCCESS if success_on is None else success_on
    try:
        asked = _PAYLOAD.decode(payload)
        if isinstance(asked, str):
            return FetchRequest(asked, success_on=success_on)
        return _whole_request(asked, success_on)
    except _UNREADABLE:
        return _failure_of(payload)


def _failure_of(payload: bytes) -> Failed:
    """Why no request can be made of a payload; one that no client could submit is a fault."""
    try:
        _ANY_JSON.decode(payload)
    except _UNREADABLE as error:
        return failed(ErrorType.INTERNAL, f"internal: the payload cannot be read: {error}")
    return Failed(
        ErrorType.INVALID_URL,
        "invalid url: the payload must be a string that is a URL, or an object with one",
    )


def _whole_request(asked: StoredPayload, success_on: tuple[int | str, ...]) -> FetchRequest:
    body = None if isinstance(asked.body, msgspec.UnsetType) else bytes(asked.body)
    content = content_of(body)
    headers = tuple((asked.headers or {}).items())
    if content.content_type and not any(name.lower() == "content-type" for name, _ in headers):
        headers += (("Content-Type", content.content_type),)
    return FetchRequest(
        asked.url,
        method=asked.method or ("GET" if body in (None, b"null") else "POST"),
        headers=headers,
        body=content.data,
        follows_redirects=asked.follow_redirects is not False,
        success_on=success_on,
        timeout_seconds=asked.timeout_seconds if asked.timeout is None else asked.timeout,
    )
