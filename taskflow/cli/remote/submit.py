"""``taskflow submit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from taskflow.cli.exit_status import Failure, complain
from taskflow.cli.remote.input_lines import STANDARD_INPUT, LineReader
from taskflow.cli.remote.remote_command import ask, service_options
from taskflow.cli.remote.submission import HandingIn
from taskflow.cli.remote.task_options import (
    REQUEST_NAMES,
    options_of,
    payload_of,
    request_options,
    task_options,
)
from taskflow.client.on_trio.client import Client
from taskflow.client.options import Submission


@click.command("submit")
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option(
    "--file", "-f", "path", metavar="FILE", help="Read lines from here; - is standard input."
)
@click.option("--wait", "-w", is_flag=True, help="Wait for all of them, and tell how they ended.")
@click.option("--json", "as_json", is_flag=True, help="Each task as JSON, one a line.")
@click.option(
    "--idempotency-key", metavar="KEY", help="Given again, makes no second task; for URLs."
)
@task_options
@request_options
@service_options
def submit_command(  # noqa: PLR0913 - each is an option
    *,
    urls: Sequence[str],
    path: str | None,
    wait: bool,
    as_json: bool,
    idempotency_key: str | None,
    service_url: str | None,
    timeout_seconds: float,
    **said: Any,
) -> int:
    """Hand in URLs, or lines of a file or a pipe.

    A line is a URL, or a JSON object with a payload, as POST /tasks takes it, in UTF-8; what it
    says goes before the options. Empty lines and lines that begin with # are passed over. Lines are
    handed in as they come, however many. Those that are refused are told by their number, and hold
    nobody up.

    The ids go to standard output, one a line. With --wait each task has a line when it has ended:
    id, status, the answer's status or the kind of error, and the error. Exit status 0 then means
    that all are COMPLETED.

    \b
      taskflow submit https://example.com/ https://example.org/ --tag customer=42
      taskflow submit https://example.com/orders -d '{"order": 4711}' -H 'X-Shop: 7' --wait
      taskflow submit -f urls.txt --queue crawl --max-attempts 3
      zcat urls.gz | taskflow submit - --wait > ended.tsv
    """
    if urls == (STANDARD_INPUT,) and path is None:
        urls, path = (), STANDARD_INPUT
    _check(urls, path, idempotency_key, said)
    options = options_of(said)
    handing_in = HandingIn(should_wait=wait, as_json=as_json)

    async def work(client: Client) -> int:
        if path is not None:
            return await handing_in.lines(client, LineReader(path), options)
        items = [Submission(payload_of(url, said), **options) for url in urls]
        return await handing_in.items(client, items, idempotency_key)

    try:
        return ask(service_url, timeout_seconds, work)
    except KeyboardInterrupt:
        complain(f"interrupted: {handing_in.told()}")
        raise
    except Failure as failure:
        if handing_in.has_begun:
            told = f"{failure.message} ({handing_in.told()})"
            raise Failure(told, failure.status) from None
        raise


def _check(
    urls: Sequence[str], path: str | None, idempotency_key: str | None, said: Mapping[str, Any]
) -> None:
    if bool(urls) == (path is not None):
        raise click.UsageError("give URLs, or a file by -f, or - for standard input")
    if path is None:
        return
    if idempotency_key is not None:
        raise click.UsageError("--idempotency-key is for URLs; each line is handed in once anyway")
    if any(said[name] for name in REQUEST_NAMES):
        raise click.UsageError("what requests say stands in the lines, as JSON objects")
