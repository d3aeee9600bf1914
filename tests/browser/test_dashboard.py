"""The dashboard in a real browser, on a real service."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.browser.target import HOSTILE


def submitted(server, payload, **options) -> str:
    answer = server.post(json.dumps({"payload": payload, **options}).encode())
    assert answer.status == 201, answer
    return answer.json["id"]


def mark(page) -> None:
    """Set a mark that is lost if the page is loaded again."""
    page.evaluate("window.isTheSame = true")


def check_is_the_same(page) -> None:
    assert page.evaluate("window.isTheSame === true")


def status(page, text):
    return page.locator(".head .status", has_text=text)


def test_submit_and_watch_it_end(visit, service, target):
    """With the form; the page of the task shows the outcome without being loaded again."""
    target.hold()
    page = visit(service, "/ui")
    page.get_by_role("link", name="Submit", exact=True).click()
    page.get_by_label("URL", exact=True).fill(f"{target.url}/held")
    page.get_by_text("Task options").click()
    page.get_by_label("Tags").fill("customer: 42\nvip: true")
    page.get_by_role("button", name="Submit").click()
    expect(status(page, "RUNNING")).to_be_visible()
    mark(page)
    target.release()
    expect(status(page, "COMPLETED")).to_be_visible()
    expect(page.get_by_label("Body of the response")).to_contain_text('"total": 12.50')
    expect(page.get_by_role("link", name="customer: 42")).to_be_visible()
    expect(page.locator("#live-state")).to_be_hidden()
    check_is_the_same(page)


def test_errors_of_a_form_are_beside_their_fields(visit, service):
    """The form keeps its values, and nothing is submitted."""
    page = visit(service, "/ui/submit")
    page.get_by_label("URL", exact=True).fill("http://127.0.0.1/")
    page.get_by_text("Task options").click()
    page.get_by_label("Priority").fill("1000")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("-100 to 100")
    field = page.get_by_label("Priority")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("1000")
    expect(page.locator("#priority-hint")).to_contain_text("from -100 to 100")
    expect(page.get_by_label("URL", exact=True)).to_have_value("http://127.0.0.1/")


def test_filter(visit, service, target):
    """By status and queue; a link leads to the next page, and back to the newest."""
    for _ in range(55):
        submitted(service, "no url", queue="filtered")
    one = submitted(service, f"{target.url}/", queue="filtered")
    service.wait(one)
    page = visit(service, "/ui/tasks")
    page.get_by_label("States").get_by_role("link", name="Failed").click()
    page.get_by_label("Queue", exact=True).fill("filtered")
    page.get_by_role("button", name="Filter", exact=True).click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    expect(page.get_by_text(target.authority)).to_have_count(0)
    page.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(5)
    page.get_by_role("link", name="Newest").click()
    expect(rows).to_have_count(50)
    page.get_by_label("States").get_by_role("link", name="Completed 1").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(target.authority)


def test_an_invalid_filter_says_what_is_allowed(visit, service):
    page = visit(service, "/ui/tasks?created_after=someday")
    expect(page.get_by_role("alert")).to_contain_text("created_after must be")
    expect(page.get_by_label("Submitted after")).to_have_value("someday")


def test_the_list_lives(visit, service, target):
    """New tasks appear; the focus is kept."""
    submitted(service, f"{target.url}/", queue="living")
    page = visit(service, "/ui/tasks?queue=living")
    expect(page.locator("#live-state")).to_have_text("live")
    expect(page.locator("tbody tr")).to_have_count(1)
    mark(page)
    link = page.locator("tbody a").first
    link.focus()
    service.wait(submitted(service, "no url", queue="living"))
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody tr").first).to_contain_text("FAILED")
    assert page.evaluate("document.activeElement.closest('tbody') !== null")
    check_is_the_same(page)


def test_cancel_a_running_one(visit, service, target):
    """After a confirmation; the page shows the new status and offers a retry."""
    target.hold()
    task_id = submitted(service, f"{target.url}/held")
    page = visit(service, f"/ui/tasks/{task_id}")
    expect(status(page, "RUNNING")).to_be_visible()
    sure = page.get_by_role("button", name="Cancel task")
    expect(sure).to_be_hidden()
    page.get_by_text("Cancel…").click()
    expect(sure).to_be_visible()
    page.get_by_text("Keep task").click()
    expect(sure).to_be_hidden()
    assert service.show(task_id)["status"] == "RUNNING"
    page.get_by_text("Cancel…").click()
    sure.click()
    expect(status(page, "CANCELED")).to_be_visible()
    assert service.show(task_id)["status"] == "CANCELED"
    target.release()
    page.get_by_role("button", name="Retry").click()
    expect(status(page, "COMPLETED")).to_be_visible()
    expect(page.locator(".attempts li")).to_have_count(2)


def test_delete_one(visit, service):
    """After a confirmation."""
    task_id = submitted(service, "no url")
    service.wait(task_id)
    page = visit(service, f"/ui/tasks/{task_id}")
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete task").click()
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    assert service.ask("GET", f"/tasks/{task_id}").status == 404
    page = visit(service, f"/ui/tasks/{task_id}")
    expect(page.get_by_role("alert")).to_contain_text("No task has this id")


def test_bulk_actions_show_a_count_first(visit, service):
    """Nothing is changed before the number of tasks has been shown."""
    ids = [submitted(service, "no url", queue="many") for _ in range(7)]
    for task_id in ids:
        service.wait(task_id)
    page = visit(service, "/ui/tasks?queue=many")
    page.get_by_role("link", name="Delete…").click()
    expect(page.get_by_text("7 tasks will be deleted")).to_be_visible()
    assert service.ask("GET", f"/tasks/{ids[0]}").status == 200
    page.get_by_role("button", name="Delete 7 tasks").click()
    expect(page.get_by_role("status").last).to_contain_text("7 tasks deleted")
    assert service.ask("GET", f"/tasks/{ids[0]}").status == 404
    page.get_by_role("link", name="Back to the tasks").click()
    expect(page.get_by_text("No tasks match.")).to_be_visible()


def test_a_queue_is_paused_and_resumed(visit, service):
    """From the overview."""
    submitted(service, "no url", queue="halted")
    page = visit(service)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="halted", exact=True))
    row.get_by_text("Pause…").click()
    row.get_by_role("button", name="Pause queue").click()
    expect(row.get_by_text("paused")).to_be_visible()
    assert service.ask("GET", "/queues/halted").json["paused"] is True
    row.get_by_role("button", name="Resume").click()
    expect(row.get_by_text("paused")).to_be_hidden()


def test_a_schedule_is_run(visit, service, target):
    """From the overview, where its next time is."""
    body = {"cron": "0 3 * * *", "task": {"payload": f"{target.url}/"}}
    assert service.ask("PUT", "/schedules/nightly", json.dumps(body).encode()).status == 201
    page = visit(service)
    row = page.get_by_role("row").filter(has_text="nightly")
    expect(row).to_contain_text("03:00:00")
    row.get_by_role("button", name="Run now").click()
    expect(status(page, "COMPLETED")).to_be_visible()
    expect(page.locator(".aside")).to_contain_text("nightly")


def test_a_task_is_copied(visit, service, target):
    """Into the form with all its values, and as a command."""
    payload = {
        "url": f"{target.url}/x",
        "method": "PUT",
        "headers": {"X-Shop": "7"},
        "body": {"a": 1.50},
    }
    task_id = submitted(service, payload, queue="copied", tags={"customer": 42})
    service.wait(task_id)
    page = visit(service, f"/ui/tasks/{task_id}")
    page.get_by_text("curl commands").click()
    expect(page.get_by_label("The request as a curl command")).to_contain_text(
        "--header 'X-Shop: 7'"
    )
    page.get_by_role("link", name="Edit and run as new").click()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".head .status")).to_be_visible()
    copy = service.wait(page.url.rpartition("/")[2])
    assert copy["id"] != task_id
    assert (copy["queue"], copy["tags"]) == ("copied", {"customer": 42})
    assert {**copy["payload"]} == payload


def test_a_hostile_task_is_text(visit, service, target):
    """Markup in its URL, headers, body, response and error is shown as text."""
    query = "?q=<script>document.title='taken'</script>"
    payload = {
        "url": f"{target.url}/hostile{query}",
        "method": "POST",
        "headers": {"X-Evil": HOSTILE},
        "body": HOSTILE,
    }
    fine = submitted(service, payload, tags={"evil": HOSTILE}, queue="hostile")
    bad = submitted(service, HOSTILE, queue="hostile")
    hidden = submitted(service, "http://a/\u202egnp.exe\u0007", queue="hostile")
    for task_id in (fine, bad, hidden):
        service.wait(task_id)
    page = visit(service, f"/ui/tasks/{fine}")
    expect(page.get_by_role("heading").first).to_contain_text("<script>document.title")
    expect(page.get_by_text("onerror=").first).to_be_visible()
    page.locator("#headers > summary").click()
    expect(page.locator("#headers")).to_contain_text("<img src=x onerror")
    expect(page.get_by_label("Body of the request")).to_contain_text("<script>")
    for path in (f"/ui/tasks/{bad}", f"/ui/tasks/{hidden}", "/ui/tasks?queue=hostile", "/ui"):
        page.goto(service.url + path, wait_until="domcontentloaded")
        assert page.locator("main script, main img").count() == 0
        assert "taken" not in page.title()
    page.goto(f"{service.url}/ui/tasks/{hidden}", wait_until="domcontentloaded")
    expect(page.get_by_role("heading").first).to_contain_text("\\u{202e}gnp.exe\\u{7}")
    page.goto(f"{service.url}/ui/tasks?queue=<script>", wait_until="domcontentloaded")
    expect(page.get_by_role("alert")).to_contain_text("queue must be")


def test_it_can_be_read_without_scripts(visit, service, target):
    """Tasks can be submitted and canceled, and queues paused, each after a confirmation."""
    page = visit(service, "/ui/submit", java_script_enabled=False)
    page.get_by_label("URL", exact=True).fill(f"{target.url}/")
    page.get_by_role("button", name="Submit").click()
    service.wait(page.url.rpartition("/")[2])
    page.goto(page.url)
    assert page.locator(".head .status").inner_text() == "COMPLETED"
    page.goto(f"{service.url}/ui")
    assert "Finished tasks" in page.inner_text("main")
    page.goto(f"{service.url}/ui/tasks")
    assert page.locator("tbody tr").count() > 0
    waiting = submitted(service, "no url", delay_seconds=3600, queue="by-steps")
    page.goto(f"{service.url}/ui/tasks/{waiting}")
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel task").click()
    assert page.locator(".head .status").inner_text() == "CANCELED"
    page.goto(f"{service.url}/ui")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="by-steps"))
    row.get_by_text("Pause…").click()
    row.get_by_role("button", name="Pause queue").click()
    assert service.ask("GET", "/queues/by-steps").json["paused"] is True


def test_a_question_stays_open_while_the_page_lives(visit, service):
    """It still concerns the same queue after the table has grown; also with the keyboard."""
    submitted(service, "no url", delay_seconds=3600, queue="m-asked")
    page = visit(service)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="m-asked"))
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(row.get_by_role("button", name="Pause queue")).to_be_visible()
    mark(page)
    submitted(service, "no url", delay_seconds=3600, queue="a-new-one")
    expect(page.get_by_role("link", name="a-new-one")).to_be_visible()
    expect(page.get_by_role("button", name="Pause queue").locator("visible=true")).to_have_count(1)
    row.get_by_role("button", name="Pause queue").click()
    expect(row.get_by_text("paused")).to_be_visible()
    assert service.ask("GET", "/queues/m-asked").json["paused"] is True
    assert service.ask("GET", "/queues/a-new-one").json["paused"] is False


def test_with_the_keyboard_alone(visit, service, target):
    """The first key skips the menu, and a task can be submitted without a mouse."""
    page = visit(service, "/ui/submit")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("URL", exact=True)).to_be_focused()
    page.keyboard.type(f"{target.url}/")
    page.keyboard.press("Enter")
    expect(status(page, "COMPLETED")).to_be_visible()


def test_a_task_with_long_words_is_fine_on_a_telephone(visit, service):
    task_id = submitted(service, "x" * 3000, tags={"a": "y" * 250}, queue="q" * 60)
    service.wait(task_id)
    for path in (f"/ui/tasks/{task_id}", "/ui/tasks", "/ui"):
        page = visit(service, path, viewport={"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("width", [400, 800, 900, 1100])
def test_a_question_fits(visit, service, width):
    """Also in the table of queues; no button breaks within a word."""
    limits = {"max_concurrency": 3, "rate": 5, "per_host": {"max_concurrency": 2, "rate": 1}}
    service.ask("PUT", "/queues/limited", json.dumps(limits).encode())
    task_id = submitted(service, "no url", delay_seconds=3600, queue="q-" + "a" * 50)
    for path, name in ((f"/ui/tasks/{task_id}", "Cancel…"), ("/ui", "Pause…")):
        page = visit(service, path, viewport={"width": width, "height": 800})
        page.get_by_text(name).first.click()
        expect(page.locator("details[open] button")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(
            """() => [...document.querySelectorAll('button, .button')].every((one) =>
            one.offsetHeight < 2 * parseFloat(getComputedStyle(one).lineHeight))"""
        )


def test_an_update_during_a_click_waits(visit, service):
    """A click is not lost if the region is updated while the button of the mouse is down."""
    page = visit(service, f"/ui/tasks/{submitted(service, 'no url', delay_seconds=3600)}")
    page.get_by_text("Cancel…").first.hover()
    page.mouse.down()
    assert page.evaluate("replace(region.innerHTML)") is False
    page.mouse.up()
    expect(page.locator("details[open] button")).to_be_visible()
    page.wait_for_function("replace(region.innerHTML)")
    expect(page.locator("details[open] button")).to_be_visible()
