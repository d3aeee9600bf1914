"""What two outputs have in common that were printed at different times."""

from __future__ import annotations

import json
import re
from typing import Any

ELLIPSIS = "..."

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KEY = re.compile(r"taskflow_[\w-]{20,}")
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{20,}")
# These are the same in every run; other numbers only have to be numbers.
EXACT = {"status", "status_code", "priority", "attempt", "max_attempts", "number", "index", "count"}
EXACT |= {"added", "refused", "size"}
VOLATILE = (
    # Python has called these otherwise from 3.13 on.
    (re.compile("Unprocessable Content"), "Unprocessable Entity"),
    (re.compile("Content Too Large"), "Request Entity Too Large"),
    (re.compile("(?<!Request-)URI Too Long"), "Request-URI Too Long"),
    (ID, "ID"),
    (KEY, "KEY"),
    (SECRET, "SECRET"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "HASH"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?"), "TIME"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT"), "DATE"),
    (re.compile(r"[0-9a-f]{24}"), "TAG"),
    (re.compile(r"v1,[A-Za-z0-9+/]{43}="), "SIGNATURE"),
    (re.compile(r"cursor=[\w-]+"), "CURSOR"),
    (re.compile(r"(?<!\w)[\w-]+:\d+(?=\s|$)"), "NODE"),
    (re.compile(r"\d+"), "N"),
    (re.compile(r" {2,}"), "  "),
)


def are_alike(said: list[str], printed: list[str]) -> bool:
    """Whether the one stands for the other, all that differs from run to run aside."""
    if ELLIPSIS not in said:
        return shape_of(said) == shape_of(printed)
    shapes = [_line_shape(line) for line in printed]
    return _fits(_segments(said), shapes, is_whole=True)


def is_begun(said: list[str], printed: list[str]) -> bool:
    """Whether what was printed begins with what is said."""
    return _fits(_segments(said), [_line_shape(line) for line in printed], is_whole=False)


def shape_of(lines: list[str]) -> list[Any]:
    """Lines without what differs from run to run."""
    whole = _json("\n".join(lines))
    if whole is not None:
        return [_shape("", whole)]
    return [_line_shape(line) for line in lines]


def _segments(said: list[str]) -> list[list[Any]]:
    """The shapes of lines, parted where any lines may stand between."""
    segments: list[list[Any]] = [[]]
    for line in said:
        if line == ELLIPSIS:
            segments.append([])
        else:
            segments[-1].append(_line_shape(line))
    return segments


def _fits(segments: list[list[Any]], shapes: list[Any], *, is_whole: bool) -> bool:
    first, *others = segments
    if shapes[: len(first)] != first:
        return False
    at = len(first)
    for segment in others:
        places = range(at, len(shapes) - len(segment) + 1)
        found = [n for n in places if shapes[n : n + len(segment)] == segment]
        if not found:
            return False
        at = (found[-1] if is_whole and segment is others[-1] else found[0]) + len(segment)
    return not is_whole or at == len(shapes)


def _line_shape(line: str) -> Any:
    field, data, rest = line.partition("data: ")
    found = _json(rest if data and not field else line)
    if found is not None:
        return _shape("", found)
    if line.startswith("HTTP/"):
        return line.strip()
    return _stable(line).rstrip()


def _json(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict | list) else None


def _shape(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shape(name, inner) for inner in value]
    if isinstance(value, str):
        return "NODE" if name == "node" else _stable(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and name not in EXACT:
        return "NUMBER"
    return value


def _stable(text: str) -> str:
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    return text
