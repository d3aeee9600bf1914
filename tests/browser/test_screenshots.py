"""The pictures in the docs; ``./run_tests.sh tests/browser --screenshots`` writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.api.conftest import open_database
from tests.api.live import LiveServer

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MIN_BYTES = 10_000


@pytest.fixture
def images(request, tmp_path) -> Path:
    return IMAGES if request.config.getoption("--screenshots") else tmp_path


@pytest.fixture
def busy(postgres_server, target):
    """A service with tasks of several kinds, and statistics of a busy hour in its database."""
    with open_database(postgres_server) as url, LiveServer(database_url=url) as server:
        fill(server, target)
        with_an_hour(url)
        yield server


def fill(server, target) -> None:
    def put(path, body):
        assert server.ask("PUT", path, json.dumps(body).encode()).status == 201

    rate = {"per_second": 5, "burst": 10}
    put("/queues/mail", {"rate": rate, "max_concurrency": 3, "per_host": {"max_concurrency": 2}})
    put("/queues/reports", {"paused": True})
    task = {"payload": f"{target.url}/reports/daily"}
    put(
        "/schedules/nightly-report",
        {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "task": task},
    )
    put("/schedules/heartbeat", {"every_seconds": 300, "task": task})
    for number in range(12):
        body = {"payload": f"{target.url}/orders/{4700 + number}", "queue": "orders"}
        server.post(json.dumps(body).encode())
    for body in (
        {"payload": f"{target.url}/reports/weekly", "queue": "reports"},
        {"payload": "htp://example.com/typo", "queue": "mail"},
        {
            "payload": f"{target.url}/down",
            "queue": "mail",
            "max_attempts": 4,
            "backoff": [0.2, 0.4, 0.6],
        },
    ):
        server.post(json.dumps(body).encode())


def with_an_hour(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO taskflow_endings (minute, queue, status, count)
            SELECT date_trunc('minute', now()) - make_interval(mins => n), queue, status,
                   (CASE status WHEN 'COMPLETED' THEN 180 + 90 * sin(n / 6.0) + (n * 37 % 23)
                    WHEN 'FAILED' THEN CASE WHEN n BETWEEN 22 AND 27 THEN 45 ELSE n % 3 END
                    ELSE 0 END)::int
            FROM generate_series(1, 59) AS n, unnest(ARRAY['orders']) AS queue,
                 unnest(ARRAY['COMPLETED', 'FAILED']) AS status
            """
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_main_pages(visit, busy, target, images, scheme):
    """Each page renders in both color schemes."""
    payload = {
        "url": f"{target.url}/down",
        "method": "POST",
        "headers": {"X-Shop": "7"},
        "body": {"order": 4711, "total": 12.50},
    }
    body = {"payload": payload, "queue": "orders", "max_attempts": 3, "backoff": [0.3, 0.6]}
    task = busy.post(json.dumps({**body, "tags": {"customer": 42}}).encode()).json
    busy.wait(task["id"])
    page = visit(busy, "/ui", color_scheme=scheme, viewport={"width": 1100, "height": 760})
    for name, path in (
        ("overview", "/ui"),
        ("tasks", "/ui/tasks"),
        ("task", f"/ui/tasks/{task['id']}"),
    ):
        page.goto(busy.url + path, wait_until="domcontentloaded")
        if name != "task":
            expect(page.locator("#live-state")).to_have_text("live")
        image = images / f"{name}-{scheme}.png"
        page.screenshot(path=image)
        assert image.stat().st_size > MIN_BYTES
