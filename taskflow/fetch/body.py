"""Represents a body as JSON, text or base64, depending on its content."""

from __future__ import annotations

import base64
import encodings.aliases
import itertools
import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from taskflow.model.untrusted_text import is_too_deep

_JSON: Final = msgspec.json.Decoder(msgspec.Raw)

_BINARY: Final = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Characters that text does not contain: the "binary data bytes" of MIME Sniffing, section 3."""

_CHARSET: Final = re.compile(r";\s*charset\s*=\s*[\"']?([A-Za-z0-9._:-]+)", re.IGNORECASE)
MAX_CHARACTER_BYTES: Final = 4
_UNASSIGNED_PART: Final = 12  # there is no ISO 8859-12
_TEXT_CODECS: Final = frozenset(
    (
        *("ascii", "utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "latin_1"),
        *(f"iso8859_{part}" for part in range(2, 17) if part != _UNASSIGNED_PART),
        *(f"cp125{page}" for page in range(9)),
        *("cp866", "cp874", "koi8_r", "koi8_u", "mac_roman", "mac_cyrillic", "tis_620"),
        *("gb2312", "gbk", "gb18030", "big5", "big5hkscs"),
        *("shift_jis", "cp932", "euc_jp", "iso2022_jp", "euc_kr", "cp949"),
    )
)
"""Codecs that always produce valid text. Python has more, but some produce unpaired surrogates, and
the lookup of an unknown name uses memory permanently."""


def kept_form(
    body: bytes, content_type: str | None
) -> tuple[msgspec.Raw | str, Literal["json", "text", "base64"]]:
    """Return a body as shown under ``result``, and the name of its encoding.

    Strictly valid JSON stays as it is, whatever the media type. Otherwise the body is text if it is
    valid in the declared charset or in UTF-8 (an empty body is empty text), else base64.
    """
    utf8 = _decoded(body, "utf_8")
    raw = _parsed(body) if utf8 is not None else None
    if raw is not None:
        return raw, "json"
    for text in itertools.chain(_in_stated_charset(body, content_type), (utf8,)):
        if text is not None and not _BINARY.search(text):
            return text, "text"
    return base64.b64encode(body).decode("ascii"), "base64"


def kept_beginning(body: bytes, content_type: str | None) -> tuple[str, Literal["text", "base64"]]:
    """Return a truncated body like ``kept_form``, without an incomplete last character."""
    for end in range(len(body), max(-1, len(body) - MAX_CHARACTER_BYTES), -1):
        form, encoding = kept_form(body[:end], content_type)
        if encoding == "json":
            return body[:end].decode(), "text"
        if encoding == "text" and isinstance(form, str):
            return form, "text"
    return base64.b64encode(body).decode("ascii"), "base64"


def _parsed(body: bytes) -> msgspec.Raw | None:
    """Return the body if it is JSON that every parser accepts, without surrounding whitespace.

    msgspec rejects byte order marks, ``NaN`` and unpaired surrogates, but accepts invalid UTF-8.
    """
    try:
        raw = _JSON.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return None if is_too_deep(body) else raw


def _in_stated_charset(body: bytes, content_type: str | None) -> Iterator[str | None]:
    match = _CHARSET.search(content_type or "")
    if match is None:
        return
    label = match[1].lower().replace("-", "_")
    codec = encodings.aliases.aliases.get(label, label)
    if codec in _TEXT_CODECS:
        yield _decoded(body, codec)


def _decoded(body: bytes, codec: str) -> str | None:
    try:
        return body.decode(codec)
    except (UnicodeError, LookupError):
        return None
