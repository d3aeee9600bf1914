"""Masks credentials wherever a task is shown or sent.

Tasks are stored unmasked, because their requests need the credentials. In what is shown, these
values are masked: headers and query parameters named like credentials, and the userinfo of URLs.
Text without credentials stays the same, byte for byte.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from taskflow.model.groups import Group
from taskflow.model.schedule import Schedule
from taskflow.model.task import Claim, Task

MASK: Final = "***"

_SEPARATOR: Final = "(?:[?&;#]|%3F|%26|%3B|%23)"
_EQUALS: Final = r"(?:\[\]|%5B%5D)?(?:=|%3D)"
# Neither a separator nor an equals sign, so the search takes linear time.
_NAME: Final = "(?:[^?&;#=%]|%(?!3F|26|3B|23|3D))*"
_CONTAINED: Final = (
    *("token", "secret", "passw", "passphrase", "passcode", "credential", "signature"),
    *("session", "jwt", "bearer", "hmac", "api-key", "api_key", "apikey"),
)
_WORDS: Final = (*("sig", "sign", "pwd", "pass", "pw", "sid", "otp", "cred", "creds", "psk"),)
_OTHER_KEYS: Final = (
    *("idempotency", "surrogate", "cache", "websocket", "public", "primary", "foreign"),
    *("sort", "partition", "routing", "shard", "row", "range", "group", "object"),
    *("mon", "don", "tur", "hoc", "joc", "whis"),
)
_NO_CREDENTIALS: Final = (
    *("rate-?limit", "(?:allow|with)[-_]?credentials"),
    "max[-_]?(?:new|completion|output)?[-_]?tokens",
)
"""Parts of names that look like credentials but are not."""

# Python and PostgreSQL interpret these patterns alike. An authority begins after two slashes, or at
# the start of the text.
USERINFO: Final = (
    "((?:[/\\\\]|%2F|%5C){2})(?:[^/?#\\\\%]|%(?!2F|5C|3F|23|40))*(?:@|%40)"
    "(?:(?:[^/?#\\\\@%]|%(?!2F|5C|3F|23|40))*(?:@|%40))*"
)
USERINFO_AT_START: Final = r"^(\s*(?:https?:)?)[^/?#\\%]*@"
USERINFO_MASK: Final = rf"\1{MASK}@"
PARAMETER_MASK: Final = rf"\1{MASK}"
MAX_SEARCHED_CHARACTERS: Final = 32 * 2**10
"""Maximum length of text that is searched for credentials, which takes up to 1 us per character.

