"""``python -m benchmarks``: the speed of TaskFlow, compared with the alternatives.

Each figure stands beside its reference from the same run, on an embedded PostgreSQL with its
default durability; loopback only. The ratios are what counts, for machines differ.
``docs/performance.md`` says what each line means.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import (
    accept,
    archive,
    beside,
    cells,
    cores,
    cost,
    database,
    graphs,
    groups,
    latency,
    memory,
    order,
    pacing,
    parked,
    peers,
    processes,
    scale,
    schedules,
    start_stop,
    synchronous,
    table,
    topics,
    unique,
    work_off,
)
from benchmarks.scene import Scene
from benchmarks.table import Figure
from taskflow import telemetry
from taskflow.serving.process_tuning import raise_file_limit

LINES: dict[str, Callable[[Scene], Iterator[Figure]]] = {
    "accept": accept.accept,
    "accept_slow": accept.accept_slow,
    "bulk": accept.bulk,
    "bulk_http": accept.bulk_over_http,
    "work_off": work_off.work_off,
    "pacing": pacing.pacing,
    "slow_targets": work_off.slow_targets,
    "latency": latency.latency,
    "both": work_off.both,
    "processes": cores.processes,
    "cost": cost.cost,
    "fetches": beside.fetches,
    "beside": beside.beside,
    "schedules": schedules.schedules,
    "start_stop": start_stop.start_stop,
    "scale": scale.scale,
    "order": order.order,
    "topics": topics.topics,
    "unique": unique.unique,
    "graphs": graphs.graphs,
    "groups": groups.groups,
    "parked": parked.parked,
    "memory": memory.memory,
    "synchronous": synchronous.synchronous,
    "archive": archive.archive,
    "cells": cells.cells,
    "bloat": scale.bloat,
    "scale_5m": scale.scale_5m,
    "bloat_10m": scale.bloat_10m,
    "archive_20m": archive.archive_20m,
}
# These take too long for the default run.
LONG = {"scale_5m", "bloat_10m", "archive_20m", "cells"}
PEERS_FOLDER = processes.REPOSITORY / ".venv-peers"


def main() -> None:
    """Run the requested benchmarks, and show the results."""
    arguments = parsed()
    telemetry.configure("warning", "console")
    raise_file_limit()
    unasked = LINES if arguments.long else LINES.keys() - LONG
    lines = arguments.only or [line for line in LINES if line in unasked]
    made = with_peers() if arguments.peers else None
    if made is None:
        print("without --peers: all other systems are left out\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="tf-", ignore_cleanup_errors=True) as name,
        processes.target() as target,
    ):
        folder = Path(name)
        # PostgreSQL may run as another user.
        folder.chmod(0o755)
        with database.embedded(folder) as conninfo:
            scene = Scene(
                conninfo,
                target,
                folder,
                is_quick=arguments.quick,
                peers=made,
                beside=tuple(arguments.beside),
            )
            report = measured(scene, lines)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(
        f"\n{report['seconds']:.0f} s; load average at the start "
        f"{report['machine']['load_average']:.2f} on {os.cpu_count()} cores"
    )


def with_peers() -> Path:
    """Return the Python of the peers' environment; exit if it cannot be created."""
    try:
        return peers.environment(PEERS_FOLDER)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"benchmarks: {PEERS_FOLDER.name} cannot be made: {error}") from None


def measured(scene: Scene, lines: list[str]) -> dict[str, Any]:
    """Return all figures of these lines, and print each as soon as it is known."""
    report: dict[str, Any] = {"machine": table.machine(), "is_quick": scene.is_quick}
    began = time.monotonic()
    print(table.HEAD, flush=True)
    figures = []
    for line in lines:
        for figure in LINES[line](scene):
            print(table.row(line, figure), flush=True)
            figures.append({"line": line, **table.as_json(figure)})
    return {**report, "seconds": time.monotonic() - began, "figures": figures}


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under two minutes, and rough")
    parser.add_argument("--only", nargs="+", metavar="LINE", choices=LINES, help=", ".join(LINES))
    parser.add_argument("--long", action="store_true", help=f"also {', '.join(sorted(LONG))}")
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="COMMIT",
        help="commits that `beside` compares with",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="measure peers as well, installed into .venv-peers at the first time",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
