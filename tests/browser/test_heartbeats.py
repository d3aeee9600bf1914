"""The pages of heartbeats in a real browser: made, pinged, watched, changed and deleted."""

from __future__ import annotations

import json
import re
import uuid
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import KEYS


@pytest.fixture
def name() -> str:
    return f"job-{uuid.uuid4().hex[:8]}"


def put(server, name: str, headers=None, **fields) -> str:
    """The path of the ping URL of a heartbeat."""
    body = json.dumps({"every_seconds": 3600, **fields}).encode()
    answer = server.ask("PUT", f"/heartbeats/{name}", body, headers)
    assert answer.status in (200, 201), answer
    return urlsplit(answer.json["ping_url"]).path


def state(page, text: str):
    return page.locator("#region [role=status] .status", has_text=re.compile(f"^{text}$"))


def test_from_the_form_to_the_first_ping(visit, service, name):
    """A job that uses the URL of the page makes its heartbeat go up, without a reload."""
    page = visit(service, "/ui")
    page.get_by_role("link", name="Heartbeats").click()
    page.get_by_role("link", name="New heartbeat").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Description").fill("Nightly <b>backup</b>")
    page.get_by_label("Cron expression", exact=True).fill("30 2 * * *")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_role("button", name="Save").click()
    expect(state(page, "new")).to_be_visible()
    expect(page.get_by_text("Nightly <b>backup</b>")).to_be_visible()
    url = page.get_by_label("Ping URL").inner_text()
    expect(page.get_by_role("button", name="Copy").first).to_be_visible()
    page.evaluate("window.isTheSame = true")
    path = urlsplit(url).path
    assert service.ask("GET", f"{path}/start").status == 204
    expect(state(page, "running")).to_be_visible()
    assert service.ask("POST", f"{path}/3", b"line 1\nthe disk is full\n").status == 204
    expect(state(page, "down")).to_be_visible()
    page.locator("summary", has_text="line 1").click()
    expect(page.locator("td pre")).to_contain_text("the disk is full")
    assert service.ask("GET", path).status == 204
    expect(state(page, "up")).to_be_visible()
    assert page.evaluate("window.isTheSame === true")


def test_the_list_without_scripts(visit, service, name):
    """States, descriptions and times can be read, and what is down is named at the top."""
    assert service.ask("GET", put(service, f"{name}-a", description="sync") + "/fail").status == 204
    put(service, f"{name}-b", paused=True)
    page = visit(service, "/ui/heartbeats", java_script_enabled=False)
    row = page.get_by_role("row", name=f"{name}-a")
    expect(row).to_contain_text("down")
    expect(row).to_contain_text("sync")
    expect(row).to_contain_text("every 1 h")
    expect(page.get_by_role("row", name=f"{name}-b")).to_contain_text("paused")
    page.locator(".empty.bad").get_by_role("link", name=f"{name}-a").click()
    expect(page.get_by_role("heading", name=f"Heartbeat {name}-a")).to_be_visible()
    expect(page.get_by_text("a ping reported a failure")).to_be_visible()


def test_it_is_changed_and_deleted(visit, service, name):
    """Errors are beside their fields; the URL is replaced; pause, resume and delete."""
    before = put(service, name)
    page = visit(service, f"/ui/heartbeats/{name}")
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Grace time").fill("0")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Grace time")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Interval")).to_have_value("1 h")
    page.get_by_label("Grace time").fill("1 min 60s")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".facts")).to_contain_text("every 1 h, at most 2 min late")
    page.get_by_role("button", name="Pause").click()
    expect(state(page, "paused")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(state(page, "new")).to_be_visible()
    page.locator("summary", has_text="Replace the URL").click()
    page.get_by_role("button", name="Replace it").click()
    expect(page.get_by_label("Ping URL")).not_to_contain_text(before)
    assert service.ask("GET", before).status == 404
    page.locator("summary", has_text="Delete").click()
    page.get_by_role("button", name="Delete heartbeat").click()
    expect(page.get_by_role("heading", name="Heartbeats", exact=True)).to_be_visible()
    assert service.ask("GET", f"/heartbeats/{name}").status == 404


def test_a_reader(visit, guarded, name):
    """It sees the state, neither the URL nor buttons."""
    path = put(guarded, name, {"authorization": f"Bearer {KEYS['write']}"})
    page = visit(guarded, "/ui/sign-in")
    page.get_by_label("API key").fill(KEYS["read"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Heartbeats").click()
    expect(page.get_by_role("link", name="New heartbeat")).to_have_count(0)
    page.get_by_role("link", name=name).click()
    expect(state(page, "new")).to_be_visible()
    assert path.rpartition("/")[2] not in page.content()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
