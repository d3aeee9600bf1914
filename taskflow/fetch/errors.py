"""The errors of a fetch, and the mapping of foreign exceptions to them.

The tree::

    FetchError
    ├── InvalidUrl         invalid_url
    ├── InvalidRequest     invalid_url         the method or a header cannot be sent
    ├── Blocked            blocked
    ├── NameNotResolved    dns
    ├── NotConnected       connect
    │   ├── ConnectionLost                     the connection broke before a response
    │   └── Unreachable                        the egress proxy could not connect
    ├── TlsFailed          tls
    ├── ProxyFailed        proxy               the task is postponed
    ├── TokenRefused       token               the token endpoint grants no access token
    ├── TokenUnavailable   token               it does not answer; the task is postponed
    ├── BadResponse        protocol
    ├── TooLarge           too_large
    └── TooManyRedirects   too_many_redirects

None of them leaves the package: ``http_fetcher`` turns each into an outcome.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import trio

from taskflow.http1.errors import ProtocolError
from taskflow.model.invalid_url import FetchError
from taskflow.model.masking import MASK
from taskflow.model.outcome import ErrorType, Refusal

MAX_URL_CHARACTERS: Final = 200
"""Maximum length of a URL in an error message."""

# Matches invalid URLs, too: they are what most messages are about.
_USERINFO: Final = re.compile(r"^((?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]*)[^/?#\\]*@")
_AFTER_PATH: Final = re.compile(r"([?#]).*", re.DOTALL)

_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE))


class InvalidRequest(FetchError):
    """The method or a header cannot be sent."""

    error_type = ErrorType.INVALID_URL
    prefix = "invalid request"


class Blocked(FetchError):
    """The guard blocks the target.

    Args:
        reason: Which rule blocks it, and which setting allows it.
        rule: The rule, for programs.
    """

    error_type = ErrorType.BLOCKED
    prefix = "blocked"

    def __init__(self, reason: str, rule: Refusal) -> None:
        super().__init__(reason)
        self.rule = rule


class NameNotResolved(FetchError):
    """The name did not resolve to an address."""

    error_type = ErrorType.DNS
    prefix = "dns error"


class NotConnected(FetchError):
    """No address accepted a connection."""

    error_type = ErrorType.CONNECT
    prefix = "connect error"


class ConnectionLost(NotConnected):
    """The connection broke, or closed before the first byte of a response."""


class TlsFailed(FetchError):
    """The TLS handshake failed, or the certificate is not trusted."""

    error_type = ErrorType.TLS
    prefix = "tls error"


class ProxyFailed(FetchError):
    """The egress proxy failed, or refused to connect to the target.

    Args:
        reason: What the proxy did.
        may_have_been_sent: True if the target may have received the request.
    """

    error_type = ErrorType.PROXY
    prefix = "proxy error"

    def __init__(self, reason: str, *, may_have_been_sent: bool = False) -> None:
        super().__init__(reason)
        self.may_have_been_sent = may_have_been_sent


class TokenRefused(FetchError):
    """The token endpoint does not grant an access token."""

    error_type = ErrorType.TOKEN
    prefix = "token error"


class TokenUnavailable(FetchError):
    """The token endpoint does not answer.

    Args:
        reason: What happened.
        delay_seconds: Time after which it makes sense to ask again.
    """

    error_type = ErrorType.TOKEN
    prefix = "token error"

    def __init__(self, reason: str, delay_seconds: float) -> None:
        super().__init__(reason)
        self.delay_seconds = delay_seconds


class BadResponse(FetchError):
    """The response is not valid HTTP, or is incomplete."""

    error_type = ErrorType.PROTOCOL
    prefix = "protocol error"


class TooLarge(FetchError):
    """The response is larger than the limit."""

    error_type = ErrorType.TOO_LARGE
    prefix = "too large"


class TooManyRedirects(FetchError):
    """The redirect limit is reached."""

    error_type = ErrorType.TOO_MANY_REDIRECTS
    prefix = "too many redirects"


MAPPED: Final = (OSError, trio.BrokenResourceError, ProtocolError)
"""Exceptions of the resolver, the network, TLS and HTTP."""


def fetch_error_of(error: Exception, subject: str) -> FetchError:
    """Return the ``FetchError`` for an exception of ``MAPPED``.

    Args:
        error: The exception.
        subject: The name or address that the message begins with, such as ``example.com:443``.
    """
    # Trio wraps errors of TLS.
    tls = error.__cause__ if isinstance(error, trio.BrokenResourceError) else error
    if isinstance(tls, ssl.SSLError):
        return TlsFailed(f"{subject}: {_words_of(tls)}")
    if isinstance(error, trio.BrokenResourceError):
        return ConnectionLost(f"{subject}: the connection broke")
    if isinstance(error, ProtocolError):
        return BadResponse(f"{subject}: {error}")
    if isinstance(error, socket.gaierror):
        return NameNotResolved(f"{subject}: {error.strerror or error}")
    # Trio adds the address to strerror; the subject already has it.
    number = error.errno if isinstance(error, OSError) else None
    return NotConnected(f"{subject}: {os.strerror(number) if number else error}")


@contextlib.contextmanager
def mapped_errors(subject: str) -> Iterator[None]:
    """Map the exceptions of a block; see ``fetch_error_of``."""
    try:
        yield
    except MAPPED as error:
        raise fetch_error_of(error, subject) from error


def _words_of(error: ssl.SSLError) -> str:
    """Return OpenSSL's message without its file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    words = (error.reason or str(error)).replace("_", " ").lower()
    if error.reason == "WRONG_VERSION_NUMBER":
        return f"{words} (does this port use TLS?)"
    return words


def is_file_descriptor_shortage(error: FetchError) -> bool:
    """Return whether a fetch failed because this process has no file descriptors left.

    Sockets, the hosts file and certificate files all need one, so the target is not at fault.
    """
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _EXHAUSTED:
        return True
    # The resolver and OpenSSL do not report why they failed to open a file.
    needs_files = isinstance(error, NameNotResolved | NotConnected | TlsFailed)
    return needs_files and _are_file_descriptors_exhausted()


def _are_file_descriptors_exhausted() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in _EXHAUSTED
    return False


def masked_url(text: str) -> str:
    """Return a URL, or text submitted as one, without userinfo and query, for an error message.

    The whole query is masked because signed links carry their secret there.
    """
    without_userinfo = _USERINFO.sub(rf"\1{MASK}@", text)
    return _AFTER_PATH.sub(rf"\1{MASK}", without_userinfo)[:MAX_URL_CHARACTERS]
