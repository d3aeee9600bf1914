"""The vectors of ``clients/conformance``, and what must be true of a result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CONFORMANCE = REPOSITORY / "clients" / "conformance"
FILES = {path.stem: json.loads(path.read_text("utf-8")) for path in CONFORMANCE.glob("*.json")}
_NAME = re.compile(r"\$\{(\w+)\}")


def vectors() -> dict[str, dict[str, Any]]:
    """Return the vectors with a service, by file and place: ``events/3``."""
    return {
        f"{name}/{number}": vector
        for name, file in sorted(FILES.items())
        for number, vector in enumerate(file.get("vectors", ()))
    }


def filled(value: Any, names: Mapping[str, str]) -> Any:
    """Return a value with what its names stand for."""
    if isinstance(value, str):
        return _NAME.sub(lambda found: names[found[1]], value)
    if isinstance(value, list):
        return [filled(one, names) for one in value]
    if isinstance(value, dict):
        return {name: filled(one, names) for name, one in value.items()}
    return value


def difference(expected: Any, found: Any, place: str = "") -> str | None:
    """Return where a result is not as expected; ``None`` if it is.

    An object may have more fields than expected, and a list exactly its elements.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        inner = (difference(one, found.get(n), f"{place}/{n}") for n, one in expected.items())
        return next(filter(None, inner), None)
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return next(filter(None, (difference(*pair, f"{place}/{n}") for n, pair in pairs)), None)
    return None if expected == found else f"{place}: expected {expected!r}, found {found!r}"


def fault_of_requests(vector: Mapping[str, Any], received: list[dict[str, Any]]) -> str | None:
    """Return how the received requests differ from the requests of a vector."""
    if len(received) != len(vector["requests"]):
        return f"expected {len(vector['requests'])} requests, received {received}"
    for name in vector.get("same", ()):
        if len({_part(one, name) for one in received}) != 1:
            return f"{name} differs: {received}"
    for name in vector.get("different", ()):
        if len({_part(one, name) for one in received}) != len(received):
            return f"{name} is repeated: {received}"
    return difference(vector["requests"], received, "requests")


def _part(request: Mapping[str, Any], name: str) -> str | None:
    part: str | None = request["body"] if name == "body" else request["headers"].get(name)
    return part
