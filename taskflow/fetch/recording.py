"""Records the last response of a fetch, which a failed attempt shows."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

import msgspec

from taskflow.fetch.body import kept_beginning, kept_form
from taskflow.fetch.decoding import decoder_for
from taskflow.model.invalid_url import FetchError
from taskflow.model.masking import Masking
from taskflow.model.outcome import Failed, KeptResponse, Outcome, reason_phrase
from taskflow.model.untrusted_text import printable, shortened
from taskflow.telemetry import Event, emit_throttled

MAX_KEPT_HEADER_BYTES: Final = 16_384
"""Maximum size of the headers that are kept; headers beyond it are omitted."""

MAX_REASON_CHARACTERS: Final = 100


class Keeping(msgspec.Struct, frozen=True):
    """The rules for recording responses.

    Attributes:
        masking: The rules of masking.
        max_body_bytes: Maximum size of the beginning of the body.
    """

    masking: Masking
    max_body_bytes: int


class Recording(msgspec.Struct):
    """A response, while it is being received.

    Attributes:
        url: The URL of the response.
        status_code: The status code.
        reason: The reason phrase that the target sent.
        headers: The headers by lower-case name.
        body: The body received so far; ``exchange`` appends to it.
        keeping: The rules for recording it.
        is_whole: True if the whole body arrived.
    """

    url: str
    status_code: int
    reason: str
    headers: dict[str, str]
    body: bytearray
    keeping: Keeping
    is_whole: bool = False

    def kept(self) -> KeptResponse:
        """Return the response as a failed attempt shows it."""
        data = bytes(self.body[: self.keeping.max_body_bytes])
        is_truncated = not self.is_whole or len(self.body) > len(data)
        content_type = self.headers.get("content-type")
        form = kept_beginning if is_truncated else kept_form
        text, encoding = form(data, content_type)
        body = text if isinstance(text, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(text))
        if len(bytes(body)) > 2 * len(data) + 2:  # JSON escapes: up to six bytes for one
            body, encoding = msgspec.Raw(b'"' + base64.b64encode(data) + b'"'), "base64"
        return KeptResponse(
            status=status_text(self.status_code, self.reason),
            status_code=self.status_code,
            headers=self.keeping.masking.headers(_first_of(self.headers)),
            content_type=content_type and shortened(content_type, MAX_KEPT_HEADER_BYTES),
            body=body,
            encoding=encoding,
            url=self.keeping.masking.url(self.url),
            size=len(data),
            truncated=is_truncated,
        )


class Recorder:
    """Records the last response while a fetch runs.

    Callers pass one in ``FetchRequest.recorder``. It keeps the response even if the fetch fails
    later or times out.
    """

    def __init__(self) -> None:
        self.last: Recording | None = None

    def added_to(self, outcome: Outcome) -> Outcome:
        """Return the outcome; if it is a failure, with the recorded response."""
        if not isinstance(outcome, Failed) or self.last is None:
            return outcome
        try:
            return msgspec.structs.replace(outcome, response=self.last.kept())
        except Exception as error:  # noqa: BLE001 - a bug must not end the worker
            emit_throttled(Event.FETCH_ERROR, error=error)
            return outcome


class Beginning:
    """Collects the beginning of a body, decoded if possible.

    Args:
        body: The array to append to.
        content_encoding: The value of ``Content-Encoding``.
        max_bytes: Maximum size. One byte more is collected, to detect that there is more.
    """

    def __init__(self, body: bytearray, content_encoding: str, max_bytes: int) -> None:
        self._body = body
        self._decoder = decoder_for(content_encoding) if max_bytes else None
        self._limit = max_bytes + 1 if max_bytes else 0
        self._is_damaged = False

    @property
    def is_full(self) -> bool:
        """True if no more data is collected."""
        return len(self._body) >= self._limit or self._is_damaged

    def add(self, data: bytes) -> None:
        """Add received data."""
        if self.is_full:
            return
        room = self._limit - len(self._body)
        try:
            for piece in self._decoder.decode(data) if self._decoder else (data,):
                self._body += piece[:room]
                room -= len(piece)
                if room <= 0:
                    return
        except FetchError:
            self._is_damaged = True
            self._body += b"" if self._body else data[: self._limit]

    def is_whole(self) -> bool:
        """Return, at the end of the body, whether all of it was collected."""
        try:
            if self._decoder is not None:
                self._decoder.finish()
        except FetchError:
            return False
        return bool(self._limit) and not self._is_damaged


def status_text(status_code: int, reason: str) -> str:
    """Return status code and reason phrase; the target's phrase only for unknown codes."""
    phrase = reason_phrase(status_code) or printable(shortened(reason, MAX_REASON_CHARACTERS))
    return f"{status_code} {phrase}".rstrip()


def _first_of(headers: Mapping[str, str]) -> dict[str, str]:
    kept, room = {}, MAX_KEPT_HEADER_BYTES
    for name, value in headers.items():
        room -= len(name) + len(value)
        if room >= 0:
            kept[name] = value
    return kept
