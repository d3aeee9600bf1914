"""Schemathesis, as a process of its own that reads ``/openapi.json`` and then asks away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")
KEY = "the-key-of-the-fuzzer"
EDGE_STEP = "FUZZ_EDGE_STEP"
AIMS = "FUZZ_AIMS"
MODES = ("examples", "coverage", "fuzzing", "stateful")


class Length(NamedTuple):
    """How long a run is.

    Attributes:
        examples: How many requests of each kind an operation gets, at most.
        edge_step: Of the edges of an operation's schemas, the first is tried, and each so many
            after it.
        seed: Drives all that is random. With ``None`` nothing is but what comes of the ids that
            the server makes up, in chains of requests.
    """

    examples: int
    edge_step: int = 1
    seed: int | None = None

    @property
    def is_long(self) -> bool:
        """Whether it is the long form."""
        return self.seed is not None


class Report(NamedTuple):
    """How a run ended: with 0 if nothing was found, and what it said."""

    code: int
    text: str

    def count(self, pattern: str) -> int:
        """The number that it gives of something."""
        match = re.search(pattern, self.text)
        assert match, f"{pattern} is not in {self.text}"
        return int(match[1])


def fuzz(
    url: str,
    length: Length,
    folder: Path,
    *,
    modes: tuple[str, ...] = MODES,
    key: str = KEY,
    checks: str = "all",
    aims: Mapping[str, Sequence[str]] | None = None,
) -> Report:
    """Fuzz the server at this address.

    Args:
        url: Its address.
        length: The length of the run.
        folder: For files that are written on the way.
        modes: The phases of schemathesis.
        key: The key that it sends.
        checks: What it checks of the answers.
        aims: Values to send instead of those that are made up, in turn: for ``queue`` and ``tag``,
            and for parameters of paths, of all methods or of one (``PUT schedules.name``).
    """
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)]
    command += ["run", f"{url}/openapi.json", "--checks", checks, "--no-color"]
    command += ["--continue-on-failure"]
    command += ["--header", f"Authorization: Bearer {key}"]
    command += ["--phases", ",".join(modes), "--max-examples", str(length.examples)]
    is_random = length.seed is not None
    command += ["--seed", str(length.seed)] if is_random else ["--generation-deterministic"]
    ended = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=folder,
        # Whatever proxy the environment names is not for servers on this machine.
        env={
            **os.environ,
            "NO_PROXY": "*",
            "no_proxy": "*",
            "PYTHONPATH": str(REPOSITORY),
            EDGE_STEP: str(length.edge_step),
            AIMS: json.dumps(aims or {}),
            # Tables of characters, which take seconds to make.
            "HYPOTHESIS_STORAGE_DIRECTORY": str(REPOSITORY / ".hypothesis"),
        },
    )
    return Report(ended.returncode, ended.stdout)
