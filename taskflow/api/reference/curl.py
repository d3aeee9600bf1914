"""A request as one would type it."""

from __future__ import annotations

import shlex
from typing import Any, Final

import msgspec

ADDRESS: Final = "http://localhost:8080"
"""Where it goes to; the page puts the service's own in its place."""

_KEY: Final = '-H "Authorization: Bearer $TASKFLOW_API_KEY"'


def curl_of(method: str, path: str, told: dict[str, Any], *, needs_key: bool) -> str:
    """The command for an operation, with the examples of what it cannot do without.

    Args:
        method: In small letters.
        path: With the names of its parameters in braces.
        told: What the document has of it.
        needs_key: Whether it is refused without one.
    """
    for one in told["parameters"]:
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(one["example"]))
    parts = [f"curl{_options(told)} {ADDRESS}{path}"]
    if needs_key:
        parts.append(_KEY)
    body = _first_body(told)
    if body is not None:
        parts.append("-H 'Content-Type: application/json'")
        parts.append(f"-d {shlex.quote(body)}")
    if method not in ("get", "post") or (method == "post" and body is None):
        parts[0] = parts[0].replace("curl", f"curl -X {method.upper()}", 1)
    return " \\\n  ".join(parts)


def _options(told: dict[str, Any]) -> str:
    kinds = [kind for answer in told["responses"].values() for kind in answer.get("content", {})]
    if "text/event-stream" in kinds:
        return " -N"
    return " -OJ" if "*/*" in kinds else ""


def _first_body(told: dict[str, Any]) -> str | None:
    content = told.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    first = next(iter(content["examples"].values()))
    return msgspec.json.encode(first["value"]).decode()
