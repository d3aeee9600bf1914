"""The destinations of alerts: webhooks, chats and e-mail addresses.

The URL of a chat is a secret: a client that knows it can post. It is stored encrypted, shown masked
and not part of the tasks that notify: an attempt looks it up.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.alert_target import DestinationKind
from taskflow.model.errors import Undecryptable
from taskflow.model.keyring import Keyring
from taskflow.model.masking import MASK, Masking
from taskflow.model.url import parse_target

MAX_ADDRESSES: Final = 20
_ID_CHARACTERS: Final = 8

MailAddress: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$(?!\n)",
        max_length=254,
    ),
]
MailAddresses: TypeAlias = Annotated[
    tuple[MailAddress, ...],
    Meta(
        min_length=1,
        max_length=MAX_ADDRESSES,
        extra={"expected": f"a list of 1 to {MAX_ADDRESSES} e-mail addresses"},
    ),
]


class AlertDestination(msgspec.Struct, frozen=True, kw_only=True):
    """A destination as the API shows it.

    Attributes:
        kind: How it is notified.
        url: Its URL, with secrets masked; ``None`` for e-mail.
        addresses: Its e-mail addresses; ``None`` for others.
    """

    kind: DestinationKind
    url: str | None = None
    addresses: tuple[str, ...] | None = None


class StoredDestination(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A destination as a store keeps it.

    Attributes:
        kind: How it is notified.
        url: The URL of a webhook.
        masked_url: The URL as it is shown.
        sealed_url: The URL of a chat, encrypted.
        addresses: E-mail addresses.
    """

    kind: DestinationKind
    url: str | None = None
    masked_url: str | None = None
    sealed_url: bytes | None = None
    addresses: tuple[str, ...] = ()

    @property
    def shown(self) -> AlertDestination:
        """The destination as the API shows it."""
        return AlertDestination(
            kind=self.kind, url=self.masked_url, addresses=self.addresses or None
        )


def destination_to(
    kind: DestinationKind, url: str, alert: str, keyring: Keyring, masking: Masking
) -> StoredDestination:
    """Return a destination with a URL.

    Raises:
        InvalidUrl: The URL is invalid.
        KeyMissing: It is a secret, and there is no key.
    """
    masked = masked_url(kind, url, masking)
    if not kind.is_chat:
        return StoredDestination(kind=kind, url=url, masked_url=masked)
    sealed = keyring.encrypt(url.encode(), _place_of(alert, masked))
    return StoredDestination(kind=kind, masked_url=masked, sealed_url=sealed)


def masked_url(kind: DestinationKind, url: str, masking: Masking) -> str:
    """Return a URL as it is shown; of a chat, its origin and a part of a digest.

    The digest tells two channels of a host apart, and reveals nothing of a token.

    Raises:
        InvalidUrl: The URL is invalid.
    """
    target = parse_target(url)
    if not kind.is_chat:
        return masking.url(url)
    digest = hashlib.sha256(b"TaskFlow alert destination\n" + url.encode()).hexdigest()
    return f"{target.origin}/{MASK}-{digest[:_ID_CHARACTERS]}"


def is_masked_url(kind: DestinationKind, url: str, masking: Masking) -> bool:
    """Return whether a URL is one as it is shown: nothing can be sent to it.

    That of a chat may come with another kind.
    """
    return (MASK in url and kind.is_chat) or f"/{MASK}-" in url or masking.is_masked(url)


def unsealed_url(destination: StoredDestination, alert: str, keyring: Keyring) -> str:
    """Return the URL of a chat.

    Raises:
        KeyMissing: Its key is not in the keyring.
        Undecryptable: It was changed, or belongs to another alert.
    """
    if destination.sealed_url is None:  # no version wrote it
        raise Undecryptable
    place = _place_of(alert, destination.masked_url or "")
    return keyring.decrypt(destination.sealed_url, place).decode()


def resealed(destination: StoredDestination, alert: str, keyring: Keyring) -> StoredDestination:
    """Return a destination with its URL encrypted with the first key.

    Raises:
        KeyMissing: Its key is not in the keyring.
        Undecryptable: It was changed, or belongs to another alert.
    """
    if destination.sealed_url is None:
        return destination
    place = _place_of(alert, destination.masked_url or "")
    sealed = keyring.reencrypt(destination.sealed_url, place)
    return msgspec.structs.replace(destination, sealed_url=sealed)


def _place_of(alert: str, masked_url: str) -> bytes:
    return f"alert {alert} {masked_url}".encode()
