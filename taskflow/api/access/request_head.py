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
        fields=_fields(scope),
    )


def _fields(scope: Mapping[str, Any]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1").strip(" \t"))
    return {name: ", ".join(several) for name, several in values.items()}


def _address(place: tuple[str, int | None] | None) -> str | None:
    # ASGI names a socket in the file system by its path and no port; Hypercorn says nothing.
    if place is None or place[1] is None:
        return None
    return place[0]
