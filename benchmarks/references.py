"""The references for TaskFlow: the same libraries without a queue.

``python -m benchmarks.references NAME PORT`` serves ``POST /tasks`` on the loopback:

- ``quart``: a bare Quart-Trio route that reads the body and answers 201,
- ``hypercorn``: the same as a bare ASGI application, without Quart.

``python -m benchmarks.references fetches URL WORKERS COUNT`` prints, as JSON, how many fetches a
second as many tasks in a row as there are workers do over the project's transport, without a store,
and the CPU of each. They send what a worker would send, and are bounded in time as its fetches are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from quart import Response, request
from quart_trio import QuartTrio

from benchmarks.database import Database
from benchmarks.processes import REPOSITORY, clean_environ
from taskflow.engine.worker import identity_headers
from taskflow.fetch.http_fetcher import HttpFetcher, open_fetcher
from taskflow.fetch.interface import FetchRequest
from taskflow.model.outcome import Fetched
from taskflow.model.task import Claim
from taskflow.settings import Settings

FETCH_SECONDS = Settings().fetch_timeout_seconds
# As long as the response of TaskFlow to a new task.
DOCUMENT = b'{"id":"%s"}' % (b"x" * 400)


class Fetches(msgspec.Struct, frozen=True):
    """The throughput of fetches without a queue, and the CPU of each, in microseconds."""

    per_second: float
    cpu_us: float


def bare_fetches(
    target: str, *, workers: int, count: int, repository: Path = REPOSITORY
) -> Fetches:
    """Return what a process of its own reaches over kept connections.

    Args:
        target: The address of the target.
        workers: Number of concurrent fetches.
        count: Number of fetches.
        repository: Folder of the ``taskflow`` that fetches, such as an older commit.
    """
    command = [sys.executable, "-m", "benchmarks.references", "fetches", f"{target}/"]
    output = subprocess.run(
        [*command, str(workers), str(count)],
        check=True,
        capture_output=True,
        cwd=repository,
        env=clean_environ({"PYTHONPATH": os.pathsep.join(map(str, (repository, REPOSITORY)))}),
    ).stdout
    return msgspec.json.decode(output, type=Fetches)


def pgbench_inserts(database: Database, *, connections: int, seconds: float) -> float | None:
    """Return the rows per second of pgbench, each in a transaction; ``None`` without it."""
    program = shutil.which("pgbench")
    if program is None:
        return None
    database.do("CREATE TABLE rows (id bigserial PRIMARY KEY, payload json NOT NULL)")
    script = b"INSERT INTO rows (payload) VALUES ('\"http://127.0.0.1/\"');"
    command = [program, "-n", "-M", "prepared", "-f", "-", "-c", str(connections)]
    # The system's libpq may be older than TaskFlow's, and know fewer parameters.
    named = conninfo_to_dict(database.conninfo)
    conninfo = make_conninfo(
        "", **{name: named[name] for name in ("user", "dbname", "host", "port")}
    )
    command += ["-T", str(max(1, round(seconds))), conninfo]
    output = subprocess.run(command, input=script, check=True, capture_output=True).stdout
    [rate] = re.findall(rb"tps = ([0-9.]+)", output)
    return float(rate)


def quart_app() -> QuartTrio:
    """A route that stores nothing."""
    app = QuartTrio("bare")

    @app.post("/tasks")
    async def add() -> Response:
        await request.get_data(cache=False, as_text=False)
        return Response(DOCUMENT, status=201, content_type="application/json")

    return app


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """The same without Quart."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(DOCUMENT))]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": DOCUMENT})


async def serve_bare(name: str, port: str) -> None:
    """Serve one of the two with an unchanged Hypercorn."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    app: Any = quart_app() if name == "quart" else asgi_app
    await serve(app, config)


async def fetch_all(url: str, workers: int, count: int) -> Fetches:
    """Fetch for each worker in a row, once the connections are open."""
    settings = Settings(workers=workers, allow_networks=("127.0.0.0/8",), allow_ports=("1-65535",))
    async with open_fetcher(settings) as fetcher:
        await _fetch_at_once(fetcher, url, workers, 1)
        began, cpu_began = time.monotonic(), time.process_time()
        await _fetch_at_once(fetcher, url, workers, count // workers)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu_began
        fetched = count // workers * workers
        return Fetches(fetched / seconds, cpu / fetched * 1e6)


async def _fetch_at_once(fetcher: HttpFetcher, url: str, workers: int, each: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(_fetch_in_a_row, fetcher, url, each)


async def _fetch_in_a_row(fetcher: HttpFetcher, url: str, count: int) -> None:
    request = FetchRequest(url)
    claim = Claim(uuid.uuid4(), uuid.uuid4(), msgspec.Raw(), attempt=1, max_attempts=1)
    request = msgspec.structs.replace(request, headers=identity_headers(claim, request))
    for _ in range(count):
        with trio.fail_after(FETCH_SECONDS):
            outcome = await fetcher.fetch(request)
        assert isinstance(outcome, Fetched), outcome


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    if name == "fetches":
        url, workers, count = arguments
        fetches = trio.run(partial(fetch_all, url, int(workers), int(count)))
        print(msgspec.json.encode(fetches).decode())
    else:
        trio.run(serve_bare, name, arguments[0])
