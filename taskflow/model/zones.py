"""Time zones, from the newer of the system's and the packaged time zone database.

The system's database is the first folder of ``zoneinfo.TZPATH`` that states its version; the
packaged one is ``tzdata``. A zone that only one of them has is loaded from that one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import importlib
import importlib.resources
import re
import zoneinfo
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

# Names in the folder that are not zones: the local zone, and zones with leap seconds.
_NOT_ZONES: Final = ("localtime", "right/")
_VERSION: Final = re.compile(r"\s*(?:# version )?([0-9]{4})([a-z]{1,2})\b")
_HEAD_CHARS: Final = 64


class ZoneDatabase(msgspec.Struct, frozen=True):
    """The available time zone databases.

    Attributes:
        system_version: The version of the system's database, such as ``2025b``; ``None`` if it is
            absent or does not state its version.
        packaged_version: The version of ``tzdata``; ``None`` if it is not installed.
    """

    system_version: str | None
    packaged_version: str | None

    @property
    def is_packaged(self) -> bool:
        """True if the packaged database is used."""
        return _age(self.packaged_version) > _age(self.system_version)

    @property
    def version(self) -> str | None:
        """The version of the database that is used; ``None`` if unknown."""
        return self.packaged_version if self.is_packaged else self.system_version


def zone_database() -> ZoneDatabase:
    """Return the time zone databases of this process."""
    return _database_at(tuple(map(str, zoneinfo.TZPATH)))


def zone(name: str) -> dt.tzinfo:
    """Return a time zone by its name.

    Raises:
        LookupError: There is no such zone.
        ValueError: The name is invalid.
        OSError: The name is a folder of zones.
    """
    return _zone_at(name, tuple(map(str, zoneinfo.TZPATH)))


def is_zone(name: str) -> bool:
    """Return whether a time zone exists."""
    if name.startswith(_NOT_ZONES):
        return False
    try:
        zone(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


@functools.cache
def _zone_at(name: str, path: tuple[str, ...]) -> dt.tzinfo:
    found = zoneinfo.ZoneInfo(name)  # the system's, or else the packaged one
    if not _database_at(path).is_packaged:
        return found
    packaged = importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with contextlib.suppress(OSError), packaged.open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file, key=name)
    return found  # only the system has this zone


@functools.cache
def _database_at(path: tuple[str, ...]) -> ZoneDatabase:
    return ZoneDatabase(_system_version(path), _packaged_version())


def _system_version(path: Iterable[str]) -> str | None:
    """Return the version in the first tzdata.zi (Linux) or +VERSION (macOS) on the path."""
    for folder in path:
        for name in ("tzdata.zi", "+VERSION"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                with (Path(folder) / name).open(encoding="ascii") as file:
                    head = file.read(_HEAD_CHARS)
                if found := _VERSION.match(head):
                    return found[1] + found[2]
    return None


def _packaged_version() -> str | None:
    try:
        return str(importlib.import_module("tzdata").IANA_VERSION)
    except (ImportError, AttributeError):
        return None


def _age(version: str | None) -> tuple[str, int, str]:
    """Return a sort key for versions; 2025z precedes 2025aa."""
    found = _VERSION.match(version or "")
    return (found[1], len(found[2]), found[2]) if found else ("", 0, "")
