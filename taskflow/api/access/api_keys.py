"""API keys and their roles. Only hashes of keys are kept.

A key is written ``name:key`` or ``name:role:key`` in ``TASKFLOW_API_KEYS``, with
``queues=mail,reports-*:`` before the key if it may use some queues alone; the file that
``TASKFLOW_API_KEYS_FILE`` names has one line per key, with the SHA-256 hash instead of the key.
Keys are long and random, so a fast hash is safe; a slow one would slow down every request.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from taskflow.model.errors import SettingsError
from taskflow.model.queue_scope import QueueScope, scope_of
from taskflow.settings import Settings
from taskflow.settings.loading import read_secret_file
from taskflow.telemetry import Event, emit

# People and secret scanners recognize a leaked key by it.
KEY_PREFIX: Final = "taskflow_"
KEY_BYTES: Final = 32
# Shorter keys may be guessed.
MIN_SAFE_KEY_LENGTH: Final = 16


class Role(enum.IntEnum):
    """The role of a key. Each role includes those before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3

    @classmethod
    def named(cls, name: str) -> Role:
        """Return the role with this name, in lower case."""
        return cls[name.upper()]

    def __str__(self) -> str:
        return self.name.lower()


DEFAULT_ROLE: Final = Role.WRITE
ROLE_NAMES: Final = [str(role) for role in Role]

_NAME: Final = r"[A-Za-z0-9._-]{1,64}"
# What RFC 6750 lets a bearer token be.
_TOKEN: Final = r"[A-Za-z0-9._~+/-]+=*"  # noqa: S105 - the shape of one
_ENTRY: Final = (
    f"(?P<name>{_NAME}):((?P<role>{'|'.join(ROLE_NAMES)}):)?(queues=(?P<queues>[^:]*):)?"
)
_PLAIN_ENTRY: Final = re.compile(f"{_ENTRY}(?P<key>{_TOKEN})")
# Entries are separated by commas, and so are the queues of an entry.
_ENTRIES: Final = re.compile(r"(?:[^,]*:queues=[^:]*:)?[^,]+")
_HASHED_ENTRY: Final = re.compile(f"{_ENTRY}(?P<key>[0-9a-f]{{64}})")


class Key(msgspec.Struct, frozen=True):
    """The name, role and hash of a key, and its queues if it may not use all."""

    name: str
    role: Role
    digest: bytes
    scope: QueueScope | None = None

    def __repr__(self) -> str:
        return f"Key({self.name}, {self.rights})"

    @property
    def rights(self) -> str:
        """The role and the queues, for people."""
        return str(self.role) if self.scope is None else f"{self.role}, queues {self.scope}"


class ApiKeys:
    """All valid keys. If there are none, no request needs one."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __repr__(self) -> str:
        return f"ApiKeys({', '.join(f'{key.name}: {key.rights}' for key in self._keys)})"

    def replace(self, keys: Iterable[Key]) -> None:
        """Replace all keys; from now on only these are valid."""
        self._keys = tuple(keys)

    def is_current(self, key: Key) -> bool:
        """Return whether a key is still valid, with the same role and queues."""
        return key in self._keys

    def find(self, presented: str) -> Key | None:
        """Return the key that a request presents, if it is valid."""
        digest = digest_of(presented)
        found = None
        # Compares all of them in constant time, so that the duration reveals nothing.
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found


def digest_of(key: str) -> bytes:
    """Return the hash that is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def new_key(name: str, role: Role, scope: QueueScope | None = None) -> tuple[str, str]:
    """Return a new key, and its line for the keys file.

    Args:
        name: Its name.
        role: Its role.
        scope: The queues that it may use; ``None`` for all.

    Raises:
        ValueError: The name is invalid.
    """
    if not re.fullmatch(_NAME, name):
        raise ValueError("a name is 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    queues = "" if scope is None else f"queues={scope}:"
    return key, f"{name}:{role}:{queues}{digest_of(key).hex()}"


def read_keys(settings: Settings) -> ApiKeys:
    """Return the keys from the settings; log a warning for unsafe ones.

    Raises:
        SettingsError: An entry is invalid. The message has its position, and no key.
    """
    keys: list[Key] = []
    for place, key in _written(settings):
        if any(key.digest == other.digest for other in keys):
            raise SettingsError(f"{place}: this key is listed twice")
        if any(key.name == other.name and key.scope != other.scope for other in keys):
            raise SettingsError(
                f"{place}: another key has the name {key.name} and other queues; keys of one name "
                "share their idempotency keys"
            )
        keys.append(key)
    if keys:
        emit(Event.KEYS_READ, keys=", ".join(f"{key.name} ({key.rights})" for key in keys))
    return ApiKeys(keys)


def _written(settings: Settings) -> Iterator[tuple[str, Key]]:
    """Yield each key and its position."""
    if settings.api_keys:
        yield from _keys_of_setting(settings.api_keys)
    if settings.api_keys_file:
        yield from _keys_of_file(Path(settings.api_keys_file))


def entries_of(text: str) -> list[str]:
    """Return the entries of ``TASKFLOW_API_KEYS``; a trailing comma is tolerated."""
    return [entry.strip() for entry in _ENTRIES.findall(text) if entry.strip()]


def _keys_of_setting(text: str) -> Iterator[tuple[str, Key]]:
    entries = entries_of(text)
    if not entries:
        raise SettingsError("TASKFLOW_API_KEYS has no keys; it must be name:key or name:role:key")
    for number, entry in enumerate(entries, start=1):
        place = f"TASKFLOW_API_KEYS, entry {number}"
        found, key = _read(_PLAIN_ENTRY, entry, place, "name:key or name:role:key", digest_of)
        if found["key"] in ROLE_NAMES:
            raise SettingsError(f"{place}: {found['key']} is a role; the key is missing behind it")
        if len(found["key"]) < MIN_SAFE_KEY_LENGTH:
            emit(Event.KEY_SHORT, name=found["name"])
        yield place, key


def _keys_of_file(path: Path) -> Iterator[tuple[str, Key]]:
    entries, is_open = read_secret_file(path, "TASKFLOW_API_KEYS_FILE")
    if is_open:
        emit(Event.KEYS_FILE_OPEN, path=str(path))
    if not entries:
        raise SettingsError(f"{path} has no keys; `taskflow key new NAME` makes a line for it")
    for place, line in entries:
        shape = "name:role:hash, as `taskflow key new NAME` makes it"
        yield place, _read(_HASHED_ENTRY, line, place, shape, bytes.fromhex)[1]


def _read(
    pattern: re.Pattern[str],
    text: str,
    place: str,
    shape: str,
    digest: Callable[[str], bytes],
) -> tuple[re.Match[str], Key]:
    """Return the parts of an entry, and its key.

    Raises:
        SettingsError: It is invalid.
    """
    found = pattern.fullmatch(text.strip())
    if found is None:
        raise SettingsError(f"{place}: must be {shape}; roles are {', '.join(ROLE_NAMES)}")
    role = Role.named(found["role"]) if found["role"] else DEFAULT_ROLE
    try:
        scope = None if found["queues"] is None else scope_of(found["queues"])
    except ValueError as error:
        raise SettingsError(f"{place}: queues= is invalid: {error}") from None
    return found, Key(found["name"], role, digest(found["key"]), scope)