A longer payload is not a URL (at most 8192 characters) and is shown as submitted. Headers beyond
this total length are masked completely.
"""

MAX_NAME_CHARACTERS: Final = 128
"""Maximum length of a header name that is matched; longer ones count as credentials."""

MAX_REMEMBERED_NAMES: Final = 1_024
"""Number of header names for which a rule remembers whether they are masked."""

# Text without any of these needs no masking; in JSON, an escape may encode one of them.
_MARKS: Final = ("?", "@", "#", ";", "&", "%")
_has_mark: Final = re.compile(f"[{''.join(_MARKS)}]").search
_MARKS_IN_JSON: Final = (*(mark.encode() for mark in _MARKS), b"\\", b'"headers"')
_WORD: Final = re.compile(r"\S+")
_AROUND_WORDS: Final = "\"'`()[]{}<>.,;:!"
# Without slashes, a name alone before "@" is that of a mail address.
_NAME_AND_PASSWORD: Final = re.compile(r"(?!mailto:)[^/?#\\@:]*:[^/?#\\]*@", re.IGNORECASE)
_FIELD: Final = re.compile(rb'[\s,{]*"([^"\\]*)"\s*:\s*')

_Mask: TypeAlias = Callable[[msgspec.Raw], msgspec.Raw]

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY_HEADERS: Final = msgspec.json.Decoder(dict[str, Any])
_TEXT: Final = msgspec.json.Decoder(str)
_RESULT_URL: Final = b',"url":"'
_MAX_RESULT_TAIL_BYTES: Final = 64 * 2**10


class Masking:
    """The rules of masking.

    Args:
        names: Headers and query parameters to mask in addition to those named like credentials.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        named = _names_like(names)
        self.parameters: Final = f"({_SEPARATOR}(?={named}){_NAME}{_EQUALS})[^&#]*"
        # Rules out first what has no equals sign, for speed.
        searched = self.parameters.replace(_SEPARATOR, f"{_SEPARATOR}(?={_NAME}{_EQUALS})", 1)
        self._parameters = re.compile(searched, re.IGNORECASE)
        self._name = re.compile(named, re.IGNORECASE)
        # Most responses have the same headers; the search takes microseconds for each.
        self._is_named = functools.lru_cache(MAX_REMEMBERED_NAMES)(self._is_name_of_credential)

    def is_credential(self, name: str) -> bool:
        """Return whether a header of this name carries a credential."""
        return len(name) > MAX_NAME_CHARACTERS or self._is_named(name)

    def url(self, text: str) -> str:
        """Return a URL, or text submitted as one, with its credentials masked."""
        if not _has_mark(text) or len(text) > MAX_SEARCHED_CHARACTERS:
            return text
        for pattern in _USERINFO_PATTERNS:
            text = pattern.sub(USERINFO_MASK, text)
        return self._parameters.sub(PARAMETER_MASK, text)

    def text(self, text: str) -> str:
        """Return a message with the credentials in its URLs masked; mail addresses stay.

        A message of more than ``MAX_SEARCHED_CHARACTERS`` is cut. Mask before shortening: half of
        a URL does not show where its userinfo ends.
        """
        text = text[:MAX_SEARCHED_CHARACTERS]
        return text if not _has_mark(text) else _WORD.sub(self._masked_word, text)

    def headers(self, headers: Mapping[str, Any]) -> dict[str, Any]:
        """Return headers with credentials masked, including those in URLs in their values."""
        shown, left = {}, MAX_SEARCHED_CHARACTERS
        for name, value in headers.items():
            is_searched = isinstance(value, str) and _has_mark(value) is not None
            left -= len(value) if is_searched else 0
            if self.is_credential(name) or left < 0:
                shown[name] = MASK
            else:
                shown[name] = self.url(value) if is_searched else value
        return shown

    def payload(self, payload: msgspec.Raw, *, is_callback: bool = False) -> msgspec.Raw:
        """Return a payload (JSON text) with its credentials masked.

        Args:
            payload: The submitted payload.
            is_callback: True if its body is a task, which is masked as well.
        """
        text = bytes(payload)
        if not any(mark in text for mark in _MARKS_IN_JSON):
            return payload
        if text.lstrip().startswith(b'"'):
            return self._url_in(payload)
        masks: dict[str, _Mask] = {"url": self._url_in, "headers": self._headers_in}
        if is_callback:
            masks["body"] = self.document
        return _replaced_if_read(payload, masks)

    def document(self, document: msgspec.Raw) -> msgspec.Raw:
        """Return a task or a template (JSON text) with its credentials masked."""
        masks: dict[str, _Mask] = {
            "payload": self.payload,
            "callback_url": self._url_in,
            "result": self.result,
        }
        return _replaced_if_read(document, masks)

    def result(self, result: msgspec.Raw) -> msgspec.Raw:
        """Return a result with the credentials in its URL masked.

        Results are stored masked, except results of older versions. Only numbers follow the URL.
        """
        text = bytes(result)
        tail = text[-_MAX_RESULT_TAIL_BYTES:]
        start = tail.rfind(_RESULT_URL)
        end = tail.find(b'"', start + len(_RESULT_URL))
        if start < 0 or end < 0:
            return result
        begin = start + len(_RESULT_URL) - 1
        url = tail[begin : end + 1]
        masked = bytes(self._url_in(msgspec.Raw(url)))
        if masked == url:
            return result
        return msgspec.Raw(text[: len(text) - len(tail) + begin] + masked + tail[end + 1 :])

    def task(self, task: Task) -> Task:
        """Return a task with its credentials masked; the same object if there are none."""
        payload = self.payload(task.payload, is_callback=task.callback_of is not None)
        result = task.result and self.result(task.result)
        callback_url = task.callback_url and self.url(task.callback_url)
        if payload is task.payload and result is task.result and callback_url == task.callback_url:
            return task
        return msgspec.structs.replace(
            task, payload=payload, result=result, callback_url=callback_url
        )

    def schedule(self, schedule: Schedule) -> Schedule:
        """Return a schedule with its credentials masked."""
        return msgspec.structs.replace(schedule, task=self.document(schedule.task))

    def group(self, group: Group) -> Group:
        """Return a group with the credentials in its completion task masked."""
        if not group.has_completion_task:
            return group
        return msgspec.structs.replace(group, on_complete=self.document(group.on_complete))

    def claim(self, claim: Claim) -> Claim:
        """Return a claim; in a callback, the task that it sends is masked."""
        if claim.options.callback_of is None:
            return claim
        payload = _replaced_if_read(claim.payload, {"body": self.document})
        return msgspec.structs.replace(claim, payload=payload)

    def unmasked_url(self, text: str, original: str) -> str:
        """Return a URL with its masked values replaced by the values of the original URL."""
        if text == self.url(original):
            return original
        if len(text) + len(original) > MAX_SEARCHED_CHARACTERS:
            return text
        known: dict[str, list[str]] = {}
        for found in self._parameters.finditer(original):
            known.setdefault(found[1][1:], []).append(found[0])

        def original_of(found: re.Match[str]) -> str:
            values = known.get(found[1][1:])
            if not values or found[0] != found[1] + MASK:
                return found[0]
            return found[1][:1] + values.pop(0)[1:]

        return self._parameters.sub(original_of, text)

    def unmasked_headers(
        self, headers: Mapping[str, str], original: Mapping[str, str]
    ) -> dict[str, str]:
        """Return headers with what is masked replaced by the values of the original headers.

        Their names are compared without case. If the headers are very long together, only those
        are replaced that are masked as a whole.
        """
        known = {name.lower(): value for name, value in original.items()}
        is_long = sum(map(len, headers.values())) > MAX_SEARCHED_CHARACTERS
        return {
            name: value
            if is_long and value != MASK
            else self._unmasked_value(value, known.get(name.lower(), ""))
            for name, value in headers.items()
        }

    def _unmasked_value(self, value: str, original: str) -> str:
        return original if value == MASK and original else self.unmasked_url(value, original)

    def is_masked(self, url: str) -> bool:
        """Return whether a URL contains a masked value."""
        if MASK not in url or len(url) > MAX_SEARCHED_CHARACTERS:
            return False
        is_parameter = (found[0] == found[1] + MASK for found in self._parameters.finditer(url))
        return any(is_parameter) or re.search(rf"(^|[/\\:]){re.escape(MASK)}@", url) is not None

    def masked_headers(self, headers: Mapping[str, Any]) -> list[str]:
        """Return the names of the headers that contain a masked value."""
        masked, left = [], MAX_SEARCHED_CHARACTERS
        for name, value in headers.items():
            if isinstance(value, str) and MASK in value:
                left -= len(value)
                if value == MASK or left < 0 or self.is_masked(value):
                    masked.append(name)
        return masked

    def _masked_word(self, found: re.Match[str]) -> str:
        """Return a word of a message; quotes and punctuation around a URL stay."""
        word = found[0]
        if not _has_mark(word):
            return word
        body = word.lstrip(_AROUND_WORDS)
        before, body = word[: len(word) - len(body)], body.rstrip(_AROUND_WORDS)
        after = word[len(before) + len(body) :]
        body = _USERINFO_PATTERNS[0].sub(USERINFO_MASK, body)
        if password := _NAME_AND_PASSWORD.match(body):
            body = f"{MASK}@{body[password.end() :]}"
        return before + self._parameters.sub(PARAMETER_MASK, body) + after

    def _is_name_of_credential(self, name: str) -> bool:
        return self._name.match(f"{name}=") is not None

    def _url_in(self, text: msgspec.Raw) -> msgspec.Raw:
        """Return a URL in JSON with its credentials masked."""
        url = _text_of(text)
        masked = None if url is None else self.url(url)
        return text if masked in (None, url) else msgspec.Raw(msgspec.json.encode(masked))

    def _headers_in(self, text: msgspec.Raw) -> msgspec.Raw:
        """Return headers in JSON with their credentials masked."""
        if not bytes(text).startswith(b"{"):
            return text
        headers = _ANY_HEADERS.decode(text)
        masked = self.headers(headers)
        return text if masked == headers else msgspec.Raw(msgspec.json.encode(masked))


