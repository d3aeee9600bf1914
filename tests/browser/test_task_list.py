"""The list of tasks in a real browser: tabs, columns, filters, and actions on selected tasks."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.browser.test_dashboard import check_is_the_same, mark, submitted

PHONE = {"width": 400, "height": 800}
HOUR = 3600


@pytest.fixture(scope="module")
def listed(postgres_server, target):
    """A service with tasks in several states, most of them in a queue of their own."""
    with open_database(postgres_server) as url, LiveServer(database_url=url) as server:
        assert server.ask("PUT", "/queues/halted", b'{"paused": true}').status == 201
        for number in range(3):
            submitted(server, f"{target.url}/later/{number}", delay_seconds=HOUR, queue="later")
        for _ in range(2):
            submitted(server, f"{target.url}/held", queue="halted", tags={"customer": 42})
        body = {"url": f"{target.url}/down", "method": "POST", "body": {"a": 1}}
        for _ in range(4):
            server.wait(submitted(server, body, queue="failing"))
        server.wait(submitted(server, f"{target.url}/x", queue="done"))
        yield server


def tab(page, name):
    return page.get_by_label("States").get_by_role("link", name=name)


def rows(page):
    return page.locator(".tasks tbody tr")


def headings(page) -> list[str]:
    return page.locator(".tasks thead th:not(.pick)").all_inner_texts()


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no scripts"])
def test_tabs(visit, listed, has_scripts):
    """Each shows the tasks of a state with their number; other filters and columns stay."""
    page = visit(listed, "/ui/tasks?columns=queue,http", java_script_enabled=has_scripts)
    expect(tab(page, "All 10")).to_have_attribute("aria-current", "page")
    for name, count in (("Scheduled 3", 3), ("Held 2", 2), ("Failed 4", 4), ("Completed 1", 1)):
        tab(page, name).click()
        expect(tab(page, name)).to_have_attribute("aria-current", "page")
        expect(rows(page)).to_have_count(count)
        assert headings(page) == ["State", "Target", "Queue", "HTTP"]
    tab(page, "Due 0").click()
    expect(page.get_by_text("No tasks match.")).to_be_visible()
    page.get_by_label("Queue", exact=True).fill("halted")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(tab(page, "Due 0")).to_have_attribute("aria-current", "page")
    tab(page, "Held 2").click()
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("queue paused")


def test_rows_say_what_happened(visit, listed):
    """The HTTP status, the attempt, tags, the error, and times that are relative."""
    page = visit(listed, "/ui/tasks?queue=failing")
    row = rows(page).first
    for text in ("FAILED", "/down", "503", "1/1", "ago"):
        expect(row).to_contain_text(text)
    assert row.locator("time").get_attribute("datetime").endswith("Z")
    page = visit(listed, "/ui/tasks?queue=halted")
    expect(rows(page).first).to_contain_text("customer:42")
    page = visit(listed, "/ui/tasks?queue=later&columns=due")
    expect(rows(page).first).to_contain_text("in ")
    heights = page.evaluate(
        "() => [...document.querySelectorAll('.tasks tbody tr')].map((row) => row.offsetHeight)"
    )
    assert max(heights) <= 36


def test_the_target_has_room(visit, listed):
    """Default columns that are empty on the page are left out, and the error is narrow."""
    page = visit(listed, "/ui/tasks?queue=later", viewport={"width": 1280, "height": 800})
    assert headings(page) == ["State", "Target", "Queue", "Submitted ↓", "Attempt"]
    page = visit(listed, "/ui/tasks", viewport={"width": 1280, "height": 800})
    assert len(headings(page)) == 9
    assert box(page, ".tasks tbody .target")["width"] >= 300
    assert box(page, "th.col-error")["width"] < 0.2 * box(page, ".tasks")["width"]
    assert page.evaluate(
        "(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.wide'))"
    )


def box(page, selector):
    """The box of an element, read at once: an update of the page replaces its elements."""
    return page.evaluate("one => document.querySelector(one).getBoundingClientRect()", selector)


def test_ten_tasks_on_a_phone(visit, listed):
    """Without scrolling."""
    page = visit(listed, "/ui/tasks", viewport=PHONE)
    expect(rows(page)).to_have_count(10)
    assert box(page, "tbody tr:last-child")["bottom"] <= PHONE["height"]


def test_columns_are_chosen(visit, listed):
    """They are in the address, also after another filter."""
    page = visit(listed, "/ui/tasks?queue=later", java_script_enabled=False)
    page.get_by_text("Columns", exact=True).click()
    for name in ("Submitted", "Duration", "HTTP", "Attempt", "Tags", "Error"):
        page.get_by_label(f"Column {name}", exact=True).uncheck()
    page.get_by_label("Column Due", exact=True).check()
    page.get_by_role("button", name="Show these columns").click()
    assert headings(page) == ["State", "Target", "Queue", "Due"]
    page.get_by_label("URL contains").fill("later/1")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(rows(page)).to_have_count(1)
    assert headings(page) == ["State", "Target", "Queue", "Due"]
    page = visit(listed, "/ui/tasks?columns=salary")
    expect(page.get_by_role("alert")).to_contain_text("there is no column 'salary'")


def test_the_oldest_first(visit, listed):
    """The heading of the column changes the order, which other filters keep."""
    page = visit(listed, "/ui/tasks?queue=later", java_script_enabled=False)
    expect(rows(page).first).to_contain_text("/later/2")
    page.get_by_role("link", name="Submitted").click()
    expect(rows(page).first).to_contain_text("/later/0")
    page.get_by_label("URL contains").fill("later")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(rows(page).first).to_contain_text("/later/0")
    page.get_by_role("link", name="Submitted").click()
    expect(rows(page).first).to_contain_text("/later/2")


def test_times_and_suggestions(visit, listed):
    """Ages and days are accepted and kept as they were typed; fields suggest known values."""
    page = visit(listed, "/ui/tasks?queue=later")
    page.get_by_label("Submitted after").fill("2h")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(rows(page)).to_have_count(3)
    assert "created_after=2h" in page.url
    expect(page.get_by_label("Submitted after")).to_have_value("2h")
    expect(page.locator("#live-state")).to_have_text("live")
    page = visit(listed, "/ui/tasks?queue=later&created_before=yesterday+14:00")
    expect(page.get_by_text("No tasks match.")).to_be_visible()
    assert page.locator("#queue-values option").evaluate_all(
        "(options) => options.map((one) => one.value)"
    ) == ["done", "failing", "halted", "later"]
    assert page.locator("#host-values option").first.get_attribute("value") == "127.0.0.1"


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no scripts"])
def test_selected_tasks_are_changed(visit, listed, has_scripts):
    """Retried at once; canceled and deleted after a confirmation; the list keeps its filters."""
    queue = f"chosen-{has_scripts}".lower()
    ids = [submitted(listed, "no url", queue=queue) for _ in range(3)]
    for task_id in ids:
        listed.wait(task_id)
    later = submitted(listed, "no url", queue=queue, delay_seconds=HOUR)
    page = visit(listed, f"/ui/tasks?queue={queue}", java_script_enabled=has_scripts)
    box = page.get_by_label
    box(f"Select {later}").check()
    box(f"Select {ids[0]}").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_text("2 tasks will be canceled")).to_be_visible()
    assert listed.show(later)["status"] == "PENDING"
    page.get_by_role("button", name="Cancel 2 tasks").click()
    expect(page.get_by_role("status").last).to_contain_text("1 task canceled. The status of 1")
    page.get_by_role("link", name="Back to the tasks").click()
    expect(rows(page)).to_have_count(4)
    box(f"Select {ids[0]}").check()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.get_by_role("status").last).to_contain_text("1 task retried")
    listed.wait(ids[0])
    page.get_by_role("link", name="Back to the tasks").click()
    for task_id in ids[:2]:
        box(f"Select {task_id}").check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 2 tasks").click()
    expect(page.get_by_role("status").last).to_contain_text("2 tasks deleted")
    page.get_by_role("link", name="Back to the tasks").click()
    expect(rows(page)).to_have_count(2)


def test_a_selection_survives_updates(visit, listed):
    """New tasks appear, and the same tasks stay selected; one box selects the page."""
    one, other = (submitted(listed, "no url", queue="kept", delay_seconds=HOUR) for _ in range(2))
    page = visit(listed, "/ui/tasks?queue=kept")
    expect(page.locator("#live-state")).to_have_text("live")
    expect(page.get_by_role("button", name="Retry", exact=True)).to_be_disabled()
    mark(page)
    page.get_by_label(f"Select {one}").check()
    expect(page.get_by_text("1 selected:")).to_be_visible()
    submitted(listed, "no url", queue="kept", delay_seconds=HOUR)
    expect(rows(page)).to_have_count(3)
    expect(page.get_by_label(f"Select {one}")).to_be_checked()
    expect(page.get_by_label(f"Select {other}")).not_to_be_checked()
    page.get_by_label("Select all tasks").check()
    expect(page.get_by_text("3 selected:")).to_be_visible()
    page.get_by_label("Select all tasks").uncheck()
    expect(page.get_by_label(f"Select {one}")).not_to_be_checked()
    check_is_the_same(page)


def test_jump_to_an_id(visit, listed):
    """An id, or a prefix that only one task has, opens its page; other prefixes list tasks."""
    task_id = submitted(listed, "no url", queue="found", delay_seconds=HOUR)
    page = visit(listed, "/ui/tasks", java_script_enabled=False)
    for text in (task_id, task_id[:30]):
        page.goto(f"{listed.url}/ui/tasks")
        page.get_by_label("Go to id").fill(text)
        page.get_by_role("button", name="Go", exact=True).click()
        assert page.url == f"{listed.url}/ui/tasks/{task_id}"
    page.goto(f"{listed.url}/ui/jump?id=00000000")
    expect(page.get_by_text("No tasks match.")).to_be_visible()
    page.goto(f"{listed.url}/ui/jump?id=nothing")
    expect(page.get_by_role("alert")).to_contain_text("id_prefix must be")


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no scripts"])
def test_views(visit, listed, has_scripts):
    """A name for the address: filters as they were typed, and columns; all users see it."""
    name = f"Failing lately {has_scripts}"
    address = "/ui/tasks?status=FAILED&queue=failing&created_after=2h&columns=queue,http"
    page = visit(listed, address, java_script_enabled=has_scripts)
    views = page.get_by_label("Saved views")
    views.get_by_text("Save this view…").click()
    views.get_by_label("Name of the view").fill(name)
    views.get_by_role("button", name="Save view").click()
    expect(views.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
    expect(views.get_by_text("Save this view…")).to_have_count(0)
    page = visit(listed, "/ui/tasks", java_script_enabled=has_scripts)
    views = page.get_by_label("Saved views")
    views.get_by_role("link", name=name).click()
    expect(rows(page)).to_have_count(4)
    expect(page.get_by_label("Submitted after")).to_have_value("2h")
    assert headings(page) == ["State", "Target", "Queue", "HTTP"]
    views.get_by_text("Delete view…").click()
    views.get_by_role("button", name="Delete view").click()
    expect(rows(page).nth(4)).to_be_visible()
    expect(page.get_by_role("link", name=name)).to_have_count(0)


def test_ten_tasks_fit_on_a_telephone(visit, listed):
    """Filters open without scripts, and rows are low enough for ten of them in a window."""
    page = visit(listed, "/ui/tasks", viewport=PHONE, java_script_enabled=False)
    expect(page.get_by_label("URL contains")).to_be_hidden()
    page.get_by_text("Filters and columns").click()
    expect(page.get_by_label("URL contains")).to_be_visible()
    heights = [row.bounding_box()["height"] for row in rows(page).all()]
    assert len(heights) >= 10
    assert sum(heights[:10]) <= 560
    assert page.locator("html").evaluate("(root) => root.scrollWidth") <= 400


def test_a_reader_selects_nothing(visit, guarded):
    """Without the role to write there are no boxes and no actions."""
    key = {"authorization": "Bearer key-that-may-write-and-no-more"}
    body = json.dumps({"payload": "no url", "delay_seconds": HOUR}).encode()
    assert guarded.ask("POST", "/tasks", body, key).status == 201
    page = visit(guarded, "/ui/tasks")
    page.get_by_label("API key").fill("key-that-may-read-and-no-more")
    page.get_by_role("button", name="Sign in").click()
    expect(rows(page)).to_have_count(1)
    assert page.locator("input[name=id][type=checkbox], .actions").count() == 0
