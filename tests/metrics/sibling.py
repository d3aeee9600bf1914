"""A process that shares its metrics: ``python -m tests.metrics.sibling MAIN_PID``.

Each line that it reads is how many tasks were accepted; it answers with ``ok``.
"""

from __future__ import annotations

import sys

from taskflow.metrics import Metrics
from taskflow.metrics.sharing import shared


def main() -> None:
    metrics = Metrics()
    metrics.declare_routes([("/tasks", ("GET",))])
    with shared(metrics.registry, int(sys.argv[1]), lambda: False):
        print("ok", flush=True)
        for line in sys.stdin:
            metrics.accepted(int(line))
            metrics.workers.set(5)
            print("ok", flush=True)


main()
