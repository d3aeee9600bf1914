"""The interface between the engine and the network: one request in, one outcome out."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from taskflow.fetch.authentication import Authenticator, Headers
from taskflow.fetch.recording import Recorder
from taskflow.model.completion import Completion
from taskflow.model.conditional_fetch import NOT_MODIFIED
from taskflow.model.options import SUCCESS, matches
from taskflow.model.outcome import ErrorType, Failed, Outcome, failed
from taskflow.model.request import Headers as ValidHeaders
from taskflow.model.request import StoredPayload, content_of
from taskflow.model.untrusted_text import MAX_NESTING, is_too_deep

Sign: TypeAlias = Callable[[bytes], Headers]
"""Returns the headers that sign a body."""


class FetchRequest(msgspec.Struct, frozen=True):
    """The request of a task.

    Attributes:
        url: The submitted URL, not yet validated.
        method: The HTTP method, in upper case.
        headers: Headers in addition to the ones that TaskFlow sets.
        body: The request body.
        follows_redirects: True to follow redirects.
        success_on: Statuses that count as success.
        timeout_seconds: The timeout; ``None`` for the setting.
        is_conditional: True if TaskFlow made it conditional, so that 304 counts as success.
        sign: Signs the request, at most to the origin of the URL; ``None`` for no signature.
        authenticator: Adds a credential, also after a redirect; ``None`` for no credential.
        egress_proxy: The URL of the proxy to use, or ``DIRECT`` for none; ``None`` for the setting.
        recorder: Records the last response, which a failed attempt shows.
        completion: How the task is completed after a 202, whose outcome is ``Parked``; ``None`` if
            a 202 is a response like others.
        poll_url: In a poll, the URL to poll again after a 202 that has no ``Location``.
    """

    url: str
    method: str = "GET"
    headers: Headers = ()
    body: bytes = b""
    follows_redirects: bool = True
    success_on: tuple[int | str, ...] = SUCCESS
    timeout_seconds: float | None = None
    is_conditional: bool = False
    sign: Sign | None = None
    authenticator: Authenticator | None = None
    egress_proxy: str | None = None
    recorder: Recorder | None = None
    completion: Completion | None = None
    poll_url: str | None = None

    def is_success(self, status: int) -> bool:
        """Return whether a status counts as success."""
        return matches(status, self.success_on) or self.is_not_modified(status)

    def is_not_modified(self, status: int) -> bool:
        """Return whether a status means that the resource has not changed."""
        return self.is_conditional and status == NOT_MODIFIED


_PAYLOAD: Final = msgspec.json.Decoder(str | StoredPayload)
# Accepts numbers of any size.
_ANY_JSON: Final = msgspec.json.Decoder(float_hook=str)
# msgspec raises ValueErrors, and RecursionError for deep nesting.
_UNREADABLE: Final = (ValueError, RecursionError)


class Fetcher(abc.ABC):
    """Fetches URLs. ``HttpFetcher`` implements it; tests may use their own implementation."""

    @abc.abstractmethod
    async def fetch(self, request: FetchRequest) -> Outcome:
        """Fetch once and return the outcome.

        Errors of the target and the network are outcomes, not exceptions. There is no timeout
        here: the caller sets one with a cancel scope.
        """


def request_of(
    payload: bytes, success_on: tuple[int | str, ...] | None = None
) -> FetchRequest | Failed:
    """Return the request that a payload (JSON text) describes: a string is a URL to GET.

    Args:
        payload: The payload of the task.
        success_on: Statuses that count as success, if the task sets them.
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
    """Return why a payload is not a request; one that is not JSON, or too deep, is internal."""
    if is_too_deep(payload):  # how deep a decoder can go depends on the version of Python
        return failed(
            ErrorType.INTERNAL,
            f"internal: the payload cannot be read: deeper than {MAX_NESTING} levels",
        )
    try:
        _ANY_JSON.decode(payload)
    except _UNREADABLE as error:
        return failed(ErrorType.INTERNAL, f"internal: the payload cannot be read: {error}")
    return Failed(
        ErrorType.INVALID_URL,
        "invalid url: the payload must be a URL string, or an object with a url",
    )


def _whole_request(asked: StoredPayload, success_on: tuple[int | str, ...]) -> FetchRequest:
    body = None if isinstance(asked.body, msgspec.UnsetType) else bytes(asked.body)
    content = content_of(body)
    headers = tuple(msgspec.convert(asked.headers or {}, ValidHeaders).items())
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
