"""The pages of alerts in a real browser: created, tested, silenced, changed and deleted."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import expect

SECRET = "the-secret-of-a-channel"


@pytest.fixture
def name() -> str:
    return f"alert-{uuid.uuid4().hex[:8]}"


def test_from_the_form_to_the_end(visit, service, name):
    """Everything works without scripts, and the secret of the form is not shown afterwards."""
    page = visit(service, "/ui", java_script_enabled=False)
    page.get_by_role("link", name="Alerts").click()
    page.get_by_role("link", name="Tasks wait too long").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Notify", exact=True).fill(f"slack http://127.0.0.1:9/{SECRET}")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("after_seconds is missing")
    page.get_by_label("After seconds").fill("600")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name=f"Alert {name}")).to_be_visible()
    assert SECRET not in page.content()
    page.get_by_role("button", name="Send a test").click()
    row = page.get_by_role("row", name=re.compile("Test: "))
    expect(row.get_by_role("link", name="1")).to_be_visible()
    page.get_by_label("Silence for").select_option("24")
    page.get_by_role("button", name="Silence").click()
    expect(page.get_by_role("status").first).to_contain_text("silenced until")
    page.get_by_role("button", name="End silence").click()
    expect(page.get_by_role("button", name="Silence")).to_be_visible()
    page.get_by_text("Thresholds, destinations and period").click()
    expect(page.get_by_label("Notify", exact=True)).to_have_value(re.compile(r"\*\*\*-[0-9a-f]{8}"))
    page.get_by_label("After seconds").fill("900")
    page.get_by_label("Paused").select_option("yes")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("paused")
    expect(page.get_by_text("15 min", exact=True)).to_be_visible()
    page.goto(f"{service.url}/ui/alerts")
    expect(page.get_by_role("row", name=name)).to_contain_text("paused")
    page.get_by_role("link", name=name).click()
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete alert").click()
    expect(page.get_by_role("heading", name="Alerts", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name=name)).to_have_count(0)
