"""Adds credentials to requests, for the hosts of the credential only."""

from __future__ import annotations

import ssl
from typing import Final, Protocol, TypeAlias

import msgspec

from taskflow.fetch.errors import Blocked
from taskflow.model.credential import may_go_to
from taskflow.model.host_patterns import Hosts
from taskflow.model.outcome import Refusal
from taskflow.model.url import Target

Headers: TypeAlias = tuple[tuple[str, str], ...]


class Outgoing(Protocol):
    """A request before its credential is added."""

    @property
    def target(self) -> Target:
        """The target."""

    @property
    def method(self) -> str:
        """The method, in upper case."""

    @property
    def headers(self) -> Headers:
        """The headers of the task."""

    @property
    def body(self) -> bytes:
        """The body; empty if there is none."""


class ClientTls(msgspec.Struct, frozen=True):
    """A TLS configuration of a credential.

    Attributes:
        name: Identifies the configuration; connections are reused for the same name only.
        context: The configuration.
    """

    name: str
    context: ssl.SSLContext


class Authenticator(Protocol):
    """Adds a credential to the requests of a fetch. One object may serve any number of them.

    Attributes:
        tls: The TLS configuration of connections, set by ``headers``; ``None`` for the default.
    """

    tls: ClientTls | None

    def admit(self, target: Target) -> None:
        """Check that the credential may be sent to a target; called before each request.

        Raises:
            Blocked: It may not.
        """

    async def headers(self, request: Outgoing, /) -> Headers:
        """Return the headers to add to a request; they replace headers of the same name.

        Raises:
            FetchError: They cannot be obtained.
        """

    async def rejected(self, sent: Headers, /) -> bool:
        """Record that a target responded with 401; return whether to send the request again.

        Args:
            sent: What ``headers`` returned for the request.
        """


class Admission:
    """The targets that a credential may be sent to, without TLS of its own."""

    tls: ClientTls | None = None

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts: Final = Hosts(hosts, "hosts")

    def admit(self, target: Target) -> None:
        """See ``Authenticator``."""
        if may_go_to(self._hosts, target):
            return
        if target.host in self._hosts:
            reason = f"{target.origin}: credentials are sent over https only"
        else:
            reason = f"{target.host} is not one of the hosts of the credential"
        raise Blocked(reason, Refusal.CREDENTIAL)


class Fixed(Admission):
    """A credential that is the same header in each request.

    Args:
        hosts: The hosts that it may be sent to.
        header: The header.
    """

    def __init__(self, hosts: tuple[str, ...], header: tuple[str, str]) -> None:
        super().__init__(hosts)
        self._headers = (header,)

    async def headers(self, _request: Outgoing, /) -> Headers:
        """See ``Authenticator``."""
        return self._headers

    async def rejected(self, _sent: Headers, /) -> bool:
        """See ``Authenticator``."""
        return False
