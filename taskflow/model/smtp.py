"""The server that sends e-mail, as ``TASKFLOW_SMTP_URL`` names it."""

from __future__ import annotations

import enum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_PORTS: Final = {"smtp": 587, "smtps": 465}
_RULE: Final = (
    "must be smtps://user:password@host:465 (TLS), smtp://user:password@host:587 (STARTTLS), or "
    "smtp://host:25?tls=none for a relay without TLS and without a user"
)


class SmtpTls(enum.StrEnum):
    """How the connection to the server is encrypted."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class SmtpServer(msgspec.Struct, frozen=True):
    """A server.

    Attributes:
        host: Its name or address.
        port: Its port.
        tls: How the connection is encrypted.
        user: The user; empty for none.
        password: The password of the user.
    """

    host: str
    port: int
    tls: SmtpTls
    user: str = ""
    password: str = ""


def parse_smtp_url(url: str) -> SmtpServer:
    """Parse the URL of a server.

    A password is sent over TLS only, and TLS is never left out because the server does not offer
    it.

    Raises:
        ValueError: It is invalid. The message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(_RULE) from None
    has_no_tls = query == [("tls", "none")]
    if (
        parts.scheme not in _PORTS
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.fragment
        or (query and not has_no_tls)
        or (has_no_tls and (parts.scheme == "smtps" or parts.username is not None))
        or (parts.username is None) != (parts.password is None)
    ):
        raise ValueError(_RULE)
    if has_no_tls:
        tls = SmtpTls.NONE
    else:
        tls = SmtpTls.IMPLICIT if parts.scheme == "smtps" else SmtpTls.STARTTLS
    return SmtpServer(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        tls=tls,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
