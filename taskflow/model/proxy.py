"""Egress proxies: the URL of one, with its credentials."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec

from taskflow.model.errors import Undecryptable
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.keyring import Keyring
from taskflow.model.masking import MASK
from taskflow.model.url import Target, parse_target

DIRECT: Final = "direct"
"""The ``egress_proxy`` of a queue whose tasks use no proxy."""

_PROXY_URL: Final = re.compile(r"(https?)://(?:([^/?#@]*)@)?([^/?#@]+)/?", re.IGNORECASE)
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_SEALED: Final = "$encrypted:"
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_NOT_A_PROXY: Final = (
    "is not the URL of a proxy, such as http://user:password@proxy.example:3128 or "
    "https://proxy.example:3129; write special characters of the user and the password as %XX"
)


class Proxy(msgspec.Struct, frozen=True):
    """A proxy.

    Attributes:
        target: Its scheme, host and port.
        authorization: The value of ``Proxy-Authorization``; ``None`` without credentials.
    """

    target: Target
    authorization: str | None

    def __repr__(self) -> str:
        """Return its URL without credentials."""
        return f"<Proxy {self.target.origin}>"

    @property
    def credentials(self) -> tuple[tuple[str, str], ...]:
        """The header with its credentials, if it needs any."""
        return () if self.authorization is None else (("Proxy-Authorization", self.authorization),)


def parse_proxy(url: str) -> Proxy:
    """Parse the URL of a proxy.

    Raises:
        ValueError: It is invalid. The message follows the name of a setting, and does not contain
            the URL, because it has a password.
    """
    found = _PROXY_URL.fullmatch(url)
    if found is None:
        raise ValueError(_NOT_A_PROXY)
    scheme, userinfo, authority = found.groups()
    try:
        target = parse_target(f"{scheme}://{authority}/")
    except InvalidUrl as error:
        raise ValueError(f"{_NOT_A_PROXY}: {error.reason}") from None
    return Proxy(target, userinfo and _authorization(userinfo))


def masked_proxy(url: str | None) -> str | None:
    """Return the ``egress_proxy`` of a queue with the credentials masked.

    ``Masking.url`` also masks URLs that cannot be parsed, and guesses where their credentials end.
    """
    if url is None or url == DIRECT:
        return url
    found = _PROXY_URL.fullmatch(url)
    if found is None:  # an edited row
        return MASK
    if found[2] is None:
        return url
    return _with_credentials(url, MASK)


def is_masked_proxy(url: str) -> bool:
    """Return whether credentials of a proxy are masked."""
    found = _PROXY_URL.fullmatch(url)
    return found is not None and found[2] == MASK


def sealed_proxy(url: str, queue: str, keyring: Keyring) -> str:
    """Return the URL of the proxy of a queue as it is stored: its credentials encrypted.

    They are bound to the queue and the proxy. Without keys, and without credentials, it is the URL.
    """
    found = _PROXY_URL.fullmatch(url)
    if not keyring or found is None or not found[2]:
        return url
    sealed = keyring.encrypt(found[2].encode(), _place_of(url, queue))
    return _with_credentials(url, _SEALED + base64.urlsafe_b64encode(sealed).decode())


def opened_proxy(url: str, queue: str, keyring: Keyring) -> str:
    """Return the URL that ``sealed_proxy`` was called with; any other URL stays the same.

    Raises:
        KeyMissing: The key is not in the keyring.
        Undecryptable: It was changed, or belongs to another queue or proxy.
    """
    if not is_sealed_proxy(url):
        return url
    found = _PROXY_URL.fullmatch(url)
    assert found is not None
    try:
        sealed = base64.urlsafe_b64decode(found[2].removeprefix(_SEALED))
    except binascii.Error:
        raise Undecryptable from None
    return _with_credentials(url, keyring.decrypt(sealed, _place_of(url, queue)).decode())


def is_sealed_proxy(url: str) -> bool:
    """Return whether the credentials of a proxy are encrypted."""
    found = _PROXY_URL.fullmatch(url)
    return found is not None and (found[2] or "").startswith(_SEALED)


def _place_of(url: str, queue: str) -> bytes:
    return f"egress_proxy\n{queue}\n{masked_proxy(url)}".encode()


def _with_credentials(url: str, userinfo: str) -> str:
    found = _PROXY_URL.fullmatch(url)
    assert found is not None
    return f"{url[: found.start(2)]}{userinfo}{url[found.end(2) :]}"


def _authorization(userinfo: str) -> str:
    user, _, password = (
        _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), part.encode())
        for part in userinfo.partition(":")
    )
    if b":" in user or _CONTROL.search(user + password):  # RFC 7617 section 2
        raise ValueError(_NOT_A_PROXY)
    return f"Basic {base64.b64encode(user + b':' + password).decode()}"
