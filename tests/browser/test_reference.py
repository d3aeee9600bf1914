"""The page at ``/docs`` in a real browser."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import KEYS

WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 400, "height": 800}


@pytest.fixture
def read(visit, service):
    """Opens the page, and waits until it looks as it does."""

    def open_page(**options):
        page = visit(service, "/docs", **{"viewport": WIDE, **options})
        page.wait_for_load_state("load")
        return page

    return open_page


@pytest.mark.parametrize("is_scripted", [True, False], ids=["scripts", "no scripts"])
def test_it_is_read(read, is_scripted):
    """From the contents to an operation, and from there to a type; scripts make no difference."""
    page = read(java_script_enabled=is_scripted)
    contents = page.get_by_role("navigation", name="Contents").first
    contents.get_by_role("link", name="POST /tasks", exact=True).click()
    assert page.url.endswith("#addTask")
    operation = page.locator("article:has(#addTask)")
    expect(operation.get_by_text("curl", exact=False).first).to_be_visible()
    expect(operation.get_by_role("rowheader", name="Idempotency-Key")).to_be_visible()
    operation.get_by_text("Example: request").click()
    expect(operation.get_by_text('"method": "PUT"', exact=False)).to_be_visible()
    operation.get_by_role("link", name="TaskRequest").first.click()
    expect(page.get_by_role("heading", name="TaskRequest", exact=True)).to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_schemes(read, scheme):
    """The background is light or dark, and the text contrasts with it."""
    page = read(color_scheme=scheme)
    ground, text = page.evaluate(
        """() => ['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name]
        .match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0))"""
    )
    assert (ground > text) == (scheme == "light")
    assert abs(ground - text) > 450


def test_it_is_fine_on_a_telephone(read):
    """With all examples open, the page needs no horizontal scrolling; the contents unfold."""
    page = read(viewport=NARROW)
    expect(page.get_by_role("navigation", name="Contents")).to_have_count(0)
    page.locator("summary", has_text="Contents").click()
    expect(page.get_by_role("navigation", name="Contents")).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    too_wide = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter((one) =>
        one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.hidden'))
        .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert too_wide == []


def test_with_the_keyboard_alone(read):
    """The first key leads past the menu, the next into the contents; examples open with Enter."""
    page = read()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="About")).to_be_focused()
    summary = page.locator("#addTask ~ details summary", has_text="urgent")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text('"priority": 10').first).to_be_visible()


def test_every_element_has_an_accessible_name(read):
    """Headings are in order; tables have captions, articles names, and nothing is without one."""
    page = read()
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3, h4')].map((one) => +one.tagName[1])"
    )
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for selector in (
        "table:not(:has(> caption))",
        "article:not([aria-labelledby]), section:not([aria-labelledby])",
        "a:empty, th:empty, summary:empty",
    ):
        assert page.locator(selector).count() == 0
    named = page.evaluate(
        """() => [...document.querySelectorAll('[aria-labelledby]')]
        .every((one) => document.getElementById(one.getAttribute('aria-labelledby')))"""
    )
    assert named


def test_signing_in_leads_to_it(visit, guarded):
    """A user who is not signed in signs in first, and then sees the page."""
    page = visit(guarded, "/docs")
    page.get_by_label("API key").fill(KEYS["read"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="API reference")).to_be_visible()
    page.get_by_role("link", name="Tasks", exact=True).first.click()
    page.get_by_role("link", name="API reference", exact=True).click()
    expect(page.get_by_role("heading", name="API reference")).to_be_visible()