def _names_like(names: Collection[str]) -> str:
    """Return the pattern of a name and its equals sign, valid in Python and PostgreSQL."""
    contained = "|".join(map(_escapable, _CONTAINED))
    auth = f"{_escapable('auth')}(?!or(?!i[sz])|enticate)"
    words = "|".join(map(_escapable, _WORDS))
    others = "|".join(_OTHER_KEYS)
    no_credentials = "|".join(_NO_CREDENTIALS)
    key = _escapable("key")
    exact = "|".join(re.escape(name) for name in names)
    return (
        f"(?:(?!{_NAME}(?:{no_credentials}))"
        f"(?:{_NAME}(?:{contained}|{auth})"
        f"|(?:{_NAME}[-_. ])?(?:{words}){_EQUALS}"
        f"|cookie{_EQUALS}"
        f"|(?!{_NAME}(?:{others})[-_]?key){_NAME}{key}{_EQUALS})"
        + (f"|(?:{exact}){_EQUALS}" if names else "")
        + ")"
    )


def _escapable(word: str) -> str:
    """Return a pattern for a word whose characters may be percent-encoded."""
    return "".join(f"(?:{c}|%{ord(c):02x}|%{ord(c.upper()):02x})" for c in word)


def _text_of(text: msgspec.Raw) -> str | None:
    try:
        return _TEXT.decode(text)
    except msgspec.DecodeError:  # not a string, or invalid
        return None


