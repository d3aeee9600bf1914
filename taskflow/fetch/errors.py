"""Everything that can be the matter with a fetch, and where foreign exceptions become ours.

The tree::

    FetchError
    ├── InvalidUrl         invalid_url
    ├── InvalidRequest     invalid_url         its method or a header cannot be sent
    ├── Blocked            blocked
    ├── NameNotResolved    dns
    ├── NotConnected       connect
    │   └── ConnectionLost                     it broke, or ended before an answer
    ├── TlsFailed          tls
    ├── BadAnswer          protocol
    ├── TooLarge           too_large
    └── TooManyRedirects   too_many_redirects

None of them leaves the package: ``client`` turns each into an outcome.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import h11
import trio

from taskflow.model.invalid_url import FetchError
from taskflow.model.outcome import ErrorType, Refusal

_QUOTED_BYTES: Final = re.compile(r""":? *(?:bytearray\()?b['"].*""", re.DOTALL)
"""Where a message begins to quote bytes. Nothing else of interest follows them."""


class InvalidRequest(FetchError):
    """The method or a header field is not one that can be sent."""

    error_type = ErrorType.INVALID_URL
    prefix = "invalid request"


class Blocked(FetchError):
    """It is not to be fetched from; says by which rule, and which setting opens it.

    Args:
        reason: The rule and the setting, for people.
        rule: The rule, for programs.
    """

    error_type = ErrorType.BLOCKED
    prefix = "blocked"

    def __init__(self, reason: str, rule: Refusal) -> None:
        super().__init__(reason)
        self.rule = rule


class NameNotResolved(FetchError):
    """The name has no address that can be found out."""

    error_type = ErrorType.DNS
    prefix = "dns error"


class NotConnected(FetchError):
    """No address took a connection."""

    error_type = ErrorType.CONNECT
    prefix = "connect error"


class ConnectionLost(NotConnected):
    """The connection broke, or it ended before a byte of an answer came."""


class TlsFailed(FetchError):
    """No connection that is encrypted and to be trusted could be made."""

    error_type = ErrorType.TLS
    prefix = "tls error"


class BadAnswer(FetchError):
    """What came back is not HTTP that can be understood, or it broke off."""

    error_type = ErrorType.PROTOCOL
    prefix = "protocol error"


class TooLarge(FetchError):
    """The body is longer than is kept."""

    error_type = ErrorType.TOO_LARGE
    prefix = "too large"


class TooManyRedirects(FetchError):
    """The chain of redirects is longer than is followed."""

    error_type = ErrorType.TOO_MANY_REDIRECTS
    prefix = "too many redirects"


@contextlib.contextmanager
def mapped_errors(subject: str) -> Iterator[None]:
    """Turn what the resolver, the network, TLS and h11 raise into a ``FetchError``.

    Args:
        subject: Whom it is about, for people: ``example.com:443``.
    """
    try:
        yield
    except socket.gaierror as error:
        raise NameNotResolved(f"{subject}: {error.strerror or error}") from error
    except ssl.SSLError as error:
        raise TlsFailed(f"{subject}: {_words_of(error)}") from error
    except trio.BrokenResourceError as error:
        # trio wraps what its streams met.
        if isinstance(error.__cause__, ssl.SSLError):
            raise TlsFailed(f"{subject}: {_words_of(error.__cause__)}") from error
        raise ConnectionLost(f"{subject}: the connection broke") from error
    except OSError as error:
        # trio puts the address into strerror; a refused connection need not say it twice.
        words = os.strerror(error.errno) if error.errno else str(error)
        raise NotConnected(f"{subject}: {words}") from error
    except h11.RemoteProtocolError as error:
        raise BadAnswer(f"{subject}: {complaint_of(error)}") from error


def complaint_of(error: h11.ProtocolError) -> str:
    """Return h11's message without the bytes that it quotes, which may hold a secret."""
    return _QUOTED_BYTES.sub("", str(error))


def _words_of(error: ssl.SSLError) -> str:
    """What OpenSSL complains of, without its file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    words = (error.reason or str(error)).replace("_", " ").lower()
    if error.reason == "WRONG_VERSION_NUMBER":
        return f"{words} (is there TLS on this port?)"
    return words
