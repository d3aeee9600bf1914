"""TLS with a client certificate, or with certificate authorities of its own."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import trio

from taskflow.fetch.authentication import Admission, ClientTls, Headers, Outgoing
from taskflow.fetch.dialing import new_ssl_context
from taskflow.fetch.errors import Blocked, TlsFailed
from taskflow.model.credential import OAuth2
from taskflow.model.outcome import Refusal
from taskflow.model.url import Target

MAX_CONTEXTS: Final = 100
"""Number of TLS configurations that are kept: to make one takes tens of milliseconds."""


class Identification(msgspec.Struct, frozen=True):
    """What a TLS configuration is made of, in PEM.

    Attributes:
        certificate: The client certificate with its intermediate certificates, if any.
        private_key: Its private key.
        ca_bundle: The certificate authorities to trust instead of the system's, if any.
    """

    certificate: str | None
    private_key: str | None
    ca_bundle: str | None

    def __repr__(self) -> str:
        """Return nothing of the key: it must not appear in tracebacks."""
        return "<Identification>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return no value, either."""
        return []


def identification_of(credential: OAuth2) -> Identification | None:
    """Return what a credential needs for TLS; ``None`` for what all connections have."""
    if credential.certificate is None and credential.ca_bundle is None:
        return None
    return Identification(credential.certificate, credential.certificate_key, credential.ca_bundle)


async def client_tls(identification: Identification) -> ClientTls:
    """Return a TLS configuration, made in a thread unless it is kept from before.

    Raises:
        TlsFailed: OpenSSL does not accept the certificate.
    """
    return await trio.to_thread.run_sync(_client_tls, identification)


class CertificateAuthenticator(Admission):
    """Identifies the client by its certificate.

    Args:
        hosts: The hosts that may see it.
        identification: The certificate.
    """

    def __init__(self, hosts: tuple[str, ...], identification: Identification) -> None:
        super().__init__(hosts)
        self._identification: Final = identification

    def admit(self, target: Target) -> None:
        """See ``Authenticator``; without TLS there is no certificate."""
        super().admit(target)
        if target.scheme != "https":
            raise Blocked(f"{target.origin}: a client certificate needs https", Refusal.CREDENTIAL)

    async def headers(self, _request: Outgoing, /) -> Headers:
        """See ``Authenticator``."""
        if self.tls is None:
            self.tls = await client_tls(self._identification)
        return ()

    async def rejected(self, _sent: Headers, /) -> bool:
        """See ``Authenticator``."""
        return False


@functools.lru_cache(MAX_CONTEXTS)
def _client_tls(identification: Identification) -> ClientTls:
    # Its digest, because names of connections may be shown.
    digest = hashlib.sha256(msgspec.msgpack.encode(identification)).hexdigest()
    try:
        return ClientTls(digest, _context_of(identification))
    except ssl.SSLError as error:
        reason = (error.reason or "it is not valid").replace("_", " ").lower()
        raise TlsFailed(f"the client certificate cannot be used: {reason}") from None


def _context_of(identification: Identification) -> ssl.SSLContext:
    context = new_ssl_context(_in_ascii(identification.ca_bundle))
    if identification.certificate is not None:
        chain = f"{identification.private_key}\n{identification.certificate}\n"
        with _file_with(chain.encode()) as path:
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(path, password="")
    return context


def _in_ascii(bundle: str | None) -> str | None:
    """Return a bundle as ``ssl`` takes it: names beside the certificates may be in any script."""
    return bundle and bundle.encode("ascii", "ignore").decode()


@contextlib.contextmanager
def _file_with(content: bytes) -> Iterator[str]:
    """Yield the path of a file for OpenSSL, which reads keys from files only.

    It is in memory where the system can do that; elsewhere only its owner can read it, and it is
    removed at once.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("certificate"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
