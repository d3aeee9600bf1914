"""The seam between the engine and the network: one request in, one outcome out."""

from __future__ import annotations

import abc
from typing import Final

import msgspec

from taskflow.model.outcome import ErrorType, Failed, Outcome


class FetchRequest(msgspec.Struct, frozen=True):
    """A request as the task asks for it.

    Attributes:
        url: As it was handed in; not yet judged.
        method: An HTTP method in upper case.
        headers: Header fields beside those that the transport makes itself.
        body: The request body in bytes.
    """

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


_URL: Final = msgspec.json.Decoder(str)


class Fetcher(abc.ABC):
    """Fetches over the network. ``client.HttpFetcher`` does; tests may bring their own."""

    @abc.abstractmethod
    async def fetch(self, request: FetchRequest) -> Outcome:
        """Fetch once and say how it went.

        Every fault of the target or of the network is an outcome, not an exception. It
        takes as long as the target does: the caller bounds it with a cancel scope.
        """


def request_of(payload: bytes, headers: tuple[tuple[str, str], ...] = ()) -> FetchRequest | Failed:
    """What a task's payload (JSON text) asks for: a string is a URL to GET.

    Args:
        payload: The task's.
        headers: Fields that the request is to have in any case.
    """
    try:
        return FetchRequest(_URL.decode(payload), headers=headers)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return Failed(
            ErrorType.INVALID_URL, "invalid url: the payload must be a string that is a URL"
        )
