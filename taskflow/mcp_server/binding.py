"""The address that the server listens on, and who can reach it."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import Forbidden, InvalidArgument, Unauthorized
from taskflow.model.errors import TaskFlowError
from taskflow.model.hostname import bracketed, is_local_name

CHECK_SECONDS: Final = 60.0
"""How long a service that required keys is taken to require them."""


class Unprotected(TaskFlowError):
    """The service requires no key, and others could reach it through the server."""


class Binding(NamedTuple):
    """An address to listen on.

    Attributes:
        host: The name or address.
        port: The port; 0 for any free one.
        names: The names by which clients on other machines reach it.
    """

    host: str
    port: int
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, names: Sequence[str] = ()) -> Self:
        """Parse ``ADDRESS:PORT``.

        Raises:
            InvalidArgument: It is none; or others can reach it, and no name is given.
        """
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or port is None or parts.netloc != text or "@" in text:
            raise InvalidArgument(f"{text!r} is not an address such as 127.0.0.1:8090")
        binding = cls(host, port, tuple(name.lower() for name in names))
        if not binding.is_loopback and not names:
            raise InvalidArgument(
                f"other machines can reach {text}: name the hosts in their URLs by --allow-host"
            )
        return binding

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect to it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return is_local_name(self.host)

    @property
    def is_exposed(self) -> bool:
        """Whether others can reach it, also through a proxy on this machine."""
        return bool(self.names) or not self.is_loopback

    def url_of(self, port: int) -> str:
        """Return the URL, with the port that was found."""
        return f"http://{bracketed(self.host)}:{port}"


class KeyRequirement:
    """Checks, before calls are made, that the service still requires keys.

    Args:
        url: The address of the service.
        timeout_seconds: How long to retry while it does not answer.
        now: Returns the time in seconds.
    """

    def __init__(
        self, url: str, timeout_seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._now = now
        self._valid_until = -math.inf

    async def check(self) -> None:
        """Raise if the service requires no keys; it is asked at most once a minute.

        Raises:
            Unprotected: It requires none.
            ClientError: It does not answer.
        """
        if (now := self._now()) < self._valid_until:
            return
        async with Client(self._url, timeout_seconds=self._timeout_seconds) as client:
            await check_service_requires_keys(client)
        self._valid_until = now + CHECK_SECONDS


async def check_service_requires_keys(client: Client) -> None:
    """Raise if the service answers requests without a key.

    Args:
        client: A client without a key.

    Raises:
        Unprotected: It does.
        ClientError: It does not answer.
    """
    try:
        await client.stats()
    except (Unauthorized, Forbidden):
        return
    raise Unprotected(
        "the service requires no API key, so any client of this server could do anything: set "
        "TASKFLOW_API_KEYS or TASKFLOW_API_KEYS_FILE for the service"
    )
