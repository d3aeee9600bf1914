"""A page says how old its data is, and never shows old data without saying so."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.browser.accessibility import axe_core, violations
from tests.browser.conftest import PATIENCE_MILLISECONDS
from tests.smoke import free_port

STREAM = re.compile("/ui/live")
LOST = re.compile(r"Connection lost\. Data from \d\d:\d\d:\d\d UTC\.")


@pytest.fixture
def tab(browser):
    """A tab whose console may report failed connections."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    yield context.new_page()
    context.close()


def test_a_lost_connection_is_reported(tab, postgres_server):
    """While the service is stopped, the page says so; when it runs again, the page is current."""
    bind = f"127.0.0.1:{free_port()}"
    later = json.dumps({"payload": "no url", "delay_seconds": 3600, "queue": "later"}).encode()
    with open_database(postgres_server) as url:
        with LiveServer(database_url=url, bind=bind) as server:
            address = server.url
            tab.goto(f"{address}/ui/tasks", wait_until="domcontentloaded")
            expect(tab.locator("#live-state")).to_have_text("live")
            expect(tab.locator("#loaded")).to_be_hidden()
            expect(tab.get_by_role("alert")).to_have_count(0)
            loaded_at = tab.evaluate("freshness.at")
        expect(tab.get_by_role("alert")).to_have_text(re.compile(LOST.pattern + " Reload"))
        expect(tab.locator("#live-state")).to_have_text("connecting")
        assert tab.evaluate("freshness.at") >= loaded_at
        with LiveServer(database_url=url, bind=bind) as server:
            assert server.post(later).status == 201
            expect(tab.get_by_role("alert")).to_have_count(0)
            expect(tab.locator("#live-state")).to_have_text("live")
            expect(tab.locator("tbody tr")).to_have_count(1)


def test_a_stream_that_is_rejected_is_tried_again(tab, service):
    """A proxy answers 502 while the service restarts, after which browsers do not try again."""
    answers = iter([502, 502])

    def reject(route):
        status = next(answers, None)
        if status is None:
            route.continue_()
        else:
            route.fulfill(status=status, body="bad gateway")

    tab.route(STREAM, reject)
    tab.goto(f"{service.url}/ui", wait_until="domcontentloaded")
    expect(tab.get_by_role("alert")).to_have_text(re.compile(LOST.pattern))
    expect(tab.locator("#live-state")).to_have_text("live")
    expect(tab.get_by_role("alert")).to_have_count(0)


def test_an_outage_of_the_database_is_reported(tab, service):
    """The connection is open, but its data is old."""
    stream = 'event: current\ndata: "2026-11-27T14:03:22.000Z"\n\nevent: outage\ndata: {}\n\n'
    tab.route(
        STREAM,
        lambda route: route.fulfill(body=stream, content_type="text/event-stream"),
        times=1,
    )
    tab.goto(f"{service.url}/ui", wait_until="domcontentloaded")
    expect(tab.get_by_role("alert")).to_have_text(
        "The database does not respond. Data from 14:03:22 UTC. Reload"
    )
    assert violations(tab, axe_core()) == []
    expect(tab.get_by_role("alert")).to_have_count(0)  # after the next connection


def test_cells_that_do_not_answer_are_named(tab, service):
    """While they do not; their data is missing in the page."""
    stream = 'event: missing\ndata: ["west", "east"]\n\n'
    tab.route(
        STREAM,
        lambda route: route.fulfill(body=stream, content_type="text/event-stream"),
        times=1,
    )
    tab.goto(f"{service.url}/ui", wait_until="domcontentloaded")
    banner = tab.get_by_text("Some data is missing: no answer from west, east")
    expect(banner).to_be_visible()
    expect(banner).to_be_hidden()  # after the next connection


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_page_that_is_not_live_says_when_it_was_loaded(visit, service, has_scripts):
    """It can be loaded again; without scripts, that holds for every page."""
    path = "/ui/groups?limit=7" if has_scripts else "/ui/tasks?limit=7"
    page = visit(service, path, java_script_enabled=has_scripts)
    expect(page.locator("#loaded")).to_have_text(re.compile(r"Loaded \d\d:\d\d:\d\d Reload"))
    page.get_by_role("link", name="Reload").click()
    expect(page.locator("#loaded")).to_be_visible()
    assert page.url == service.url + path
