"""Credentials as they are stored, with encrypted values, and as they are shown, without any."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.credential import Credential, decode_credential, encode_credential, kind_of
from taskflow.model.keyring import Keyring
from taskflow.model.task import Moment

MAX_CREDENTIALS: Final = 1_000
MAX_SHOWN_USERS: Final = 100


class SealedCredential(msgspec.Struct, frozen=True):
    """A credential as a store keeps it.

    Attributes:
        name: Its name.
        kind: Its kind, such as ``bearer``.
        hosts: The patterns of the hosts to which it may be sent.
        sealed: All its values, encrypted with its name and kind as associated data.
    """

    name: str
    kind: str
    hosts: tuple[str, ...]
    sealed: bytes

    @property
    def associated(self) -> bytes:
        """The associated data of the encryption, which binds the values to this credential."""
        return _associated(self.name, self.kind)


def seal(name: str, credential: Credential, keyring: Keyring) -> SealedCredential:
    """Encrypt the values of a credential.

    Raises:
        KeyMissing: There is no key.
    """
    kind = kind_of(credential)
    sealed = keyring.encrypt(encode_credential(credential), _associated(name, kind))
    return SealedCredential(name, kind, credential.hosts, sealed)


def unseal(credential: SealedCredential, keyring: Keyring) -> Credential:
    """Decrypt the values of a credential, with its hosts: a changed row cannot add a host.

    Raises:
        KeyMissing: Its key is not in the keyring.
        Undecryptable: It was changed.
        msgspec.DecodeError: It is of a kind that this version does not know.
    """
    return decode_credential(keyring.decrypt(credential.sealed, credential.associated))


def _associated(name: str, kind: str) -> bytes:
    return f"credential {name} {kind}".encode()


class CredentialUsers(msgspec.Struct, frozen=True):
    """What uses a credential, at most 100 of each kind, by name.

    Attributes:
        queues: Queues whose settings name it.
        schedules: Schedules whose tasks name it.
        endpoints: Endpoints of topics that name it: the topic, a slash and the endpoint.
    """

    queues: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.queues or self.schedules or self.endpoints)

    def __str__(self) -> str:
        named = {"queue": self.queues, "schedule": self.schedules, "endpoint": self.endpoints}
        return ", ".join(f"{kind} {name}" for kind, names in named.items() for name in names)


class CredentialSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as the API shows it: never its values.

    Attributes:
        name: Its name.
        kind: Its kind, such as ``bearer``.
        hosts: The patterns of the hosts to which it may be sent.
        created_at: When it was created.
        updated_at: When it was last replaced.
        last_used_at: When a node last used it, to the minute; ``None`` if never.
        used_by: The queues, schedules and endpoints that use it.
    """

    name: str
    kind: str
    hosts: tuple[str, ...]
    created_at: Moment
    updated_at: Moment
    last_used_at: Moment | None
    used_by: CredentialUsers
