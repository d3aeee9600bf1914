"""Sets of hosts that operators write: names, suffixes and addresses."""

from __future__ import annotations

from collections.abc import Container, Iterable

from taskflow.model.errors import SettingsError
from taskflow.model.hostname import canonical_host
from taskflow.model.invalid_url import InvalidUrl


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
