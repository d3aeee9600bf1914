"""The outcomes of an attempt, and the responses that they carry."""

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
    """Why a task FAILED.

    Below each member, the first paragraph is its meaning and the second what to do about it;
    docs/reference/errors.md is generated from both.
    """

    TIMEOUT = "timeout"
    """The fetch, or the work of a target that answered 202, took longer than allowed.

    Set a longer ``timeout_seconds`` or ``TASKFLOW_FETCH_TIMEOUT_SECONDS``; or let the target answer
    202 and work in the background (``completion``), with a longer ``within_seconds`` or heartbeats.
    """
    DNS = "dns"
    """The name did not resolve to an address.

    Check the name. The system's search list is not applied to it.
    """
    CONNECT = "connect"
    """No connection could be opened, or it broke before a response.

    Check that the target is listening and that this machine, or the egress proxy, can reach it.
    """
    TLS = "tls"
    """The TLS handshake failed, or the certificate is not trusted.

    Fix the target's certificate. For a private certificate authority, set ``SSL_CERT_FILE``.
    """
    PROXY = "proxy"
    """The egress proxy failed, or refused to connect to the target.

    The task is started again later, and the attempt does not count. Check the proxy,
    ``TASKFLOW_EGRESS_PROXY`` and the ``egress_proxy`` of the queue with ``taskflow doctor``.
    ``expires_at`` limits how long a task waits.
    """
    KEY_MISSING = "key_missing"
    """The node lacks the key with which the task, or its credential, is encrypted.

    The task is started again later, on any node, and the attempt does not count. Set the same
    ``TASKFLOW_ENCRYPTION_KEYS`` on all nodes; ``taskflow doctor`` names the missing key.
    """
    TOKEN = "token"  # noqa: S105 - the name of an error
    """The token endpoint of the credential did not grant an access token.

    ``error`` has its response. Check the credential, then retry the task. While the endpoint does
    not answer, the task is started again later, and the attempt does not count.
    """
    ENDPOINT_DISABLED = "endpoint_disabled"
    """The endpoint of the event, or the destination of the alert, was disabled or deleted.

    Nothing was sent. Enable the endpoint, then ``POST .../recover`` sends again what failed.
    """
    CREDENTIAL_MISSING = "credential_missing"
    """The credential of the task, or of its queue, does not exist.

    ``error`` has its name. Create it with ``taskflow credentials put``, then retry the task.
    """
    HTTP_STATUS = "http_status"
    """The status of the response does not count as success.

    ``error`` has the status. ``success_on`` sets which statuses are a success, ``retry_on`` which
    are retried.
    """
    INVALID_URL = "invalid_url"
    """The payload has no valid URL, or its request cannot be sent.

    Correct the payload. A URL must be http or https, without credentials.
    """
    BLOCKED = "blocked"
    """TaskFlow does not fetch from this host or port, or may not send the credential there.

    ``error`` names the setting that allows it, or the rule of the credential that forbids it.
    """
    TOO_LARGE = "too_large"
    """The body is larger than ``TASKFLOW_MAX_RESULT_BYTES``.

    Let the target return less, or raise the limit.
    """
    TOO_MANY_REDIRECTS = "too_many_redirects"
    """The redirects exceed ``TASKFLOW_MAX_REDIRECTS``.

    Use the URL at the end of the redirects.
    """
    PROTOCOL = "protocol"
    """The response is not valid HTTP, or is incomplete.

    Inspect the response with ``curl -v``.
    """
    EXPIRED = "expired"
    """The task had not started by its ``expires_at``.

    ``held`` shows why tasks do not start. Add workers, or raise the limits.
    """
    PARENT_FAILED = "parent_failed"
    """A parent of the task FAILED or was CANCELED.

    Retry the parent first, then the task. ``on_parent_failure`` sets what happens to the task.
    """
    REFERENCE_MISSING = "reference_missing"
    """A reference of the request finds nothing in the result of a parent, or no usable value.

    ``error`` has the reference. Correct the pointer, or submit the task again after its parents.
    """
    REPORTED = "reported"
    """The target reported a failure at the completion URL of the attempt.

    ``error`` has its text. Its own log has the details.
    """
    MAIL = "mail"
    """The mail server did not accept an e-mail of an alert.

    ``error`` has its response. Check ``TASKFLOW_SMTP_URL`` and ``TASKFLOW_SMTP_FROM``; then test
    the alert.
    """
    POISON = "poison"
    """``TASKFLOW_MAX_RESCUES`` nodes died while they ran the task.

    Find the cause in the logs of the nodes, then retry the task.
    """
    INTERNAL = "internal"
    """An error in TaskFlow itself, or a node without secrets that has to sign a request.

    The log of the node has the details. All nodes need the same ``TASKFLOW_WEBHOOK_SECRETS``.
    """


