"""The Dockerfile, read; and its stages, run without Docker."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.loopback import OPEN_ENVIRON
from tests.service.processes import REPOSITORY, Running, kill_tree

# As in a container that may not write: all that there is can be read, and nothing changed but the
# volume, which is empty. It is a mount namespace of its own, so nobody else sees any of it.
CONTAINED = """
set -e
uid=$1 volume=$2 passwd=$3
shift 3
mount --bind "$passwd" /etc/passwd
mount -t tmpfs tmpfs "$(dirname "$volume")"
install --directory --owner="$uid" --group="$uid" --mode=0700 "$volume"
mount --bind "$volume" "$volume"
mount -o remount,bind,ro "$(dirname "$volume")"
mount -o remount,bind,ro /
cd "$volume"
# It may read this machine's Python wherever that is, as if it had been copied into an image.
exec setpriv --reuid="$uid" --regid="$uid" --clear-groups --no-new-privs \
    --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search \
    --bounding-set=-all,+dac_read_search "$@"
"""


class Instruction(NamedTuple):
    """One instruction, with what follows its name on one line."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """In the exec form; fails for the shell form, in which a signal reaches a shell."""
        return json.loads(self.rest)


class Stage:
    """What follows a ``FROM``."""

    def __init__(self, instructions: list[Instruction]) -> None:
        self.instructions = instructions

    def all(self, name: str) -> list[str]:
        return [one.rest for one in self.instructions if one.name == name]

    def words(self, name: str) -> list[str]:
        """Those of the only one of this name, options left out."""
        [rest] = self.all(name)
        return json.loads(rest[rest.index("[") :])

    @property
    def environ(self) -> dict[str, str]:
        pairs = [word for rest in self.all("ENV") for word in shlex.split(rest)]
        return dict(pair.split("=", 1) for pair in pairs)

    @property
    def uid(self) -> str:
        [user] = self.all("USER")
        return user.split(":")[0]

    @property
    def health_command(self) -> list[str]:
        """As it is run in the container."""
        return self.words("HEALTHCHECK")


def stages() -> list[Stage]:
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [Instruction(*line.split(None, 1)) for line in text.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line.name == "FROM"]
    return [
        Stage(lines[start:end])
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]


def build(stage: Stage, folder: Path) -> Path:
    """Run the steps of the build stage with its Python, in a folder instead of ``/``.

    Returns the environment that they made. Skips the test where the machine does not have that
    Python, or reaches no package index.
    """
    python = base_python()
    path = f"{python.parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ = {**kept, **stage.environ, "PATH": path}
    for step in stage.instructions:
        words = step.rest.split()
        if step.name == "COPY":
            _copy(REPOSITORY / words[0], folder, words[1])
        elif step.name == "RUN":
            _run_step(_in_folder(step.rest, folder), environ)
    return folder / "opt" / "taskflow"


def _copy(source: Path, folder: Path, destination: str) -> None:
    to = folder / destination.lstrip("/")
    if source.is_dir():
        shutil.copytree(source, to)
    else:
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, to)


def _run_step(script: str, environ: Mapping[str, str]) -> None:
    ended = subprocess.run(
        ["sh", "-ec", script], check=False, capture_output=True, text=True, env=environ
    )
    if ended.returncode and re.search(r"Failed to (establish|resolve)|Connection", ended.stderr):
        pytest.skip("no package index can be reached")
    assert ended.returncode == 0, ended.stderr


def _in_folder(script: str, folder: Path) -> str:
    return re.sub(r"(?<![\w.])/(opt/taskflow|build)\b", rf"{folder}/\1", script)


@contextlib.contextmanager
def contained(
    stage: Stage, folder: Path, settings: Mapping[str, str], built: Path | None = None
) -> Iterator[Running]:
    """Run what the image runs, as its user, where nothing can be written but its volume.

    Python and its packages are those of ``built``. Without it Python is the version that the image
    has, if ``run_tests.sh`` has found it on this machine, and the packages are those of the lock.
    Skips the test where that cannot be.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        pytest.skip("only root can make a place where nothing can be written")
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    passwd, log = folder / "passwd", folder / "log"
    passwd.write_text(f"taskflow:x:{stage.uid}:{stage.uid}::/:/bin/false\n")
    [volume] = stage.all("VOLUME")
    command = in_this_environment([*stage.words("ENTRYPOINT"), *stage.words("CMD")])
    environ = {**stage.environ, "PYTHONPATH": str(REPOSITORY), **OPEN_ENVIRON, **settings}
    if built is not None:
        command[0] = str(built / "bin" / "python")
        del environ["PYTHONPATH"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                CONTAINED,
                "sh",
                stage.uid,
                volume,
                passwd,
                *command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
        )
    try:
        yield Running(process, log, None)
    finally:
        kill_tree(process)


def in_this_environment(command: list[str]) -> list[str]:
    assert command[0] == "python"
    return [image_python(), *command[1:]]


def base_python() -> Path:
    """The Python of the version that the Dockerfile names, as its image has it."""
    script = f". tools/environment.sh; find_python {image_version()}"
    found = subprocess.run(
        ["bash", "-c", script], cwd=REPOSITORY, check=False, capture_output=True, text=True
    )
    if found.returncode:
        pytest.skip(f"this machine has no Python {image_version()}")
    program = [found.stdout.strip(), "-c", "import sys; print(sys.executable)"]
    path = subprocess.run(program, check=True, capture_output=True, text=True).stdout.strip()
    return Path(path).resolve()


def image_version() -> str:
    [version] = {re.match(r"python:([0-9.]+)-", one.all("FROM")[0])[1] for one in stages()}
    return version


@functools.cache
def image_python() -> str:
    """The Python of the version that the Dockerfile names, or that of this environment."""
    version = image_version()
    other = REPOSITORY / f".venv-{version}" / "bin" / "python"
    if version != "{}.{}".format(*sys.version_info) and other.exists():
        return str(other)
    print(f"the image has Python {version}, this is Python {sys.version}")
    return sys.executable
