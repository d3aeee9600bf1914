"""How an attempt at a task can end: a closed set of outcomes."""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

MAX_ERROR_CHARACTERS: Final = 1000


class ErrorType(enum.StrEnum):
    """Why a task FAILED: a closed set, documented in the README."""

    TIMEOUT = "timeout"
    """The whole fetch took longer than the bound."""
    DNS = "dns"
    """The name did not resolve to an address."""
    CONNECT = "connect"
    """No connection could be made, or it broke before an answer came."""
    TLS = "tls"
    """The TLS handshake failed, or the certificate is not to be trusted."""
    HTTP_STATUS = "http_status"
    """The target answered with a status that does not count as success."""
    INVALID_URL = "invalid_url"
    """The payload is not a URL that can be fetched."""
    BLOCKED = "blocked"
    """The address or port is one that this service does not fetch from."""
    TOO_LARGE = "too_large"
    """The body is longer than is kept."""
    TOO_MANY_REDIRECTS = "too_many_redirects"
    """The chain of redirects is longer than is followed."""
    PROTOCOL = "protocol"
    """The answer is not HTTP that can be understood."""
    EXPIRED = "expired"
    """It was still waiting when its time was over."""
    POISON = "poison"
    """The task's nodes died under it too often."""
    INTERNAL = "internal"
    """A fault in TaskFlow itself; the log has the details."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What a target answered, as it is shown under ``result``.

    Attributes:
        message: A sentence for people.
        result: The body: JSON as it was sent, else text, else base64.
        status: Code and phrase, such as ``200 OK``.
        status_code: The code alone.
        headers: By lower-case name; repeated fields are joined as RFC 9110 section 5.3 says.
        content_type: The media type as it was sent, or ``None``.
        encoding: How ``result`` holds the body.
        url: Where the answer came from, after redirects.
        elapsed_ms: From the start of the fetch to the end of the body, in milliseconds.
        size: Length of the decoded body in bytes.
        not_modified: There, and true, if a conditional fetch found that nothing has changed.
    """

    message: str
    result: msgspec.Raw | str | None
    status: str
    status_code: int
    headers: dict[str, str]
    content_type: str | None
    encoding: Literal["json", "text", "base64"]
    url: str
    elapsed_ms: float
    size: int
    not_modified: Literal[True] | UnsetType = UNSET


class Fetched(msgspec.Struct, frozen=True):
    """The target answered, and the answer counts as success."""

    response: Response


class Failed(msgspec.Struct, frozen=True):
    """The attempt failed for a reason that is the task's own.

    Attributes:
        error_type: Why, for programs.
        error: Why, for people.
        status_code: What the target answered, if it answered.
        retry_after_seconds: How long the target asked to be left alone, if it did.
    """

    error_type: ErrorType
    error: str
    status_code: int | None = None
    retry_after_seconds: float | None = None


class Interrupted(msgspec.Struct, frozen=True):
    """The attempt was cut off by this service, which is not the task's fault."""


class CalledOff(msgspec.Struct, frozen=True):
    """The claim was taken away meanwhile, by a cancel mostly: there is nothing to be written."""


Outcome: TypeAlias = Fetched | Failed | Interrupted | CalledOff


def printable(text: str) -> str:
    """Escape control characters and unpaired surrogates, for text that comes from strangers."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def failed(
    error_type: ErrorType,
    error: str,
    *,
    status_code: int | None = None,
    retry_after_seconds: float | None = None,
) -> Failed:
    """Make a failure whose text is safe to store, to log and to show.

    Control characters and unpaired surrogates (which may come from a hostile target, and
    which PostgreSQL's ``text`` partly refuses) are escaped; the length is bounded.
    """
    text = printable(error)[:MAX_ERROR_CHARACTERS]
    return Failed(error_type, text, status_code, retry_after_seconds)
