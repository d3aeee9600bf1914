"""The TypeScript client in a page of another origin: the built modules, as they are."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.browser.conftest import PATIENCE_MILLISECONDS
from tests.clients.npm import built_client
from tests.smoke import free_port

KEY = "key-of-a-page-of-another-origin"
RUN = """
async ([url, apiKey, target, closed]) => {
  const { Client, resultOf, Submission, Unprocessable, Unreachable } = await import("/index.js");
  const client = new Client(url, { apiKey });
  const failure = (promise) => promise.then(() => null, (error) => error);

  const stream = await client.iterEvents({ queue: "pages" }).connect();
  const task = await client.submit(target, { queue: "pages" });
  const statuses = [];
  for await (const event of stream) {
    statuses.push(event.status);
    if (event.status === "COMPLETED") break;
  }
  const done = await client.wait(task.id, { timeoutSeconds: 60 });

  const later = { delay_seconds: 3600, tags: { page: true } };
  const items = ["x:", "y:", "z:"].map((payload) => new Submission(payload, later));
  const many = [];
  for await (const one of client.submitMany(items)) many.push(one.task.id);
  const pages = [];
  for await (const one of client.iterTasks({ tags: later.tags }, { page: 2 })) pages.push(one.id);

  const invalid = await failure(client.submit(target, { priority: 1000 }));
  const nowhere = new Client(closed, { timeoutSeconds: 0.2 });
  const silent = await failure(nowhere.nodes());
  return {
    result: resultOf(done).status,
    statuses: statuses.at(-1),
    pages: JSON.stringify(pages) === JSON.stringify(many.reverse()),
    invalid: invalid instanceof Unprocessable && invalid.errors[0].pointer,
    silent: silent instanceof Unreachable && silent.isSent,
  };
}
"""


class _Handler(SimpleHTTPRequestHandler):
    """Serves the modules, and a page without content."""

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        body = b"<!doctype html><title>A page</title><link rel='icon' href='data:,'>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def origin() -> Iterator[str]:
    """Where the page comes from."""
    handler = functools.partial(_Handler, directory=str(built_client()))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        serving = threading.Thread(target=http.serve_forever, args=[0.05])
        serving.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        serving.join()


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    page = context.new_page()
    page.goto(origin, wait_until="domcontentloaded")
    yield page
    context.close()


def test_the_client_in_a_page(page, origin, target, postgres_server):
    """It submits, watches, waits, lists pages by Link, and maps errors; CORS allows all of that."""
    closed = f"http://127.0.0.1:{free_port()}"
    with (
        open_database(postgres_server) as database_url,
        LiveServer(database_url=database_url, key=KEY, cors_origins=(origin,)) as service,
    ):
        found: dict[str, Any] = page.evaluate(RUN, [service.url, KEY, target.url, closed])
    assert found == {
        "result": "200 OK",
        "statuses": "COMPLETED",
        "pages": True,
        "invalid": "#/priority",
        "silent": True,
    }
