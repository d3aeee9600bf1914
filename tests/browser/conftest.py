"""A real Chromium, and services that it visits."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.browser.target import SlowTarget

KEYS = {role: f"key-that-may-{role}-and-no-more" for role in ("read", "write")}
PATIENCE_MILLISECONDS = 90_000

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's, without a window."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    # Playwright wants asyncio's own loop, in place of which trio-asyncio has put another.
    policy = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    try:
        with sync_playwright() as playwright:
            # As root, as in most containers, Chromium has no sandbox. Without a window, a process
            # for the graphics only costs time.
            options = ["--no-sandbox", "--in-process-gpu"]
            browser = playwright.chromium.launch(executable_path=path, args=options)
            yield browser
            browser.close()
    finally:
        asyncio.set_event_loop_policy(policy)


@pytest.fixture(scope="module")
def target() -> Iterator[SlowTarget]:
    with SlowTarget() as target:
        yield target


@pytest.fixture(scope="module")
def service(postgres_server: str) -> Iterator[LiveServer]:
    """A service without keys, on PostgreSQL."""
    with open_database(postgres_server) as url, LiveServer(database_url=url) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(postgres_server: str) -> Iterator[LiveServer]:
    """A service with a read key and a write key."""
    keys = ",".join(f"{role}er:{role}:{key}" for role, key in KEYS.items())
    with (
        open_database(postgres_server) as url,
        LiveServer(database_url=url, api_keys=keys) as server,
    ):
        yield server


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages; fail the test if a page logs an error or sends a request to another server."""
    opened: list[tuple[BrowserContext, list[str], list[str]]] = []

    def open_page(server: LiveServer, path: str = "/ui", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **options})
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        complaints: list[str] = []
        strangers: list[str] = []
        opened.append((context, complaints, strangers))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "console",
            lambda said: said.type in ("error", "warning") and complaints.append(said.text),
        )
        page.on(
            "request",
            lambda asked: asked.url.startswith(server.url) or strangers.append(asked.url),
        )
        page.goto(server.url + path, wait_until="domcontentloaded")
        return page

    yield open_page
    for context, complaints, strangers in opened:
        context.close()
        # The console also reports error statuses of pages, which the tests check themselves.
        reported = [text for text in complaints if "the server responded with a status" not in text]
        assert (reported, strangers) == ([], [])
