"""``taskflow submit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from taskflow.cli.exit_status import Failure, complain
from taskflow.cli.remote.input_lines import STANDARD_INPUT, LineReader
from taskflow.cli.remote.remote_service import RemoteService, service_options
from taskflow.cli.remote.submitter import Submitter
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
    "--file", "-f", "path", metavar="FILE", help="Read lines from a file; - is standard input."
)
@click.option("--wait", "-w", is_flag=True, help="Wait until the tasks are finished.")
@click.option("--json", "as_json", is_flag=True, help="Print each task as JSON, one per line.")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="Repeating the command with this key submits nothing new; for URLs only.",
)
@task_options
@request_options
@service_options
def submit_command(
    *,
    urls: Sequence[str],
    path: str | None,
    wait: bool,
    as_json: bool,
    idempotency_key: str | None,
    service: RemoteService,
    **options: Any,
) -> int:
    """Submit URLs, or the lines of a file or a pipe.

    A line is a URL, or a JSON object with a payload as in POST /tasks, in UTF-8. What a line sets
    takes precedence over the options. Empty lines and lines that begin with # are skipped. Lines
    are submitted as they are read, any number of them. Rejected lines are reported with their
    number, and the others are submitted.

    The ids are printed, one per line. With --wait a line is printed for each task when it is
    finished: id, status, the status code or the type of the error, and the error. Exit status 0
    then means that all tasks are COMPLETED.

    \b
      taskflow submit https://example.com/ https://example.org/ --tag customer=42
      taskflow submit https://example.com/orders -d '{"order": 4711}' -H 'X-Shop: 7' --wait
      taskflow submit -f urls.txt --queue crawl --max-attempts 3
      zcat urls.gz | taskflow submit - --wait > finished.tsv
    """
    if urls == (STANDARD_INPUT,) and path is None:
        urls, path = (), STANDARD_INPUT
    _check(urls, path, idempotency_key, options)
    task = options_of(options)
    submitter = Submitter(should_wait=wait, as_json=as_json)

    async def work(client: Client) -> int:
        if path is not None:
            return await submitter.submit_lines(client, LineReader(path), task)
        items = [Submission(payload_of(url, options), **task) for url in urls]
        return await submitter.submit_items(client, items, idempotency_key)

    try:
        return service.call(work)
    except KeyboardInterrupt:
        complain(f"interrupted: {submitter.progress_text()}")
        raise
    except Failure as failure:
        if submitter.has_begun:
            message = f"{failure.message} ({submitter.progress_text()})"
            raise Failure(message, failure.status) from None
        raise


def _check(
    urls: Sequence[str], path: str | None, idempotency_key: str | None, options: Mapping[str, Any]
) -> None:
    if bool(urls) == (path is not None):
        raise click.UsageError("give URLs, or a file with -f, or - for standard input")
    if path is None:
        return
    if idempotency_key is not None:
        raise click.UsageError("--idempotency-key is for URLs; each line is submitted once anyway")
    if any(options[name] for name in REQUEST_NAMES):
        raise click.UsageError("the lines describe the requests, as JSON objects")
