"""Runs pages and writes what their commands print: ``python -m tests.pages [PAGE ...]``.

What it writes is to be read over afterwards: it may show a fault as well as a change.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.api.conftest import open_database
from tests.conftest import EmbeddedInThread
from tests.folders import open_folder
from tests.pages import all_pages, name_of
from tests.pages.running import Difference, run_page
from tests.pages.shapes import ELLIPSIS
from tests.smoke import local_httpbin


def refresh(page: Path, server: str, httpbin: str) -> None:
    """Write the outputs of a run into the page, where they differ from what it says."""
    lines = page.read_text("utf-8").splitlines()
    with open_database(server) as url:
        found = run_page(page, url, httpbin)
    for difference in sorted(found, key=lambda one: one.first, reverse=True):
        _tell(page, difference)
        if difference.first and ELLIPSIS not in lines[difference.first : difference.last]:
            printed = [difference.indent + line for line in difference.printed]
            lines[difference.first : difference.last] = printed
    page.write_text("\n".join(lines) + "\n", "utf-8")


def _tell(page: Path, difference: Difference) -> None:
    sys.stderr.write(f"{name_of(page)}:{difference.first + 1}\n{difference}\n\n")


def main() -> None:
    """Write the outputs of all pages, or of the named ones."""
    pages = [Path(name).resolve() for name in sys.argv[1:]] or all_pages()
    with (
        open_folder() as folder,
        EmbeddedInThread(folder / "data") as server,
        local_httpbin() as httpbin,
    ):
        for page in pages:
            refresh(page, server, httpbin)


main()
