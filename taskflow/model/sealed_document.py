"""Encrypted documents: JSON in place of a payload, or of the body of a response.

An encrypted document is the JSON object ``{"$encrypted":"..."}``. It replaces a payload, or the
body of a response. No client can submit such a payload, because an object needs a URL, and no
response of a target looks like this, because an encrypted one has no headers and no URL. So
encrypted and plain tasks are stored side by side, and each can be recognized.

The payload of the task of a completed group has a body beside the encrypted part, which is not
encrypted: ``{"$encrypted":"...","body":{...}}``. The database adds it, without the key.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from taskflow.model.errors import KeyMissing, Undecryptable
from taskflow.model.keyring import key_id_in

SEALED_START: Final = b'{"$encrypted":"'
_SEALED_END: Final = b'"}'
_BODY: Final = b'","body":'
# The body follows a message or a status, which are short.
_MAX_START_BYTES: Final = 400


class _SealedResponse(msgspec.Struct, frozen=True):
    """The fields that identify an encrypted response; its body is in one of the last two."""

    url: str
    result: msgspec.Raw = msgspec.Raw()
    body: msgspec.Raw = msgspec.Raw()


_SEALED: Final = msgspec.json.Decoder(_SealedResponse)


def is_sealed(document: bytes) -> bool:
    """Return whether a JSON document is encrypted."""
    return document.startswith(SEALED_START)


def sealed_of(data: bytes) -> bytes:
    """Return encrypted data as a JSON document."""
    return SEALED_START + base64.b64encode(data) + _SEALED_END


def sealed_part_of(response: bytes | msgspec.Raw) -> msgspec.Raw | None:
    """Return the encrypted document in a response; ``None`` if the response is not encrypted."""
    if bytes(response).find(SEALED_START, 0, _MAX_START_BYTES) < 0:
        return None
    try:
        kept = _SEALED.decode(response)
    except msgspec.DecodeError:
        return None
    part = msgspec.Raw(bytes(kept.result) or bytes(kept.body))
    return None if kept.url or not is_sealed(bytes(part)) else part


def body_beside(sealed: bytes) -> tuple[bytes, bytes]:
    """Return the encrypted part of a document, and the body beside it; empty if there is none."""
    if sealed.endswith(_SEALED_END):
        return sealed, b""
    end = sealed.find(_BODY, len(SEALED_START))
    return sealed[: end + 1] + b"}", sealed[end + len(_BODY) : -1]


def with_body(document: bytes, body: bytes) -> bytes:
    """Return a JSON object, encrypted or not, with a body added, if there is one."""
    return document[:-1] + b"," + _BODY[2:] + body + b"}" if body else document


def data_of(sealed: bytes) -> bytes:
    """Return the encrypted data in an encrypted document.

    Raises:
        Undecryptable: It is not base64.
    """
    try:
        return base64.b64decode(sealed[len(SEALED_START) : -len(_SEALED_END)], validate=True)
    except binascii.Error:
        raise Undecryptable from None


def check_opened(result: msgspec.Raw) -> None:
    """Check that a result, as a store returned it, was decrypted.

    Raises:
        KeyMissing: It was not.
    """
    if (sealed := sealed_part_of(result)) is not None:
        raise KeyMissing(key_id_in(data_of(bytes(sealed))))
