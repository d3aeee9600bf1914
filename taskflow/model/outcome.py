"""How an attempt at a task can end: a closed set of outcomes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.model.untrusted_text import printable, shortened

MAX_ERROR_CHARACTERS: Final = 1000

# The names of RFC 9110, section 15, which Python has from 3.13 on.
_RENAMED_PHRASES: Final[Mapping[int, str]] = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
_REASON_PHRASES: Final[Mapping[int, str]] = {
    **{status.value: status.phrase for status in HTTPStatus},
    **_RENAMED_PHRASES,
}


class ErrorType(enum.StrEnum):
    """Why a task FAILED: a closed set.

    The first paragraph below each says what it means, the second what to do about it;
    docs/reference/errors.md is written from both.
    """

    TIMEOUT = "timeout"
    """The whole fetch took longer than its ``timeout``, or ``TASKFLOW_FETCH_TIMEOUT_SECONDS``.

    Give the task a longer ``timeout``, or have the target answer at once and do the work later.
    """
    DNS = "dns"
    """The name did not resolve to an address.

    Look at the name as it stands: it is not completed by the system's search list.
    """
    CONNECT = "connect"
    """No connection could be made, or it broke before an answer came.

    See whether the target listens, and whether this machine may go there.
    """
    TLS = "tls"
    """The TLS handshake failed, or the certificate is not to be trusted.

    Mend the target's certificate; for an authority of your own set ``SSL_CERT_FILE``.
    """
    HTTP_STATUS = "http_status"
    """The target answered with a status that does not count as success.

    The error has the status. ``success_on`` says what else is a success, ``retry_on`` what is
    worth another attempt.
    """
    INVALID_URL = "invalid_url"
    """The payload has no URL that can be fetched, or its request cannot be sent.

    Mend the payload: a URL is http or https, and has no credentials in it.
    """
    BLOCKED = "blocked"
    """The host or port is one that TaskFlow does not fetch from.

    The error says which setting opens it.
    """
    TOO_LARGE = "too_large"
    """The body is longer than ``TASKFLOW_MAX_RESULT_BYTES``.

    Have the target answer with less, or raise the bound.
    """
    TOO_MANY_REDIRECTS = "too_many_redirects"
    """There were more redirects than ``TASKFLOW_MAX_REDIRECTS``.

    Use the URL that they lead to, if they lead anywhere.
    """
    PROTOCOL = "protocol"
    """The answer is not HTTP that can be understood, or it broke off.

    See what the target sends: ``curl -v`` shows it.
    """
    EXPIRED = "expired"
    """It was still waiting at its ``expires_at``.

    ``waiting_for`` says what tasks wait for; more workers or looser limits get through sooner.
    """
    POISON = "poison"
    """The task's nodes died under it ``TASKFLOW_MAX_RESCUES`` times.

    See in the nodes' logs what killed them; then run it again by hand.
    """
    INTERNAL = "internal"
    """A fault in TaskFlow, or a callback on a node without ``TASKFLOW_WEBHOOK_SECRETS``.

    The log of the node that ran it has the details.
    """


class Refusal(enum.StrEnum):
    """By which rule of the guard a fetch was refused."""

    DENIED_HOST = "denied_host"
    """An operator denied the host."""
    PORT = "port"
    """The port belongs to a service that is no target."""
    ADDRESS = "address"
    """The URL has an address that is not public."""
    RESOLVED_ADDRESS = "resolved_address"
    """The name in the URL has an address that is not public."""


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
        content_encoding: There if the body is kept as it came, for these names in its
            ``Content-Encoding`` are none that TaskFlow can undo.
        dropped_bytes: There if bytes followed the end of the compressed data: how many. They are
            not kept.
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
    content_encoding: str | UnsetType = UNSET
    dropped_bytes: int | UnsetType = UNSET


class KeptResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The last response that a failed attempt received, as far as it is kept.

    Attributes:
        status: Code and phrase, such as ``500 Internal Server Error``.
        status_code: The code alone.
        headers: By lower-case name, at most 16 KiB; repeated fields are joined as RFC 9110
            section 5.3 says.
        content_type: The media type as it was sent, or ``None``.
        body: The beginning of the body: JSON as it was sent, else text, else base64.
        encoding: How ``body`` holds it.
        url: Where the response came from, after redirects.
        size: How many bytes of the body are kept.
        truncated: Whether the body was longer, or its end is missing.
    """

    status: str
    status_code: int
    headers: dict[str, str]
    content_type: str | None
    body: Annotated[msgspec.Raw, Meta(extra_json_schema={"title": "any JSON"})]
    encoding: Literal["json", "text", "base64"]
    url: str
    size: int
    truncated: bool

    @property
    def text(self) -> str:
        """The body as text: JSON to the byte, base64 as it is."""
        if self.encoding == "json":
            return bytes(self.body).decode()
        text: str = msgspec.json.decode(self.body)
        return text


_RESPONSE: Final = msgspec.json.Decoder(KeptResponse)


def response_of(text: str | bytes | None) -> KeptResponse | UnsetType:
    """Read the response of an attempt, if there is one that can be read."""
    try:
        return UNSET if text is None else _RESPONSE.decode(text)
    except (
        ValueError,
        RecursionError,
    ):  # another version's, or an edited row: the attempt is shown anyway
        return UNSET


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
        response: The last response that came, if one did. Only for people: it decides nothing.
    """

    error_type: ErrorType
    error: str
    status_code: int | None = None
    retry_after_seconds: float | None = None
    response: KeptResponse | None = None


class Interrupted(msgspec.Struct, frozen=True):
    """This service cut the attempt off (shutdown or lost lease); it does not count."""


class Canceled(msgspec.Struct, frozen=True):
    """The node lost the claim, usually because the task was canceled; nothing is written."""


Outcome: TypeAlias = Fetched | Failed | Interrupted | Canceled


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
    text = shortened(printable(error), MAX_ERROR_CHARACTERS)
    return Failed(error_type, text, status_code, retry_after_seconds)


def reason_phrase(status: int) -> str:
    """Return the reason phrase of a status, such as ``Not Found``; empty if it has none."""
    return _REASON_PHRASES.get(status, "")
