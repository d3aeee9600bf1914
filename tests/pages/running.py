"""A page, run from its beginning to its end as a reader does."""

from __future__ import annotations

import configparser
import contextlib
import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from taskflow.model.signature import Signer, secret_of
from tests.loopback import SECRET
from tests.pages import REPOSITORY
from tests.pages.blocks import Block, Example, Step, examples, needs_of, parts_of
from tests.pages.place import Place, open_place
from tests.pages.reading import READERS
from tests.pages.shapes import ELLIPSIS, are_alike, is_begun
from tests.pages.terminals import Terminals, open_terminals
from tests.smoke import DIRECT

RUN = {"console", "python", "sql"}
REASON_WORDS = 3
UNTIL_SECONDS = 30.0
PAUSE_SECONDS = 0.2
LOGGED = re.compile(r"\d{4}-\d\d-\d\dT|\d{4}-\d\d-\d\d ")  # by services in this very process


class Difference(NamedTuple):
    """What a page says and what came instead, of the lines ``first`` up to ``last`` of the page."""

    what: str
    printed: list[str]
    first: int
    last: int
    indent: str = ""

    def __str__(self) -> str:
        return "\n".join([self.what, *self.printed])


def fault_of(block: Block) -> str | None:
    """Return why this block is neither run nor explained, or why its explanation is invalid."""
    if reason := block.notes.get("not run"):
        return None if len(reason.split()) >= REASON_WORDS else "that is no reason"
    if test := block.notes.get("run by"):
        return None if (REPOSITORY / test).exists() else f"there is no {test}"
    if block.language in RUN or block.language in READERS or "file" in block.notes:
        return None
    return f"{block.language or 'a block without a language'} is neither run nor read"


def run_page(page: Path, database_url: str | None, httpbin: str = "") -> list[Difference]:
    """Run a page.

    Args:
        page: The file.
        database_url: Where its service keeps its tasks.
        httpbin: The URL of its target.

    Returns:
        All that is not as the page says.
    """
    lines = page.read_text("utf-8").splitlines()
    parts = [part for part in parts_of(lines) if isinstance(part, Step) or _is_done_here(part)]
    if not parts:
        return []
    with (
        open_place(needs_of(lines), database_url, httpbin) as place,
        open_terminals(place) as terminals,
    ):
        return list(Reader(page, place, terminals).read(parts))


def _is_done_here(block: Block) -> bool:
    program = block.notes.get("program")
    return not block.notes.keys() & {"not run", "run by"} and (
        program is None or shutil.which(program) is not None
    )


class Reader:
    """Who does what the page says, one after the other."""

    def __init__(self, page: Path, place: Place, terminals: Terminals) -> None:
        self._page = page
        self._place = place
        self._terminals = terminals
        self._names: dict[str, object] = received_callback()

    def read(self, parts: list[Block | Step]) -> Iterator[Difference]:
        """All that is not as the page says."""
        for part in parts:
            if isinstance(part, Step):
                yield from self._step(part)
            elif name := part.notes.get("file"):
                yield from _check(part)
                self._save(name, part.text)
            elif name := part.notes.get("shows"):
                yield from self._shows(name, part)
            elif part.language == "console":
                yield from self._console(part)
            elif part.language == "python":
                yield from self._python(part)
            elif part.language == "sql":
                yield from self._sql(part)
            else:
                yield from _check(part)

    def _step(self, step: Step) -> Iterator[Difference]:
        if step.kind == "stop":
            self._terminals.stop(step.text)
            return
        url, *words = [one.strip() for one in step.text.split("|")]
        deadline = time.monotonic() + UNTIL_SECONDS
        while missing := [word for word in words if word not in self._seen(url)]:
            if time.monotonic() > deadline:
                yield Difference(f"{url} does not show {missing}", [], 0, 0)
                return
            time.sleep(PAUSE_SECONDS)

    def _seen(self, url: str) -> str:
        try:
            with DIRECT.open(self._place.real(url), timeout=10) as answer:
                return self._place.said(answer.read().decode())
        except OSError as error:
            return str(error)

    def _save(self, name: str, text: str) -> None:
        file = self._place.checkout / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._place.real(text), "utf-8")

    def _console(self, block: Block) -> Iterator[Difference]:
        for example in examples(block):
            printed = self._printed(example, block.notes)
            alike = is_begun if "stays" in block.notes else are_alike
            if not alike(example.output, printed):
                first = block.first + example.first
                last = block.first + example.last
                yield Difference(f"$ {example.command}", printed, first, last, block.indent)

    def _shows(self, name: str, block: Block) -> Iterator[Difference]:
        """These lines are in that terminal, or come to be within the time."""
        printed = self._terminals.look(name, [ELLIPSIS, *block.lines])
        if not is_begun([ELLIPSIS, *block.lines], printed.splitlines()):
            last = block.first + len(block.lines)
            tail = printed.splitlines()[-len(block.lines) :]
            yield Difference(f"in the terminal of {name}", tail, block.first, last, block.indent)

    def _printed(self, example: Example, notes: dict[str, str]) -> list[str]:
        if name := notes.get("stays"):
            printed = self._terminals.start(name, example.command, example.output)
        elif words := notes.get("ctrl-c"):
            printed = self._terminals.interrupt_after(example.command, words)
        else:
            printed = self._run(example, notes)
        self._place.learn("\n".join(example.output), printed)
        return self._place.said(printed).splitlines()

    def _run(self, example: Example, notes: dict[str, str]) -> str:
        deadline = time.monotonic() + UNTIL_SECONDS
        while True:
            printed = self._terminals.run(example.command, notes.get("terminal"))
            is_last = "until" not in notes or time.monotonic() > deadline
            if is_last or are_alike(example.output, printed.splitlines()):
                return printed
            time.sleep(PAUSE_SECONDS)

    def _sql(self, block: Block) -> Iterator[Difference]:
        """The database executes it; a last line ``-- ERROR:  TF422: ...`` is its error."""
        said = re.search(r"^-- ERROR:  (.*)$", block.text, re.MULTILINE)
        printed = self._place.execute(block.text)
        if printed != (said[1] if said else ""):
            yield Difference(block.text, [printed], 0, 0)

    def _python(self, block: Block) -> Iterator[Difference]:
        """It runs, and prints what is said beside each ``print``."""
        comments = re.findall(r"^\s*print\(.*\)  # (.*)$", block.text, re.MULTILINE)
        output = [line for comment in comments for line in re.split(r", (?=#)", comment)]
        program = compile(self._place.real(block.text), str(self._page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(program, self._names)
        lines = self._place.said(out.getvalue()).splitlines()
        printed = [line for line in lines if not LOGGED.match(line)]
        if not are_alike(output, printed):
            yield Difference(block.text, printed, 0, 0)


def _check(block: Block) -> Iterator[Difference]:
    """What is read rather than run."""
    try:
        if block.language == "python":
            compile(block.text, "a block", "exec")
        elif reader := READERS.get(block.language):
            reader(block.text)
    except (SyntaxError, ValueError, yaml.YAMLError, configparser.Error) as error:
        yield Difference(f"{block.text}cannot be read: {error}", [], 0, 0)


def received_callback() -> dict[str, object]:
    """What the receiver of a callback has, for blocks that verify one."""
    body = b'{"status": "COMPLETED"}'
    fields = Signer([secret_of(SECRET)]).headers("id", body, timestamp=int(time.time()))
    return {"secret": SECRET, "headers": dict(fields), "body": body, "__name__": "page"}
