"""The head of a request: what access rules depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class RequestHead(msgspec.Struct, frozen=True):
    """The method, path, addresses and headers of a request.

    Attributes:
        method: The method, in capital letters.
        path: The decoded path, without the query.
        scheme: The scheme of the connection, which a proxy may have changed.
        server: The address that it was sent to; ``None`` for a Unix socket.
        client: The address that it was sent from; ``None`` for a Unix socket.
        headers: The headers, by names in lower case. Repeated headers are joined, so that no rule
            accepts one of several values.
    """

    method: str
    path: str
    scheme: str
    server: str | None
    client: str | None
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        """Omit the headers: a key may be among them."""
        return f"RequestHead({self.method} {self.path})"


def request_head_of(scope: Mapping[str, Any], path: str) -> RequestHead:
    """Return the head of the request of an ASGI scope."""
    return RequestHead(
        method=scope["method"],
        path=path,
        scheme=scope.get("scheme", "http"),
        server=_address(scope.get("server")),
        client=_address(scope.get("client")),
        headers=_headers(scope),
    )


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1").strip(" \t"))
    return {name: ", ".join(several) for name, several in values.items()}


def _address(place: tuple[str, int | None] | None) -> str | None:
    # ASGI gives a Unix socket a path and no port; Hypercorn gives it nothing.
    if place is None or place[1] is None:
        return None
    return place[0]