def _replaced_if_read(document: msgspec.Raw, masks: Mapping[str, _Mask]) -> msgspec.Raw:
    """Return ``_replaced(document)``; a document that cannot be decoded is sent nowhere anyway."""
    try:
        return _replaced(document, masks)
    except (msgspec.DecodeError, RecursionError):
        return document


def _replaced(document: msgspec.Raw, masks: Mapping[str, _Mask]) -> msgspec.Raw:
    """Apply masks to the fields of a JSON object; return the same text if none changed."""
    text = bytes(document)
    if not text.lstrip().startswith(b"{"):
        return document
    fields = _OBJECT.decode(text)
    shown = {name: masks[name](value) if name in masks else value for name, value in fields.items()}
    # If a name occurs twice, only its last value was masked.
    if all(shown[name] is value for name, value in fields.items()) and _is_all(text, fields):
        return document
    return msgspec.Raw(msgspec.json.encode(shown))


def _is_all(text: bytes, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Return whether a JSON object has exactly these fields in this order."""
    place = 0
    for name, value in fields.items():
        key = _FIELD.match(text, place)
        if key is None or key[1] != name.encode() or not text.startswith(bytes(value), key.end()):
            return False
        place = key.end() + len(bytes(value))
    return text[place:].strip() in (b"}", b"{}")


_USERINFO_PATTERNS: Final = tuple(
    re.compile(pattern, re.IGNORECASE) for pattern in (USERINFO, USERINFO_AT_START)
)
MASKING: Final = Masking()
