"""References of a request to the results of the parents of its task.

In a body of JSON, ``{"$from": PARENT, "pointer": POINTER}`` stands for a value of the parent's
result; in the values of headers, and in the path and the query of the URL, ``{{PARENT:POINTER}}``
does. A parent is a name or an id of ``after``, and a pointer is a JSON Pointer (RFC 6901) into the
result as the API shows it: the body of the response is at ``/result``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from taskflow.model.invalid_url import FetchError, InvalidUrl
from taskflow.model.outcome import ErrorType
from taskflow.model.request import HeaderValue
from taskflow.model.url import place_of

MAX_REFERENCES: Final = 100
"""Maximum number of references in a payload."""

MAX_DEPTH: Final = 16
"""Maximum nesting of a reference in a body: each level is read by itself."""

MAX_POINTER_CHARACTERS: Final = 1024
MAX_POINTER_PARTS: Final = 32
MAX_RESULT_BYTES: Final = 2 * 2**20
"""Maximum size of a result that is referred to, as JSON."""

_FROM: Final = "$from"
_MARK: Final = b'"$from"'
_MEMBERS: Final = {_FROM, "pointer"}
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_POINTER: Final = re.compile("(/([^~/]|~[01])*)*")
_INDEX: Final = re.compile("0|[1-9][0-9]{0,17}")
_IN_TEXT: Final = re.compile(r"\{\{([A-Za-z0-9][A-Za-z0-9_.-]{0,63}):([^{}\x00-\x20\x7f\\?#]*)\}\}")
# What comes before a reference in a URL: it cannot be a part of the host or the port.
_BEFORE_PATH: Final = re.compile(r"https?://[^/?#\\]+[/?][^#]*", re.IGNORECASE)
_NOT_UNRESERVED: Final = re.compile("[^A-Za-z0-9._~-]+")
_DOTS: Final = re.compile(r"(\.|%2e){1,2}", re.IGNORECASE)


class Reference(NamedTuple):
    """A value of a parent's result.

    Attributes:
        parent: The name or the id of the parent.
        pointer: The JSON pointer.
    """

    parent: str
    pointer: str

    def __str__(self) -> str:
        """Return the reference for messages."""
        return f"{self.pointer or 'the whole'} of the result of {self.parent}"


class Found(NamedTuple):
    """A reference in a payload, or what is wrong with it.

    Attributes:
        place: Its JSON pointer in the payload.
        reference: The reference.
        fault: What is wrong; empty if nothing is.
    """

    place: str
    reference: Reference
    fault: str = ""


class MissingReference(FetchError):
    """A reference finds nothing, or a value that cannot be used in its place."""

    error_type = ErrorType.REFERENCE_MISSING
    prefix = "reference missing"


ValueOf: TypeAlias = Callable[[Reference], bytes]
"""Returns the value of a reference as JSON."""


def references_in(payload: bytes) -> list[Found]:
    """Return the references in a payload, as many as are allowed and one more."""
    found: list[Found] = []
    for one in _all_references(payload):
        found.append(one)
        if len(found) > MAX_REFERENCES:
            break
    return found


def _all_references(payload: bytes) -> Iterator[Found]:
    if payload.startswith(b'"'):
        yield from _in_url(msgspec.json.decode(payload), "")
        return
    if not payload.startswith(b"{"):
        return
    fields = _OBJECT.decode(payload)
    url, headers, body = (bytes(fields.get(name, b"null")) for name in ("url", "headers", "body"))
    if url.startswith(b'"'):
        yield from _in_url(msgspec.json.decode(url), "/url")
    if headers.startswith(b"{"):
        yield from _in_headers(headers, "/headers")
    yield from _in_body(body, "/body")


def _in_url(url: str, place: str) -> Iterator[Found]:
    for match in _IN_TEXT.finditer(url):
        is_in_path = _BEFORE_PATH.fullmatch(url[: match.start()]) is not None
        fault = "" if is_in_path else "a reference can be in the path and the query of a URL only"
        yield _found(place, Reference(match[1], match[2]), fault)


def _in_headers(text: bytes, place: str) -> Iterator[Found]:
    for name, value in _OBJECT.decode(text).items():
        within = f"{place}/{name.replace('~', '~0').replace('/', '~1')}"
        if bytes(value).startswith(b'"'):
            for match in _IN_TEXT.finditer(msgspec.json.decode(value)):
                yield _found(within, Reference(match[1], match[2]))


def _in_body(text: bytes, place: str, depth: int = 0) -> Iterator[Found]:
    if _MARK not in text:
        return
    if depth > MAX_DEPTH:
        fault = f"a reference can be at most {MAX_DEPTH} levels deep"
        yield Found(place, Reference("", ""), fault)
        return
    reference = _reference_of(text)
    if reference is not None:
        yield _found(place, reference)
        return
    for name, part in _parts_of(text):
        token = str(name).replace("~", "~0").replace("/", "~1")
        yield from _in_body(bytes(part), f"{place}/{token}", depth + 1)


def _found(place: str, reference: Reference, fault: str = "") -> Found:
    return Found(place, reference, fault or _fault_of(reference.pointer))


def _fault_of(pointer: str) -> str:
    if _POINTER.fullmatch(pointer) is None:
        return (
            f"{pointer!r} is not a JSON pointer (RFC 6901), such as /result/id: it must be empty "
            "or begin with a slash"
        )
    is_long = len(pointer) > MAX_POINTER_CHARACTERS or pointer.count("/") > MAX_POINTER_PARTS
    return f"the pointer has more than {MAX_POINTER_PARTS} parts" if is_long else ""


def _reference_of(text: bytes) -> Reference | None:
    """Return the reference that a JSON object is; ``None`` if it is anything else."""
    if not text.startswith(b"{") or _MARK not in text:
        return None
    members = _OBJECT.decode(text)
    if members.keys() != _MEMBERS or not all(bytes(m).startswith(b'"') for m in members.values()):
        return None
    return Reference(*(msgspec.json.decode(members[name]) for name in (_FROM, "pointer")))


def _parts_of(text: bytes) -> Iterator[tuple[object, msgspec.Raw]]:
    if text.startswith(b"{"):
        yield from _OBJECT.decode(text).items()
    elif text.startswith(b"["):
        yield from enumerate(_LIST.decode(text))


def value_at(document: bytes, pointer: str) -> bytes | None:
    """Return the value that a JSON pointer finds, as it is in the document; ``None`` if nothing.

    Args:
        document: JSON text.
        pointer: A valid pointer.
    """
    value = document.strip()
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        part: msgspec.Raw | None = None
        if value.startswith(b"{"):
            part = _OBJECT.decode(value).get(name)
        elif value.startswith(b"[") and _INDEX.fullmatch(name):
            parts = _LIST.decode(value)
            part = parts[int(name)] if int(name) < len(parts) else None
        if part is None:
            return None
        value = bytes(part)
    return value


def resolved(payload: bytes, value_of: ValueOf) -> bytes:
    """Return a payload with the values of its references; all else in it stays the same.

    Raises:
        MissingReference: A value does not exist, or cannot be used in its place.
    """
    if payload.startswith(b'"'):
        return msgspec.json.encode(_resolved_url(msgspec.json.decode(payload), value_of))
    fields: dict[str, Any] = dict(_OBJECT.decode(payload))
    if bytes(fields.get("url", b"")).startswith(b'"'):
        fields["url"] = _resolved_url(msgspec.json.decode(fields["url"]), value_of)
    if bytes(fields.get("headers", b"")).startswith(b"{"):
        fields["headers"] = _resolved_headers(_OBJECT.decode(fields["headers"]), value_of)
    if "body" in fields:
        fields["body"] = msgspec.Raw(_resolved_body(bytes(fields["body"]), value_of))
    return msgspec.json.encode(fields)


def _resolved_url(url: str, value_of: ValueOf) -> str:
    """Return a URL with values percent-encoded: none adds a segment, or leads to another one."""
    filled = _IN_TEXT.sub(lambda match: _encoded(_text_in(match, value_of)), url)
    template = _IN_TEXT.sub("{}", url)
    path, before = (text.partition("?")[0].split("/") for text in (filled, template))
    for segment, was in zip(path, before, strict=False):
        if segment != was and (not segment or _DOTS.fullmatch(segment)):
            raise MissingReference(f"a segment of the path of the URL cannot become {segment!r}")
    if len(path) != len(before) or _place_of(filled) != _place_of(template):
        raise MissingReference("a reference cannot change the host of the URL")
    return filled


def _encoded(text: str) -> str:
    """Percent-encode all but the unreserved characters (RFC 3986, section 2.3)."""
    return _NOT_UNRESERVED.sub(lambda match: "%" + match[0].encode().hex("%").upper(), text)


def _place_of(url: str) -> object:
    try:
        return place_of(url)
    except InvalidUrl:  # the fetch says why
        return None


def _resolved_headers(
    headers: Mapping[str, msgspec.Raw], value_of: ValueOf
) -> dict[str, msgspec.Raw | str]:
    filled: dict[str, msgspec.Raw | str] = dict(headers)
    for name, value in headers.items():
        if bytes(value).startswith(b'"'):
            text: str = msgspec.json.decode(value)
            filled[name] = _IN_TEXT.sub(lambda match: _text_in(match, value_of), text)
            _check_header(name, filled[name])
    return filled


def _check_header(name: str, value: object) -> None:
    try:
        msgspec.convert(value, HeaderValue)
    except msgspec.ValidationError:
        raise MissingReference(f"a value cannot be used in the header {name}") from None


def _resolved_body(text: bytes, value_of: ValueOf, depth: int = 0) -> bytes:
    if _MARK not in text or depth > MAX_DEPTH:
        return text
    reference = _reference_of(text)
    if reference is not None:
        return value_of(reference)
    parts = [
        (name, msgspec.Raw(_resolved_body(bytes(part), value_of, depth + 1)))
        for name, part in _parts_of(text)
    ]
    if text.startswith(b"{"):
        return msgspec.json.encode(dict(parts))
    return msgspec.json.encode([part for _, part in parts]) if text.startswith(b"[") else text


def _text_in(match: re.Match[str], value_of: ValueOf) -> str:
    return _text_of(Reference(match[1], match[2]), value_of)


def _text_of(reference: Reference, value_of: ValueOf) -> str:
    """Return a value as text: a string, a number or a boolean."""
    value = value_of(reference)
    if value.startswith(b'"'):
        text: str = msgspec.json.decode(value)
        return text
    if value.startswith((b"{", b"[", b"n")):
        raise MissingReference(f"{reference} is not text, a number or a boolean")
    return value.decode()
