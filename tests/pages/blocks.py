"""What a page is made of, as far as it is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

OF_BLOCKS = {
    "not run",
    "run by",
    "file",
    "stays",
    "ctrl-c",
    "until",
    "program",
    "shows",
    "terminal",
}
STEPS = {"stop", "see"}
OF_PAGES = {"needs"}

COMMENT = re.compile(r"\s*<!-- ([a-z][a-z -]*): (.+) -->\s*")
FENCE = re.compile(r"(\s*)(```+|~~~+)\s*(\S*)")


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        language: The word behind the fence; may be empty.
        lines: What is in it, without the indentation of its fence.
        first: The line of the page, from 0, on which that begins.
        notes: What the page says of it.
        indent: How its lines are indented on the page.
    """

    language: str
    lines: list[str]
    first: int
    notes: dict[str, str]
    indent: str = ""

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


class Step(NamedTuple):
    """Something that the reader does elsewhere than in a block."""

    kind: str
    text: str


class Example(NamedTuple):
    """A command, and what it is said to print: lines of the block from ``first`` up to ``last``."""

    command: str
    output: list[str]
    first: int
    last: int


Part: TypeAlias = Block | Step


def parts_of(lines: list[str]) -> list[Part]:
    """Blocks and steps, in the order in which a reader comes to them."""
    return list(_parts(lines))


def blocks_of(lines: list[str]) -> list[Block]:
    """The blocks alone."""
    return [part for part in parts_of(lines) if isinstance(part, Block)]


def needs_of(lines: list[str]) -> set[str]:
    """What the whole page is run against."""
    found = [
        comment[2]
        for line in lines
        if (comment := COMMENT.fullmatch(line)) and comment[1] == "needs"
    ]
    return {word.strip() for text in found for word in text.split(",")}


def _parts(lines: list[str]) -> Iterator[Part]:
    notes: dict[str, str] = {}
    numbered = iter(enumerate(lines))
    for n, line in numbered:
        if comment := COMMENT.fullmatch(line):
            kind, text = comment.groups()
            if kind in STEPS:
                yield Step(kind, text)
            elif kind in OF_BLOCKS:
                notes[kind] = text
            elif kind not in OF_PAGES:
                raise ValueError(f"line {n + 1}: a page may not say {kind!r}")
        elif fence := FENCE.match(line):
            indent, mark, language = fence.groups()
            inside = []
            for _, inner in numbered:
                if inner.strip() == mark:
                    break
                inside.append(inner.removeprefix(indent))
            else:
                raise ValueError(f"line {n + 1}: the block has no end")
            yield Block(language, inside, n + 1, notes, indent)
            notes = {}
        elif line.strip() and notes:
            raise ValueError(f"line {n + 1}: what was said above it is about no block")


def examples(block: Block) -> Iterator[Example]:
    """Each command of a console block."""
    lines = block.lines
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            raise ValueError(f"line {block.first + at + 1}: a console block begins with a command")
        command = [lines[at].removeprefix("$ ")]
        while command[-1].endswith("\\"):
            at += 1
            command.append(lines[at])
        first = last = at + 1
        while last < len(lines) and not lines[last].startswith("$ "):
            last += 1
        yield Example("\n".join(command), lines[first:last], first, last)
        at = last
