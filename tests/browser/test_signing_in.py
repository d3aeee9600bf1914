"""Signing in with a key, and what a session allows."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import KEYS


def sign_in(page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_sign_in_and_out(visit, guarded):
    """A user who opens a page must sign in first, and then sees that page."""
    page = visit(guarded, "/ui/tasks?status=FAILED")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, "no-such-key-at-all")
    expect(page.get_by_role("alert")).to_contain_text("Unknown API key")
    sign_in(page, KEYS["write"])
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    selected = page.get_by_label("States").get_by_role("link", name="Failed")
    expect(selected).to_have_attribute("aria-current", "page")
    expect(page.get_by_text("writeer")).to_be_visible()
    [cookie] = page.context.cookies(f"{guarded.url}/ui")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/ui")
    assert KEYS["write"] not in cookie["value"]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{guarded.url}/ui", wait_until="domcontentloaded")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_readers_see_no_buttons(visit, guarded):
    """A request without the button is rejected."""
    page = visit(guarded)
    sign_in(page, KEYS["read"])
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page.get_by_role("link", name="Submit")).to_have_count(0)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    output = page.evaluate(
        "fetch('/ui/submit', {method: 'POST', body: 'url=x'}).then((a) => a.status)"
    )
    assert output == 403


def test_pages_live_in_a_session(visit, guarded):
    """The stream of a page is authorized by the cookie."""
    page = visit(guarded, "/ui/tasks")
    sign_in(page, KEYS["write"])
    expect(page.locator("#live-state")).to_have_text("live")