class Refusal(enum.StrEnum):
    """The rule by which the guard blocked a fetch."""

    DENIED_HOST = "denied_host"
    """An operator denies the host."""
    PORT = "port"
    """The port belongs to a service that is not a web server."""
    ADDRESS = "address"
    """The URL contains an address that is not public."""
    INTERNAL_NAME = "internal_name"
    """The host name is internal, and only the egress proxy can see its addresses."""
    RESOLVED_ADDRESS = "resolved_address"
    """The host name resolves to an address that is not public."""
    CREDENTIAL = "credential"
    """The credential of the task may not be sent to the target."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The response of a target, as shown under ``result``.

    Attributes:
        message: A message for people.
        result: The body: JSON as it was received, else text, else base64.
        status: The status code and reason phrase, such as ``200 OK``.
        status_code: The status code.
        headers: The headers by lower-case name; repeated headers are joined (RFC 9110 section 5.3).
        content_type: The value of ``Content-Type``, or ``None``.
        encoding: The encoding of the body in ``result``.
        url: The URL of the response, after redirects.
        elapsed_seconds: Time from the start of the fetch to the end of the body, in seconds.
        size: Size of the decoded body in bytes.
        not_modified: Present and true if a conditional fetch found the resource unchanged.
        content_encoding: Present if the body is kept undecoded: the values of ``Content-Encoding``
            that TaskFlow cannot decode.
        dropped_bytes: Present if bytes followed the compressed data: their number. They are not
            kept.
    """

    message: str
    result: msgspec.Raw | str | None
    status: str
    status_code: int
    headers: dict[str, str]
    content_type: str | None
    encoding: Literal["json", "text", "base64"]
    url: str
    elapsed_seconds: float
    size: int
    not_modified: Literal[True] | UnsetType = UNSET
    content_encoding: str | UnsetType = UNSET
    dropped_bytes: int | UnsetType = UNSET


class StoredResponse(Response, frozen=True, kw_only=True):
    """A stored ``Response``; version 0.1 wrote ``elapsed_ms`` instead of ``elapsed_seconds``.

    Attributes:
        result: The body as it is stored: JSON.
        elapsed_ms: Never set after decoding.
    """

    result: msgspec.Raw
    elapsed_seconds: float = 0.0
    elapsed_ms: float | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.elapsed_ms is not UNSET:
            msgspec.structs.force_setattr(self, "elapsed_seconds", self.elapsed_ms / 1000)
            msgspec.structs.force_setattr(self, "elapsed_ms", UNSET)


class KeptResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The kept part of the last response to a failed attempt.

    Attributes:
        status: The status code and reason phrase, such as ``500 Internal Server Error``.
        status_code: The status code.
        headers: The headers by lower-case name, at most 16 KiB; repeated headers are joined
            (RFC 9110 section 5.3).
        content_type: The value of ``Content-Type``, or ``None``.
        body: The beginning of the body: JSON as it was received, else text, else base64.
        encoding: The encoding of ``body``.
        url: The URL of the response, after redirects.
        size: Number of bytes of the body that are kept.
        truncated: True if the body was longer, or did not arrive completely.
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
        """The body as text: JSON byte for byte, or base64."""
        if self.encoding == "json":
            return bytes(self.body).decode()
        text: str = msgspec.json.decode(self.body)
        return text


_RESPONSE: Final = msgspec.json.Decoder(KeptResponse)


def response_of(text: str | bytes | None) -> KeptResponse | UnsetType:
    """Decode the stored response of an attempt; ``UNSET`` if there is none, or it is invalid."""
    try:
        return UNSET if text is None else _RESPONSE.decode(text)
    except (
        ValueError,
        RecursionError,
    ):  # another version's format, or an edited row: the attempt is shown anyway
        return UNSET


class Fetched(msgspec.Struct, frozen=True):
    """The target returned a response that counts as success."""

    response: Response


class Failed(msgspec.Struct, frozen=True):
    """The attempt failed, and the failure counts.

    Attributes:
        error_type: The reason, for programs.
        error: The reason, for people.
        status_code: The status of the response, if there was one.
        retry_after_seconds: The target's ``Retry-After``, if it sent one.
        response: The last response, if there was one. For people only: no decision depends on it.
        is_of_node: True if only this node failed, so that another attempt may succeed.
    """

    error_type: ErrorType
    error: str
    status_code: int | None = None
    retry_after_seconds: float | None = None
    response: KeptResponse | None = None
    is_of_node: bool = False


class Interrupted(msgspec.Struct, frozen=True):
    """This service cut the attempt off (shutdown or lost lease); it does not count."""


class Postponed(msgspec.Struct, frozen=True):
    """The attempt failed for a reason outside the task and its target; it does not count.

    Attributes:
        error_type: The reason, for programs.
        error: The reason, for people.
        delay_seconds: Delay until the task is due again.
        may_have_been_sent: True if the target may have received the request.
    """

    error_type: ErrorType
    error: str
    delay_seconds: float
    may_have_been_sent: bool = False


class Parked(msgspec.Struct, frozen=True):
    """The target accepted the work, and its outcome is not known yet.

    Attributes:
        within_seconds: Time until the attempt is overdue.
        poll_url: The URL to poll; ``None`` if the target reports the outcome.
        poll_delay_seconds: Time until the next poll.
    """

    within_seconds: float
    poll_url: str | None = None
    poll_delay_seconds: float = 0.0


class Canceled(msgspec.Struct, frozen=True):
    """The node lost the claim, usually because the task was canceled; nothing is written."""


Outcome: TypeAlias = Fetched | Failed | Parked | Interrupted | Postponed | Canceled


def failed(
    error_type: ErrorType,
    error: str,
    *,
    status_code: int | None = None,
    retry_after_seconds: float | None = None,
) -> Failed:
    """Return a failure whose text is safe to store, log and show.

    Control characters and unpaired surrogates are escaped, because hostile targets send them and
    PostgreSQL's ``text`` rejects some; the length is limited.
    """
    text = shortened(printable(error), MAX_ERROR_CHARACTERS)
    return Failed(error_type, text, status_code, retry_after_seconds)


def reason_phrase(status: int) -> str:
    """Return the reason phrase of a status, such as ``Not Found``; empty if it has none."""
    return _REASON_PHRASES.get(status, "")
