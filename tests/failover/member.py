"""Starts Patroni with timings below its minimum: a lost primary is missed after seconds.

It is run as a program: ``member.py CONFIGURATION``.
"""

from __future__ import annotations

import sys

from patroni.__main__ import main
from patroni.config import Config


def accept_any_timings(self, config):
    """Keep ``ttl``, ``loop_wait`` and ``retry_timeout`` as they are."""


if __name__ == "__main__":
    Config._validate_and_adjust_timeouts = accept_any_timings
    sys.argv[0] = "patroni"
    main()
