"""The pictures in the docs; ``./run_tests.sh tests/browser --screenshots`` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MIN_BYTES = 10_000


@pytest.fixture
def images(request, tmp_path) -> Path:
    return IMAGES if request.config.getoption("--screenshots") else tmp_path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_main_pages(visit, furnished, images, scheme):
    """Each page renders in both color schemes."""
    server, ids = furnished
    page = visit(server, "/ui", color_scheme=scheme, viewport={"width": 1280, "height": 800})
    for name, path in (
        ("overview", "/ui"),
        ("tasks", "/ui/tasks"),
        ("task", f"/ui/tasks/{ids['failed']}"),
        ("failures", "/ui/failures"),
        ("queue", "/ui/queues/orders"),
    ):
        page.goto(server.url + path, wait_until="domcontentloaded")
        if name not in ("task", "failures"):
            expect(page.locator("#live-state")).to_have_text("live")
        image = images / f"{name}-{scheme}.png"
        page.screenshot(path=image)
        assert image.stat().st_size > MIN_BYTES
