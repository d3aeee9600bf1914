"""Every page: WCAG 2.2 AA, no horizontal scrolling, and a picture of it.

Look at the pictures when a page changes: ``--basetemp=pictures`` keeps them there.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from tests.browser.accessibility import axe_core, violations
from tests.browser.shown_pages import PAGES, ShownPage

SIZES = {400: {"width": 400, "height": 800}, 1280: {"width": 1280, "height": 800}}
WIDTHS = (320, 400, 560, 700, 800, 872, 900, 980, 1000, 1050, 1080, 1100, 1200, 1280, 1440)
WIDE = {"width": 1800, "height": 1000}
SCHEMES = ("light", "dark")
# The boxes of an element that is broken into two lines are two.
BROKEN_VALUES = """
() => [...document.querySelectorAll('time, .status, .number, th a')]
.filter((one) => !one.closest('.target') && one.textContent.length < 40)
.filter((one) => {
  const range = document.createRange();
  range.selectNodeContents(one);
  const tops = [...range.getClientRects()].map((box) => Math.round(box.bottom));
  return Math.max(...tops) - Math.min(...tops) > 12;
}).map((one) => one.outerHTML)
"""
OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"


class View(NamedTuple):
    """A page in a size and a color scheme."""

    shown: ShownPage
    width: int
    scheme: str

    def __str__(self) -> str:
        return f"{self.shown.name}-{self.width}-{self.scheme}"

    @property
    def is_ordinary(self) -> bool:
        """Whether an ordinary run tests it: each page once, every other one narrow and dark."""
        wanted = ((1280, "light"), (400, "dark"))[PAGES.index(self.shown) % 2]
        return (self.width, self.scheme) == wanted and not self.shown.is_long


VIEWS = [View(*parts) for parts in itertools.product(PAGES, SIZES, SCHEMES)]
VARIANTS = [
    pytest.param(view, id=str(view), marks=() if view.is_ordinary else pytest.mark.long)
    for view in VIEWS
]


@pytest.fixture(scope="module")
def script() -> str:
    return axe_core()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.mark.parametrize("view", VARIANTS)
def test_a_page(visit, furnished, script, pictures, view: View):
    """It follows WCAG 2.2 AA and needs no horizontal scrolling; if dark, with all details open."""
    path, size = view.shown.path_with(furnished.ids), SIZES[view.width]
    page = visit(furnished.server, path, viewport=size, color_scheme=view.scheme)
    if view.scheme == "dark":
        page.evaluate(OPEN_ALL)
    page.screenshot(path=pictures / f"{view}.png", full_page=view.shown.name != "api-reference")
    found = violations(page, script)
    assert not found, "\n".join(found[:20])
    assert page.evaluate("document.documentElement.scrollWidth") <= view.width
    assert page.evaluate(BROKEN_VALUES) == []


@pytest.mark.long
@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
def test_a_wide_screen(visit, furnished, pictures, shown: ShownPage):
    """Tables use all of it."""
    page = visit(furnished.server, shown.path_with(furnished.ids), viewport=WIDE)
    page.screenshot(path=pictures / f"{shown.name}-1800-light.png")
    for table in page.locator("main > table, #region > table").all():
        assert table.bounding_box()["width"] > 0.8 * WIDE["width"]


@pytest.mark.long
@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
def test_each_width(visit, furnished, shown: ShownPage):
    """No page needs horizontal scrolling, from the width that WCAG 1.4.10 asks for on."""
    page = visit(furnished.server, shown.path_with(furnished.ids))
    for is_open in (False, True):
        if is_open:
            page.evaluate(OPEN_ALL)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            needed = page.evaluate("document.documentElement.scrollWidth")
            assert needed <= width, (width, is_open)


def test_signing_in(visit, guarded, script):
    """The only page before a session."""
    page = visit(guarded, "/ui")
    found = violations(page, script)
    assert not found, "\n".join(found[:20])
