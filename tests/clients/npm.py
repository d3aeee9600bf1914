"""Packages of npm, and the TypeScript client, built once for all tests of a checkout."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients.vectors import REPOSITORY

CLIENT = REPOSITORY / "clients" / "typescript"
BUILT = CLIENT / "dist"
_PACKAGES = CLIENT / "node_modules"
# The lock does not fit the package: no fault of the registry or the network.
_WRONG_LOCK = "EUSAGE"


def built_client() -> Path:
    """Return the folder of the built client. Built if its sources have changed, else left alone."""
    if shutil.which("node") is None:
        pytest.skip("there is no node: the TypeScript client is not tested")
    install(CLIENT)
    with _only_one(CLIENT):
        sources = sorted((CLIENT / "src").glob("*.ts"))
        stamp = _stamp_of([CLIENT / "tsconfig.json", CLIENT / "package-lock.json", *sources])
        if not _is_stamped(BUILT, stamp):
            shutil.rmtree(BUILT, ignore_errors=True)
            check(["node", _PACKAGES / "typescript" / "bin" / "tsc"])
            (BUILT / ".stamp").write_text(stamp, "utf-8")
    return BUILT


def check(command: list[str | Path], environ: Mapping[str, str] | None = None) -> str:
    """Run a command in the folder of the client; fail the test if it fails."""
    done = subprocess.run(
        command,
        check=False,
        cwd=CLIENT,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def install(folder: Path) -> Path:
    """Install the locked packages of a folder; return the folder that has them."""
    if shutil.which("npm") is None:
        pytest.skip(f"there is no npm: the packages of {folder.name} are not installed")
    packages = folder / "node_modules"
    with _only_one(folder):
        stamp = _stamp_of([folder / "package.json", folder / "package-lock.json"])
        if not _is_stamped(packages, stamp):
            _run_npm(folder)
            (packages / ".stamp").write_text(stamp, "utf-8")
    return packages


def _run_npm(folder: Path) -> None:
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
    command = ["npm", "ci", *options, "--fetch-retries", "0"]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        assert _WRONG_LOCK not in done.stderr, done.stderr
        pytest.skip(f"npm cannot install the packages of {folder.name}")


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Wait until no other process installs or builds there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _stamp_of(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()


def _is_stamped(folder: Path, stamp: str) -> bool:
    file = folder / ".stamp"
    return file.exists() and file.read_text("utf-8") == stamp
