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
        media_type, text = body
        parts.append(f"-H 'Content-Type: {media_type}'")
        parts.append(f"-d {shlex.quote(text)}")
    if method not in ("get", "post") or (method == "post" and body is None):
        parts[0] = parts[0].replace("curl", f"curl -X {method.upper()}", 1)
    return " \\\n  ".join(parts)


def _options(told: dict[str, Any]) -> str:
    kinds = [kind for answer in told["responses"].values() for kind in answer.get("content", {})]
    if "text/event-stream" in kinds:
        return " -N"
    return " -OJ" if "*/*" in kinds else ""


def _first_body(told: dict[str, Any]) -> tuple[str, str] | None:
    """The first body, with its media type."""
    for media_type, content in told.get("requestBody", {}).get("content", {}).items():
        for example in content.get("examples", {}).values():
            return media_type, msgspec.json.encode(example["value"]).decode()
    return None
