"""The README's chapter on the API, run: each command against a live service, its output compared.

``python -m tests.readme`` writes the outputs of a run into the README, to be read over afterwards.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer
from tests.smoke import local_httpbin

DOCS = Path(__file__).parents[1] / "docs"
README, PYTHON = DOCS / "api-by-example.md", DOCS / "python.md"
CHAPTER = "## Hand in a task, and read it"
# Where the README says that they are.
SERVICE, HTTPBIN = "localhost:8080", "localhost:8081"
COMMAND_SECONDS = 30.0

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# These are the same in every run; other numbers only have to be numbers.
EXACT = {"status", "status_code", "priority", "attempt", "max_attempts", "number", "index", "count"}
EXACT |= {"added", "refused", "size"}
VOLATILE = (
    (ID, "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT"), "DATE"),
    (re.compile(r"[0-9a-f]{24}"), "TAG"),
    (re.compile(r"v1,[A-Za-z0-9+/]{43}="), "SIGNATURE"),
    (re.compile(r"cursor=[\w-]+"), "CURSOR"),
    (re.compile(r"\d+"), "N"),
)


class Example(NamedTuple):
    """A command, what it is said to print, and the lines of the README that say so."""

    command: str
    output: list[str]
    first: int
    last: int


def chapter(lines: list[str]) -> range:
    """The lines of the chapter."""
    return range(lines.index(CHAPTER), len(lines))


def examples(lines: list[str]) -> Iterator[Example]:
    """Every command of the chapter."""
    place = iter(chapter(lines))
    for n in place:
        if not lines[n].startswith("$ "):
            continue
        command = [lines[n].removeprefix("$ ")]
        while command[-1].endswith("\\"):
            command.append(lines[next(place)])
        first = last = n + len(command)
        while not lines[last].startswith(("$ ", "```")):
            last += 1
        yield Example("\n".join(command), lines[first:last], first, last)


def python_blocks(lines: list[str]) -> list[str]:
    """Every example in Python."""
    return re.findall(r"^```python\n(.*?)^```$", "\n".join(lines), re.MULTILINE | re.DOTALL)


class Session:
    """Nodes and an httpbin, and the commands that were run against them, on each node in turn."""

    def __init__(self, nodes: Sequence[str], httpbin: str, folder: str) -> None:
        self._nodes = itertools.cycle(nodes)
        self._httpbin = httpbin
        self._folder = folder
        self._ids: dict[str, str] = {}

    def translated(self, text: str) -> str:
        """The same with the real places."""
        return text.replace(SERVICE, next(self._nodes)).replace(HTTPBIN, self._httpbin)

    def run(self, example: Example) -> list[str]:
        """What the command prints now, with the README's names for both places."""
        command = example.command
        places = {SERVICE: next(self._nodes), HTTPBIN: self._httpbin}
        for said, real in (*places.items(), *self._ids.items()):
            command = command.replace(said, real)
        ended = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            cwd=self._folder,
            env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
        )
        output = ended.stdout.replace("\r", "")
        for said, real in places.items():
            output = output.replace(real, said)
        self._learn(example, output)
        for said, real in self._ids.items():
            output = output.replace(real, said)
        return output.splitlines()

    def _learn(self, example: Example, output: str) -> None:
        """The ids of the README stand for those of this run, in the order in which they came."""
        said = dict.fromkeys(ID.findall("\n".join(example.output)))
        real = dict.fromkeys(ID.findall(output))
        self._ids |= dict(zip(said, real, strict=False))


def shape_of(lines: list[str]) -> list[Any]:
    """Lines without what differs from run to run."""
    whole = _json("\n".join(lines))
    if whole is not None:
        return [_shape("", whole)]
    return [_line_shape(line) for line in lines]


def _line_shape(line: str) -> Any:
    field, data, rest = line.partition("data: ")
    found = _json(rest if data and not field else line)
    if found is not None:
        return _shape("", found)
    if line.startswith("HTTP/"):
        return line.strip()
    return _stable(line)


def _json(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict | list) else None


def _shape(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shape(name, inner) for inner in value]
    if isinstance(value, str):
        return "NODE" if name == "node" else _stable(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and name not in EXACT:
        return "NUMBER"
    return value


def _stable(text: str) -> str:
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    return text


@contextlib.contextmanager
def live(database_url: str, nodes: int = 1) -> Iterator[Session]:
    """A service of so many nodes, an httpbin beside it, and a folder to run commands in."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="taskflow-readme-"))
        httpbin = stack.enter_context(local_httpbin())
        servers = [stack.enter_context(LiveServer(database_url=database_url)) for _ in range(nodes)]
        places = [server.url.removeprefix("http://") for server in servers]
        yield Session(places, httpbin.removeprefix("http://"), folder)


def refresh() -> None:
    """Run the chapter and write what its commands print into the README."""
    lines = README.read_text("utf-8").splitlines()
    fresh: list[tuple[Example, list[str]]] = []
    with live(MEMORY_URL) as session:
        for example in examples(lines):
            output = session.run(example)
            sys.stderr.write(f"$ {example.command}\n" + "".join(f"{line}\n" for line in output))
            fresh.append((example, output))
    for example, output in reversed(fresh):
        lines[example.first : example.last] = output
    README.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    refresh()
