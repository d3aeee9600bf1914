"""HTTP requests described by a payload: the fields, and the encoding of the body."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

MAX_TIMEOUT_SECONDS: Final = 3600
MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 8 * 2**10

# Hop-by-hop and framing headers belong to the connection (RFC 9110 section 7.6.1) ...
HEADERS_OF_THE_CONNECTION: Final = (
    *("host", "connection", "content-length", "transfer-encoding", "keep-alive"),
    *("proxy-connection", "te", "trailer", "upgrade", "http2-settings", "expect"),
)
# ... and TaskFlow and its targets rely on these.
HEADERS_MADE_HERE: Final = (
    *HEADERS_OF_THE_CONNECTION,
    *("proxy-authenticate", "proxy-authorization"),
    *("accept-encoding", "x-taskflow-id", "x-taskflow-attempt"),
)
# CONNECT opens a tunnel, and TRACE reveals the headers of the request (RFC 9110 section 9.3.8).
REFUSED_METHODS: Final = ("CONNECT", "TRACE")
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
IDEMPOTENCY_FIELD: Final = "idempotency-key"
TRACE_FIELDS: Final = ("traceparent", "tracestate")


def _in_any_case(name: str) -> str:
    """Return a case-insensitive pattern: JSON Schema has no flags."""
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in name)


_REFUSED_NAMES: Final = "|".join(map(_in_any_case, HEADERS_MADE_HERE))
_BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$(?!\n)"

Method: TypeAlias = Annotated[
    str,
    Meta(
        pattern=f"^(?!({'|'.join(REFUSED_METHODS)})$)[A-Z][A-Z-]{{0,19}}$(?!\n)",
        max_length=20,
        extra={"expected": "a method in capitals such as POST, but not CONNECT or TRACE"},
    ),
]
HeaderName: TypeAlias = Annotated[
    str,
    Meta(
        pattern=f"^(?!({_REFUSED_NAMES})$)[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,128}}$(?!\n)",
        max_length=128,
    ),
]
HeaderValue: TypeAlias = Annotated[
    str,
    Meta(pattern="^([!-~]([\t !-~]*[!-~])?)?$(?!\n)", max_length=MAX_HEADER_BYTES),
]
Headers: TypeAlias = Annotated[dict[HeaderName, HeaderValue], Meta(max_length=MAX_HEADERS)]
Timeout: TypeAlias = Annotated[
    float, Meta(ge=0.01, le=MAX_TIMEOUT_SECONDS, extra={"unit": "seconds"})
]
Body: TypeAlias = Annotated[
    msgspec.Raw,
    Meta(
        extra_json_schema={
            "anyOf": [
                {"type": ["string", "number", "boolean", "array", "null"]},
                {"type": "object", "not": {"required": ["base64"]}},
                {"type": "object", "required": ["base64"], "minProperties": 2},
                {
                    "type": "object",
                    "properties": {"base64": {"type": "string", "pattern": _BASE64}},
                    "required": ["base64"],
                    "maxProperties": 1,
                },
            ]
        }
    ),
]


class RequestPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole HTTP request, in place of a URL to GET."""

    url: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=8192,
            description="The http or https URL to send the request to.",
            examples=["https://example.com/"],
        ),
    ]
    method: Annotated[
        Method | None,
        Meta(
            description="The method, in capitals; not `CONNECT` or `TRACE`. Default: `GET`, or "
            "`POST` if there is a body.",
            examples=["PUT"],
        ),
    ] = None
    headers: Annotated[
        Headers | None,
        Meta(
            description="Header fields by name. Fields of the connection, and fields that TaskFlow "
            "sets itself, are rejected.",
            examples=[{"Accept": "application/json"}],
        ),
    ] = None
    body: Annotated[
        Body | UnsetType,
        Meta(
            description="The request body. Text is sent unchanged, as `text/plain` in UTF-8; "
            '`{"base64": "..."}` is bytes; any other JSON is sent as JSON, to the byte. A '
            "`Content-Type` among the headers takes precedence. `null` is no body.",
            examples=[{"answer": 42}],
        ),
    ] = UNSET
    timeout_seconds: Annotated[
        Timeout | None,
        Meta(
            description="Timeout of an attempt. Default: the setting "
            "`TASKFLOW_FETCH_TIMEOUT_SECONDS`.",
            examples=[30],
        ),
    ] = None
    follow_redirects: Annotated[
        bool | None,
        Meta(description="Whether to follow redirects. Default: true.", examples=[False]),
    ] = None


class StoredPayload(RequestPayload, frozen=True, forbid_unknown_fields=True):
    """A whole HTTP request as it may be stored.

    Attributes:
        headers: Not validated: a name that is repeated a hundred thousand times would take long.
        timeout: The name of ``timeout_seconds`` up to version 0.1.
    """

    headers: dict[str, str] | None = None
    timeout: Timeout | None = None


class Content(msgspec.Struct, frozen=True):
    """The body of a request, and its default media type."""

    data: bytes
    content_type: str | None


class BodyError(ValueError):
    """The body is invalid; the message says why."""


_NO_CONTENT: Final = Content(b"", None)


def content_of(body: bytes | None) -> Content:
    """Return the content of a body (JSON text, or ``None`` without a body).

    Raises:
        BodyError: The body is declared as base64 but is not.
    """
    if body is None or body == b"null":
        return _NO_CONTENT
    if body.startswith(b'"'):
        text: str = msgspec.json.decode(body)
        return Content(text.encode(), "text/plain; charset=utf-8")
    if body.startswith(b"{"):
        fields: dict[str, msgspec.Raw] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if fields.keys() == {"base64"}:
            return Content(_bytes_of(bytes(fields["base64"])), None)
    return Content(body, "application/json")


def _bytes_of(text: bytes) -> bytes:
    # Only strings are decoded: Python rejects integers with very many digits.
    encoded: str = msgspec.json.decode(text) if text.startswith(b'"') else "?"
    if re.search(_BASE64, encoded):
        return base64.b64decode(encoded)
    raise BodyError("body.base64 must be base64 with padding (RFC 4648, section 4)")
