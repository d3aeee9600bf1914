"""A service with several cells, for tests over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import psycopg
import trio

from taskflow.cell_service import add_cells
from taskflow.settings import Settings
from tests.databases import new_schemas
from tests.service.database import url_of

NAMES = ("a", "b", "c")


@contextlib.contextmanager
def cells_in(
    folder: Path, server: str, beside: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """The URLs of three cells by name: schemas of one database, and ``folder / "cells"``.

    Args:
        folder: Gets the file.
        server: The server of the database.
        beside: Schedules and topics, as ``schedule NAME`` and ``topic NAME``, that are in the cell
            of a queue: requests that need both would be rejected otherwise.
    """
    with new_schemas(server, NAMES) as conninfos:
        urls = dict(zip(NAMES, map(url_of, conninfos), strict=True))
        file = folder / "cells"
        file.write_text("".join(f"{name} {url}\n" for name, url in urls.items()))
        made = trio.run(add_cells, Settings(cells_file=str(file)), list(NAMES))
        stays = {key: made.home_of(queue) for key, queue in (beside or {}).items()}
        document = msgspec.json.encode(msgspec.structs.replace(made, stays=stays)).decode()
        for url in urls.values():
            with psycopg.connect(url) as connection:
                connection.execute("UPDATE taskflow_cell_map SET document = %s", [document])
        yield urls
