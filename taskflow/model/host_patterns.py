"""Sets of hosts that operators write: names, suffixes and addresses."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

from taskflow.model.errors import SettingsError
from taskflow.model.hostname import INTERNAL_SUFFIXES, canonical_host
from taskflow.model.invalid_url import InvalidUrl

_REGISTRY_LABELS: Final = frozenset(
    (
        *("ac", "co", "com", "edu", "go", "gob", "gouv", "gov", "govt", "gv", "ltd", "me"),
        *("mil", "ne", "net", "nom", "or", "org", "plc", "sch"),
    )
)
"""Labels under which registries of countries sell names, such as ``co`` in ``co.uk``."""
_COUNTRY_CHARACTERS: Final = 2


class Hosts(Container[str]):
    """A set of hosts: names, all names under a suffix (``*.example.com``), and addresses.

    Args:
        patterns: The patterns in the setting.
        variable: The name of the setting.

    Raises:
        SettingsError: A pattern is invalid.
    """

    def __init__(self, patterns: Iterable[str], variable: str) -> None:
        self._hosts: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        for pattern in patterns:
            under = pattern.startswith("*.")
            try:
                host = canonical_host(pattern.removeprefix("*."))
            except InvalidUrl as error:
                raise SettingsError(
                    f"{variable}: {pattern!r} is not a host: {error.reason}"
                ) from None
            if under:
                self._suffixes += (f".{host}",)
            else:
                self._hosts.add(host)

    def __contains__(self, host: object) -> bool:
        """Return whether a host, normalized as in ``Target.host``, is in the set."""
        return host in self._hosts or (isinstance(host, str) and host.endswith(self._suffixes))


def is_for_strangers(pattern: str) -> bool:
    """Return whether anyone can register a name that matches: ``*.com``, ``*.co.uk``.

    Knows top-level domains, and the usual names below the domains of countries, not all public
    suffixes.

    Args:
        pattern: A valid pattern of ``Hosts``.
    """
    if not pattern.startswith("*."):
        return False
    suffix = canonical_host(pattern.removeprefix("*."))
    if f".{suffix}".endswith(INTERNAL_SUFFIXES):
        return False
    *below, label, top = f".{suffix}".split(".")
    is_registry = len(top) == _COUNTRY_CHARACTERS and label in _REGISTRY_LABELS
    return not label or (is_registry and below == [""])
