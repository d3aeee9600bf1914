"""The curl command of an operation."""

from __future__ import annotations

import shlex
from typing import Any, Final

import msgspec

ADDRESS: Final = "http://localhost:8080"
"""The address in commands; the page replaces it by the address of the service."""

_KEY: Final = '-H "Authorization: Bearer $TASKFLOW_API_KEY"'


def curl_of(method: str, path: str, operation: dict[str, Any], *, needs_key: bool) -> str:
    """Return the command that calls an operation, with its required parts filled from examples.

    Args:
        method: The method in lower case.
        path: The path, with the names of its parameters in braces.
        operation: The operation in the document.
        needs_key: Whether it requires an API key.
    """
    for one in operation["parameters"]:
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(one["example"]))
    parts = [f"curl{_options(operation)} {ADDRESS}{path}"]
    if needs_key:
        parts.append(_KEY)
    body = _first_body(operation)
    if body is not None:
        media_type, text = body
        parts.append(f"-H 'Content-Type: {media_type}'")
        parts.append(f"-d {shlex.quote(text)}")
    if method not in ("get", "post") or (method == "post" and body is None):
        parts[0] = parts[0].replace("curl", f"curl -X {method.upper()}", 1)
    return " \\\n  ".join(parts)


def _options(operation: dict[str, Any]) -> str:
    types = [
        name for response in operation["responses"].values() for name in response.get("content", {})
    ]
    if "text/event-stream" in types:
        return " -N"
    return " -OJ" if "*/*" in types else ""


def _first_body(operation: dict[str, Any]) -> tuple[str, str] | None:
    """Return the media type and the text of the first example of a body."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        for example in content.get("examples", {}).values():
            return media_type, msgspec.json.encode(example["value"]).decode()
    return None
