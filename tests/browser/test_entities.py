"""The pages of queues, schedules, hosts and nodes, and their charts, in a real browser."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from playwright.sync_api import expect

from tests.browser.test_dashboard import check_is_the_same, mark, submitted
from tests.service.processes import wait_until

PATIENCE_SECONDS = 90.0
PHONE = {"width": 400, "height": 800}


def new_queue(service, target) -> str:
    """A queue in which two tasks completed and one failed."""
    name = f"q{uuid.uuid4().hex[:10]}"
    ids = [submitted(service, f"{target.url}/{number}", queue=name) for number in range(2)]
    for task_id in [*ids, submitted(service, f"{target.url}/down", queue=name)]:
        service.wait(task_id)
    return name


@pytest.fixture
def own_queue(service, target) -> str:
    """A queue that a test may change."""
    return new_queue(service, target)


@pytest.fixture(scope="module")
def queue(service, target) -> str:
    """A queue whose tasks are in the charts."""
    name = new_queue(service, target)
    wait_until(lambda: finished_in(service, name) == 3, PATIENCE_SECONDS)
    return name


def finished_in(service, queue: str) -> int:
    """The number of tasks of a queue in the roll-ups, which follow within seconds."""
    points = service.ask("GET", f"/stats/series?queue={queue}").json["points"]
    return sum(sum(point["finished"].values()) for point in points)


@pytest.fixture
def schedule(service, target) -> str:
    """A schedule that runs each day."""
    name = f"s{uuid.uuid4().hex[:10]}"
    body = {"cron": "30 6 * * *", "task": {"payload": f"{target.url}/scheduled"}}
    answer = service.ask("PUT", f"/schedules/{name}", json.dumps(body).encode())
    assert answer.status == 201
    return name


def last_bucket(page, chart):
    """The last bucket of a chart that has values."""
    return page.locator(f"#{chart} a.bucket[href]").last


def test_charts_are_read_with_the_pointer_and_clicked(visit, service, queue):
    """A box beside the pointer has the values; a click leads to the tasks of the bucket."""
    page = visit(service, f"/ui/queues/{queue}")
    bucket = last_bucket(page, "throughput")
    expect(bucket).to_have_attribute("aria-label", re.compile("2 completed, 1 failed"))
    bucket.hover()
    reading = page.locator(".reading")
    expect(reading).to_be_visible()
    expect(reading).to_contain_text("2 completed")
    expect(reading).to_contain_text("1 failed")
    bucket.click()
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.get_by_label("Queue", exact=True)).to_have_value(queue)


def test_charts_are_read_with_the_keyboard(visit, service, queue):
    """One tab stop a chart; arrow keys move between buckets, and Enter opens the tasks."""
    page = visit(service, f"/ui/queues/{queue}")
    bucket = last_bucket(page, "throughput")
    expect(page.locator('#throughput a.bucket[tabindex="0"]')).to_have_count(1)
    bucket.focus()
    reading = page.locator(".reading")
    expect(reading).to_contain_text("1 failed")
    page.keyboard.press("Home")
    expect(reading).to_contain_text("no tasks")
    expect(page.locator('#throughput a.bucket[tabindex="0"]')).to_be_focused()
    page.keyboard.press("Escape")
    expect(reading).to_be_hidden()
    bucket.focus()
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(3)


def test_charts_without_scripts(visit, service, queue):
    """A table has the values, with links to the tasks; spans are links."""
    page = visit(service, f"/ui/queues/{queue}", java_script_enabled=False)
    page.locator("#throughput-data summary").click()
    row = page.locator("#throughput-data tbody tr").first
    expect(row).to_contain_text("2 completed, 1 failed")
    page.get_by_role("link", name="7 days").click()
    expect(page.get_by_role("heading", name="Last 7 days")).to_be_visible()
    page.locator("#throughput-data summary").click()
    page.locator("#throughput-data tbody a").first.click()
    expect(page.locator("tbody tr")).to_have_count(3)


def test_a_queue_lives(visit, service, target, own_queue):
    """New tasks appear while an edited form and the opened values stay as they are."""
    page = visit(service, f"/ui/queues/{own_queue}")
    expect(page.locator("#live-state")).to_have_text("live")
    mark(page)
    page.get_by_text("Edit limits and settings").click()
    page.get_by_label("Maximum concurrency", exact=True).fill("7")
    page.locator("#throughput-data summary").click()
    service.wait(submitted(service, f"{target.url}/down", queue=own_queue))
    expect(page.locator("#throughput-data tbody")).to_contain_text("2 failed")
    expect(page.get_by_label("Maximum concurrency", exact=True)).to_have_value("7")
    check_is_the_same(page)


@pytest.mark.parametrize("has_scripts", [True, False])
def test_edit_the_limits_of_a_queue(visit, service, own_queue, has_scripts):
    """In place; an error is beside its field, and the corrected form is saved."""
    page = visit(service, f"/ui/queues/{own_queue}", java_script_enabled=has_scripts)
    page.get_by_text("Edit limits and settings").click()
    page.get_by_label("Starts per second", exact=True).fill("none")
    page.get_by_role("button", name="Save settings").click()
    field = page.get_by_label("Starts per second", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("none")
    field.fill("5")
    page.get_by_role("button", name="Save settings").click()
    expect(page.locator(".facts")).to_contain_text("5/s")
    assert service.ask("GET", f"/queues/{own_queue}").json["rate"]["per_second"] == 5


def test_pause_resume_and_purge_a_queue(visit, service, target, own_queue):
    """Each with a confirmation, except the resume."""
    page = visit(service, f"/ui/queues/{own_queue}")
    page.get_by_text("Pause…").click()
    page.get_by_role("button", name="Pause queue").click()
    expect(page.locator(".head .status")).to_have_text("paused")
    for _ in range(3):
        submitted(service, f"{target.url}/", queue=own_queue)
    page.get_by_role("link", name="Purge 3 pending…").click()
    page.get_by_role("button", name="Cancel 3 tasks").click()
    expect(page.get_by_role("status").first).to_contain_text("3 tasks canceled")
    page.goto(f"{service.url}/ui/queues/{own_queue}")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".head .status")).to_have_text("open")


def test_from_the_overview_to_a_failure(visit, service, queue):
    """The overview leads to a queue, and the queue to its recent failures."""
    page = visit(service, "/ui/queues")
    page.get_by_role("link", name=queue, exact=True).click()
    failures = page.get_by_role("table", name="Failed tasks, newest first")
    failures.get_by_role("link").first.click()
    expect(page.locator(".head .status", has_text="FAILED")).to_be_visible()


@pytest.mark.parametrize("has_scripts", [True, False])
def test_edit_a_schedule_with_a_preview(visit, service, schedule, has_scripts):
    """The next runs are shown before they are saved."""
    page = visit(service, f"/ui/schedules/{schedule}", java_script_enabled=has_scripts)
    expect(page.locator(".runs li")).to_have_count(5)
    page.get_by_text("Edit times and rules").click()
    page.get_by_label("Cron expression").fill("0 12 29 2 *")
    page.get_by_role("button", name="Preview next runs").click()
    preview = page.get_by_role("region", name="Next runs with these times, not saved yet")
    expect(preview.get_by_role("listitem").first).to_have_text("2028-02-29 12:00:00")
    assert service.ask("GET", f"/schedules/{schedule}").json["cron"] == "30 6 * * *"
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".runs li").first).to_have_text("2028-02-29 12:00:00")
    assert service.ask("GET", f"/schedules/{schedule}").json["cron"] == "0 12 29 2 *"


def test_run_pause_and_delete_a_schedule(visit, service, schedule):
    """The history shows the run, live; the last actions ask for confirmation."""
    page = visit(service, f"/ui/schedules/{schedule}")
    expect(page.get_by_text("No runs are recorded yet.")).to_be_visible()
    expect(page.locator("#live-state")).to_have_text("live")
    task_id = service.ask("POST", f"/schedules/{schedule}/run", b"").json["id"]
    history = page.get_by_role("table", name="Runs, newest first")
    expect(history).to_contain_text("COMPLETED")
    expect(history.get_by_role("link")).to_have_attribute("href", f"/ui/tasks/{task_id}")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".head .status", has_text="COMPLETED")).to_be_visible()
    page.goto(f"{service.url}/ui/schedules/{schedule}")
    expect(history.locator("tbody tr")).to_have_count(2)
    page.get_by_text("Pause…").click()
    page.get_by_role("button", name="Pause schedule").click()
    expect(page.locator(".head .status")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".head .status")).to_have_text("active")
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete schedule").click()
    expect(page.get_by_role("heading", name="Schedules", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name=schedule)).to_have_count(0)


@pytest.mark.parametrize("has_scripts", [True, False])
def test_hosts(visit, service, target, queue, has_scripts):
    """From the list to the page of a host, and to its failed tasks by error type."""
    page = visit(service, "/ui/hosts", java_script_enabled=has_scripts)
    page.get_by_role("link", name=target.authority, exact=True).click()
    expect(page.get_by_role("heading", name=f"Host {target.authority}")).to_be_visible()
    expect(page.locator(".head .status")).to_have_text("circuit breaker closed")
    page.get_by_role("link", name="http_status").click()
    expect(page.locator("tbody tr").first).to_contain_text("503")


def test_nodes(visit, service, target):
    """From the list to the page of a node, and to a task that it runs."""
    target.hold()
    task_id = submitted(service, f"{target.url}/held")
    page = visit(service, "/ui/nodes")
    page.locator("tbody th a").first.click()
    running = page.get_by_role("table", name="Running tasks, the oldest first")
    expect(running).to_contain_text(task_id)
    expect(page.get_by_role("table", name="Settings compared")).to_contain_text("TASKFLOW_WORKERS")
    running.get_by_role("link", name=task_id).click()
    expect(page.locator(".head .status", has_text="RUNNING")).to_be_visible()
    target.release()
    service.wait(task_id)
