"""What the rules of access look at: the head of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Head(msgspec.Struct, frozen=True):
    """The head of a request.

    Attributes:
        method: In capitals.
        path: Decoded, without the query.
        scheme: That of the connection, which a proxy may have changed.
        server: The address that it came to; ``None`` for a socket in the file system.
        client: The address that it came from; ``None`` likewise.
        fields: Its header fields, by names in small letters. Those that come more than once
            are joined, so that no rule takes them for what it asks for.
    """

    method: str
    path: str
    scheme: str
    server: str | None
    client: str | None
    fields: Mapping[str, str]

    def __repr__(self) -> str:
        """Say nothing of the fields: a key may be among them."""
        return f"Head({self.method} {self.path})"


def head_of(scope: Mapping[str, Any], path: str) -> Head:
    """Read the head off an ASGI scope."""
    return Head(
        method=scope["method"],
        path=path,
        scheme=scope.get("scheme", "http"),
        server=_address(scope.get("server")),
        client=_address(scope.get("client")),
        fields=fields_of(scope),
    )


def fields_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The header fields of an ASGI scope by name."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _address(place: tuple[str, int | None] | None) -> str | None:
    # ASGI names a socket in the file system by its path and no port; Hypercorn says nothing.
    if place is None or place[1] is None:
        return None
    return place[0]
