"""Environments of their own, with TaskFlow's packages beside frameworks."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.pages import REPOSITORY
from tests.pages.blocks import Block, parts_of
from tests.service.processes import clean_environ

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What uv says where no package can be downloaded, and none is in its cache.
UNREACHABLE = ("error sending request", "Failed to fetch", "network was disabled", "dns error")


class Environment:
    """A virtual environment in which this TaskFlow can be imported."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        self._folder = folder

    def install(self, *requirements: str) -> None:
        """Install packages; skip the test where they cannot be had."""
        uv("venv", "--python", sys.executable, "--allow-existing", str(self._folder))
        uv("pip", "install", "--python", str(self.python), *requirements)

    def environ(self, variables: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in clean_environ().items() if name != "PYTHONPATH"}
        return {**kept, "PYTHONPATH": str(REPOSITORY), "NO_PROXY": "*", **variables}

    def run(
        self, *command: str, cwd: Path, variables: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        """Run Python, and return what it prints."""
        ended = subprocess.run(
            [self.python, *command],
            cwd=cwd,
            env=self.environ(variables),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        program = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
        found = self.run("-c", program, *names, cwd=self._folder)
        return dict(zip(names, found.split(), strict=True))


def uv(*command: str) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("uv"), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode and any(words in ended.stderr for words in UNREACHABLE):
        pytest.skip("the packages of the frameworks cannot be downloaded here")
    assert ended.returncode == 0, ended.stderr


def save_files(page: str, folder: Path) -> None:
    """Write the files that a reader of a page saves."""
    lines = (REPOSITORY / "docs" / page).read_text("utf-8").splitlines()
    for part in parts_of(lines):
        if isinstance(part, Block) and (name := part.notes.get("file")):
            (folder / name).write_text(part.text, "utf-8")
