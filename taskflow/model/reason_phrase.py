"""The words for HTTP statuses, the same on every version of Python."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

# The names of RFC 9110, section 15, which Python has from 3.13 on.
_RENAMED: Final[Mapping[int, str]] = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
_PHRASES: Final[Mapping[int, str]] = {
    **{status.value: status.phrase for status in HTTPStatus},
    **_RENAMED,
}


def reason_phrase(status: int) -> str:
    """Return the words for a status, such as ``Not Found``; empty if it has none."""
    return _PHRASES.get(status, "")
