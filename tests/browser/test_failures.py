"""The pages of failures in a real browser, on a real service."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.target import HOSTILE

FAILED = 23
JSON = {"content-type": "application/json"}


@pytest.fixture
def queue() -> str:
    return f"shop-{uuid.uuid4().hex[:6]}"


@pytest.fixture
def failing(service, target, queue) -> Iterator[list[str]]:
    """The ids of 23 tasks of a queue that failed for one cause."""
    # Not a status that opens the circuit breaker of the host.
    path, body = "orders", {"queue": queue, "success_on": [204]}
    tasks = [{"payload": f"{target.url}/{path}?n={n}", **body} for n in range(FAILED)]
    answer = service.ask("POST", "/tasks/batch", json.dumps(tasks).encode(), JSON)
    assert answer.status == 201, answer
    ids = [task["id"] for task in answer.json]
    for task_id in ids:
        assert service.wait(task_id)["status"] == "FAILED"
    yield ids
    service.ask("POST", "/tasks/delete", json.dumps({"queue": queue}).encode(), JSON)


def test_failed_tasks_of_one_cause_are_retried_in_three_clicks(visit, service, queue, failing):
    """From the overview: its tile, all tasks of the cause, and the confirmation."""
    page = visit(service, "/ui")
    page.get_by_role("link", name="failed in the last hour").click()
    row = page.get_by_role("row").filter(has_text=queue)
    expect(row).to_contain_text("http_status 200")
    row.get_by_text("Retry all 23…").click()
    row.get_by_role("button", name="Retry all 23").click()
    expect(page.get_by_role("status").last).to_contain_text("23 tasks retried")
    for task_id in failing:
        assert service.wait(task_id)["status"] == "FAILED"
    [failure] = service.ask("GET", f"/failures?queue={queue}").json
    assert failure["failed"] == FAILED


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_failure_has_examples(visit, has_scripts, service, target, queue, failing):
    """Its tasks are linked, with their errors; the page can be read without scripts."""
    page = visit(service, "/ui/failures", java_script_enabled=has_scripts)
    page.get_by_role("row").filter(has_text=queue).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("200 OK")
    expect(page.locator(".examples li")).to_have_count(3)
    expect(page.locator(".examples li").first).to_contain_text(f"{target.url}/orders?n=")
    expect(page.locator(".trend small")).to_contain_text("23 in the last 24 hours")
    page.get_by_role("link", name="23 FAILED now").click()
    expect(page.get_by_role("row").filter(has_text="/orders?n=")).to_have_count(FAILED)


def test_a_failure_is_resolved(visit, service, queue, failing):
    """Once its tasks are deleted it is no more in the list, but among the resolved ones."""
    page = visit(service, f"/ui/failures?queue={queue}")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody a").first.click()
    page.get_by_text("Delete all 23…").click()
    page.get_by_role("button", name="Delete all 23").click()
    expect(page.get_by_role("status").last).to_contain_text("23 tasks deleted")
    page = visit(service, f"/ui/failures?queue={queue}")
    expect(page.get_by_text("No failures match.")).to_be_visible()
    page.get_by_role("link", name="Resolved").click()
    expect(page.locator("tbody")).to_contain_text("resolved")


def test_messages_are_text(visit, service):
    """Markup in the message of a target is shown as it is."""
    task = {"payload": HOSTILE, "queue": "hostile"}
    answer = service.ask("POST", "/tasks", json.dumps(task).encode(), JSON)
    assert service.wait(answer.json["id"])["status"] == "FAILED"
    page = visit(service, "/ui/failures?queue=hostile")
    page.locator("tbody a").first.click()
    expect(page.locator(".examples")).to_contain_text(HOSTILE[:20])


def test_an_invalid_filter_is_explained(visit, service):
    page = visit(service, "/ui/failures?state=odd")
    expect(page.get_by_role("alert")).to_contain_text("state must be")
