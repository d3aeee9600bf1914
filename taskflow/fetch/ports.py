"""Ports that may be fetched from.

Below 1024, only 80 and 443. From 1024 up, all ports except ports of well-known services that are
not web servers, or that strangers must not reach through TaskFlow: a request can do harm even if
its response is not readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from taskflow.model.errors import SettingsError

_ALLOWED_BELOW_1024: Final = frozenset((80, 443))
_FIRST_UNPRIVILEGED: Final = 1024
_MAX_PORT: Final = 65_535

# By service. The first line is also blocked by browsers (WHATWG Fetch, "bad port").
_BLOCKED: Final = frozenset(
    (
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670)),
        *(6679, 6697, 10080),
        # Databases and search, and what belongs to them
        *(1433, 1434, 1521, 1522, 2483, 2484, 3050, 3306, 33060, 5432, 5433, 5984, 6432, 6984),
        *(7199, 7687, 8086, 8123, 8529, 9042, 9142, 9160, 9200, 9300),
        *(7000, 7001, 8983, 11210, 26257, 27017, 27018, 27019, 28015, 29015, 33061),
        # Caches, queues, logs
        *(1883, 8883, 4222, 4369, 5222, 5269, 5671, 5672, 6379, 6380, 16379, 26379, 9092, 9093),
        *(11211, 11214, 11215, 11300, 15672, 24224, 25672, 61613, 61616),
        # Coordination, orchestration, machines
        *(2181, 2375, 2376, 2377, 2379, 2380, 2888, 3888, 4194, 4243, 4646, 4647, 4648, 6443),
        *(7946, 8200, 8201, 8300, 8301, 8302, 8500, 8501, 8502, 8600),
        *(10248, 10249, 10250, 10255, 10256, 10257, 10259),
        # Debuggers and consoles that execute code
        *(1099, 4505, 4506, 5005, 5037, 5038, 5555, 7077, 8009, 8021, 8265, 9222, 9229),
        # Mail, logs, scanners, compilers, versions
        *(2003, 2004, 2525, 2526, 2628, 3310, 3632, 3690, 6001, 6082),
        # Remote access, files, proxies, names
        *(1080, 1194, 1701, 3128, 3260, 3268, 3269, 3389, 5353, 5355, 5900, 5901, 5902, 5903),
        *(5985, 5986, 9050, 9051, 9418, 10050, 10051),
    )
)
_RANGE: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


class Ports:
    """A set of ports.

    Args:
        ranges: Ports and ranges such as ``8080`` or ``8000-8999``; if empty, the default rule.

    Raises:
        SettingsError: A range is invalid.
    """

    def __init__(self, ranges: Iterable[str]) -> None:
        self._ranges = [_range_of(text) for text in ranges]

    def __contains__(self, port: int) -> bool:
        """Return whether a port is allowed."""
        if self._ranges:
            return any(port in ports for ports in self._ranges)
        return port in _ALLOWED_BELOW_1024 or (port >= _FIRST_UNPRIVILEGED and port not in _BLOCKED)


def _range_of(text: str) -> range:
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= _MAX_PORT:
        raise SettingsError(
            f"TASKFLOW_ALLOW_PORTS: {text!r} is neither a port nor a range such as 8000-8999"
        )
    return range(first, last + 1)
