"""The pages of failures in a real browser, on a real service."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.browser.target import HOSTILE

FAILED = 23


@pytest.fixture
def failing(service, target) -> list[str]:
    """The ids of 23 tasks that failed for one cause, and of one with a message of a target."""
    # Not statuses that open the circuit breaker of the host.
    tasks = [{"payload": f"{target.url}/orders?n={n}", "queue": "shop"} for n in range(FAILED)]
    tasks.append({"payload": f"{target.url}/hostile", "queue": "odd"})
    tasks = [{**task, "success_on": [204]} for task in tasks]
    answer = service.ask(
        "POST", "/tasks", json.dumps(tasks).encode(), {"content-type": "application/json"}
    )
    assert answer.status == 201, answer
    ids = [task["id"] for task in answer.json]
    for task_id in ids:
        assert service.wait(task_id)["status"] == "FAILED"
    yield ids
    service.ask("POST", "/tasks/delete", b'{"all": true}', {"content-type": "application/json"})


def test_failed_tasks_of_one_cause_are_retried_in_three_clicks(visit, service, failing):
    """From the overview: its tile, all tasks of the cause, and the confirmation."""
    page = visit(service, "/ui")
    page.get_by_role("link", name="failed in the last hour").click()
    row = page.get_by_role("row").filter(has_text="shop")
    expect(row).to_contain_text("http_status 200")
    row.get_by_text("Retry all 23…").click()
    row.get_by_role("button", name="Retry all 23").click()
    expect(page.get_by_role("status").last).to_contain_text("23 tasks retried")
    for task_id in failing[:FAILED]:
        assert service.wait(task_id)["status"] == "FAILED"
    [failure] = service.ask("GET", "/failures?queue=shop").json
    assert (failure["failed"], failure["occurrences"]) == (FAILED, 2 * FAILED)


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_failure_has_examples(visit, has_scripts, service, target, failing):
    """Its tasks are linked, with their errors; the page can be read without scripts."""
    page = visit(service, "/ui/failures", java_script_enabled=has_scripts)
    page.get_by_role("row").filter(has_text="shop").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("200 OK")
    expect(page.locator(".failure-examples li")).to_have_count(3)
    expect(page.locator(".failure-examples li").first).to_contain_text(f"{target.url}/orders?n=22")
    expect(page.locator(".sparkline title").first).to_contain_text("23 in the last 24 hours")
    page.get_by_role("link", name="23 FAILED now").click()
    expect(page.get_by_role("row").filter(has_text="/orders?n=")).to_have_count(FAILED)


def test_a_failure_is_resolved(visit, service, failing):
    """Once its tasks are deleted it is no more in the list, but among the resolved ones."""
    page = visit(service, "/ui/failures?queue=odd")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text(HOSTILE[:20])
    page.locator("tbody a").first.click()
    page.get_by_text("Delete 1…").click()
    page.get_by_role("button", name="Delete 1").click()
    expect(page.get_by_role("status").last).to_contain_text("1 task deleted")
    page = visit(service, "/ui/failures?queue=odd")
    expect(page.get_by_text("No failures match.")).to_be_visible()
    page.get_by_role("link", name="Resolved").click()
    expect(page.locator("tbody")).to_contain_text("resolved")


def test_an_invalid_filter_is_explained(visit, service):
    page = visit(service, "/ui/failures?state=odd")
    expect(page.get_by_role("alert")).to_contain_text("state must be")
