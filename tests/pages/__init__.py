"""The documentation, run: ``python -m tests.pages [PAGE ...]`` writes what its commands print anew.

Each fenced block of a page is run, or at least read by what would read it, or its page says why
not. It does so, and says what a block needs, by comments that are not seen when it is shown:

    <!-- needs: service, httpbin -->       once: what the whole page is run against (``place.py``)
    <!-- not run: why -->                  before a block that cannot be run here
    <!-- run by: tests/test_x.py -->       before one that another test runs
    <!-- file: NAME -->                    before one that a reader saves by this name
    <!-- stays: NAME -->                   before a command that goes on, in a terminal of its own
    <!-- ctrl-c: WORDS -->                 before a command that is ended once it has printed them
    <!-- terminal: 110 -->                 before commands that print for a terminal so wide
    <!-- until: so -->                     before commands that a reader repeats until it is so
    <!-- shows: NAME -->                   before what the terminal of that name shows by then
    <!-- program: NAME -->                 before a block that is passed over where it is missing
    <!-- stop: NAME -->                    by itself: Ctrl+C in the terminal of that name
    <!-- see: URL | WORDS | ... -->        by itself: what to open in a browser, and what is there

In what a command is said to print, a line ``...`` stands for any number of lines.
"""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def all_pages() -> list[Path]:
    """What is written for people, with code in it."""
    top = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")]
    clients = sorted((REPOSITORY / "clients").glob("*/README.md"))
    return [*top, *sorted((REPOSITORY / "docs").rglob("*.md")), *clients]


def name_of(page: Path) -> str:
    """Where it is in the repository."""
    return page.relative_to(REPOSITORY).as_posix()
