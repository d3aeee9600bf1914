"""A real Chromium, and services that it visits."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.browser.furnished import Furnished, open_furnished
from tests.browser.target import SlowTarget

KEYS = {role: f"key-that-may-{role}-and-no-more" for role in ("read", "write")}
PATIENCE_MILLISECONDS = 90_000
SIZE = {"width": 1100, "height": 800}
# Without the parts that only a window needs, it takes a third of the CPU.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser")

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's, without a window."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no chromium on this machine: apt-get install chromium-headless-shell")
    # Playwright wants asyncio's own loop, in place of which trio-asyncio has put another.
    policy = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    try:
        with sync_playwright() as playwright:
            # As root, as in most containers, Chromium has no sandbox. Without a window, a process
            # for the graphics only costs time.
            options = ["--no-sandbox", "--in-process-gpu", "--disable-gpu"]
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


@pytest.fixture(scope="package")
def furnished(postgres_server: str) -> Iterator[Furnished]:
    """A service with something to show on each page, for tests that change nothing."""
    with SlowTarget() as target, open_furnished(postgres_server, target) as furnished:
        yield furnished


class Tab:
    """A page that the tests use one after another, because a new one starts a process."""

    def __init__(self, browser: Browser, *, has_scripts: bool) -> None:
        self._context = browser.new_context(java_script_enabled=has_scripts)
        self._context.set_default_timeout(PATIENCE_MILLISECONDS)
        self._page = self._context.new_page()
        self._server = ""
        self._complaints: list[str] = []
        self._strangers: list[str] = []
        self._page.on("pageerror", lambda error: self._complaints.append(str(error)))
        self._page.on("dialog", lambda dialog: self._complaints.append(dialog.message))
        self._page.on(
            "console",
            lambda said: said.type in ("error", "warning") and self._complaints.append(said.text),
        )
        self._page.on(
            "request",
            lambda asked: asked.url.startswith(self._server) or self._strangers.append(asked.url),
        )

    def visit(self, server: LiveServer, path: str, size: Any, scheme: Any) -> Page:
        """Open this path of a server."""
        self._server = server.url
        self._page.set_viewport_size(size)
        self._page.emulate_media(color_scheme=scheme)
        self._page.goto(server.url + path, wait_until="domcontentloaded")
        return self._page

    def leave(self) -> tuple[list[str], list[str]]:
        """End the visit and its session; return complaints and URLs of other servers."""
        self._page.goto("about:blank")
        self._page.mouse.move(0, 0)
        self._context.clear_cookies()
        found = self._complaints, self._strangers
        self._complaints, self._strangers = [], []
        return found


@pytest.fixture(scope="package")
def tabs(browser: Browser) -> dict[bool, Tab]:
    """The page with scripts, and the one without."""
    return {has_scripts: Tab(browser, has_scripts=has_scripts) for has_scripts in (True, False)}


@pytest.fixture
def visit(tabs: dict[bool, Tab]) -> Iterator[Callable[..., Page]]:
    """Open pages; fail the test if a page logs an error or sends a request to another server."""

    def open_page(
        server: LiveServer,
        path: str = "/ui",
        *,
        java_script_enabled: bool = True,
        viewport: dict[str, int] = SIZE,
        color_scheme: str = "light",
    ) -> Page:
        return tabs[java_script_enabled].visit(server, path, viewport, color_scheme)

    yield open_page
    for complaints, strangers in [tab.leave() for tab in tabs.values()]:
        # The console also reports error statuses of pages, which the tests check themselves.
        reported = [text for text in complaints if "the server responded with a status" not in text]
        assert (reported, strangers) == ([], [])
