"""The page of a task in a browser: its timeline, trees, previews and related tasks."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

ORDER = {"order": 4711, "items": [{"name": "tea"}]}


def submitted(service, payload, **options) -> str:
    answer = service.post(json.dumps({"payload": payload, **options}).encode())
    assert answer.status == 201, answer
    return answer.json["id"]


@pytest.mark.parametrize("has_scripts", [True, False])
def test_the_timeline_names_each_phase(visit, furnished, has_scripts):
    """With its duration, as text that screen readers have, too; scripts make no difference."""
    page = visit(
        furnished.server, f"/ui/tasks/{furnished.ids['failed']}", java_script_enabled=has_scripts
    )
    rows = page.get_by_role("region", name="Timeline").get_by_role("listitem")
    texts = rows.all_inner_texts()
    assert [text.split("\n")[0] for text in texts if "Attempt" in text] == [
        *(f"Attempt {number}: FAILED status 503" for number in (1, 2, 3)),
    ]
    assert any("Backed off" in text and "ms" in text for text in texts)
    assert "Accepted" in texts[0]
    assert "Finished: FAILED" in texts[-1]


def test_a_held_task_says_why(visit, furnished):
    page = visit(furnished.server, f"/ui/tasks/{furnished.ids['held']}")
    last = page.get_by_role("region", name="Timeline").get_by_role("listitem").last
    expect(last).to_contain_text("Held")
    expect(last).to_contain_text("paused")
    expect(last).to_contain_text("so far")


def test_a_tree_is_folded_without_scripts(visit, service, target):
    """The first levels are open, further ones open with a click, and the text is there, too."""
    task_id = submitted(service, {"url": f"{target.url}/orders", "body": ORDER}, queue="trees")
    service.wait(task_id)
    page = visit(service, f"/ui/tasks/{task_id}", java_script_enabled=False)
    tree = page.get_by_role("region", name="Request").locator(".tree")
    assert tree.get_by_text("4711").is_visible()
    assert not tree.get_by_text('"tea"').is_visible()
    tree.locator("summary", has_text="0 1 member").click()
    assert tree.get_by_text('"tea"').is_visible()
    page.locator("#sent-raw > summary").click()
    assert '"order": 4711' in page.get_by_label("Body of the request").inner_text()


def test_what_is_folded_stays_folded_while_the_page_lives(visit, service, target):
    """An update changes neither what the user has opened nor what the user has closed."""
    target.hold()
    task_id = submitted(service, {"url": f"{target.url}/held", "body": ORDER}, queue="folded")
    page = visit(service, f"/ui/tasks/{task_id}")
    expect(page.locator(".head .status")).to_have_text("RUNNING")
    root = page.locator("#sent-tree-1")
    root.locator("summary").first.click()
    page.locator("#sent-raw > summary").click()
    target.release()
    expect(page.locator(".head .status")).to_have_text("COMPLETED")
    expect(root).not_to_have_attribute("open", "")
    expect(page.locator("#sent-raw")).to_have_attribute("open", "")


def test_an_image_is_displayed(visit, furnished):
    """Its bytes pass the policies of the page and of the image; opened alone, it is a download."""
    page = visit(furnished.server, f"/ui/tasks/{furnished.ids['image']}")
    image = page.get_by_role("img", name="Preview of the response")
    image.scroll_into_view_if_needed()
    page.wait_for_function(
        "(one) => one.complete && one.naturalWidth === 160", arg=image.element_handle()
    )
    with page.expect_download() as download:
        page.evaluate("(address) => { location.href = address; }", image.get_attribute("src"))
    assert download.value.suggested_filename == f"{furnished.ids['image']}.png"


def test_related_tasks_are_linked(visit, furnished):
    """The parent and the child, and the event with its topic and endpoint."""
    page = visit(furnished.server, f"/ui/tasks/{furnished.ids['child']}")
    related = page.get_by_role("region", name="Related")
    related.get_by_role("link", name=furnished.ids["later"]).click()
    expect(related.get_by_role("link", name=furnished.ids["child"])).to_be_visible()
    page.goto(f"{furnished.server.url}/ui/tasks/{furnished.ids['delivery']}")
    related.get_by_role("link", name="orders/billing").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("billing")


def test_a_task_is_edited_and_run_as_new(visit, service, target):
    """With its options; a credential is not copied to another host, and must be entered again."""
    payload = {"url": f"{target.url}/orders", "headers": {"Authorization": "Bearer secret"}}
    options = {"max_attempts": 3, "backoff": [1, 2], "retry_on": ["5xx"], "queue": "edited"}
    task_id = submitted(service, payload, **options)
    service.wait(task_id)
    page = visit(service, f"/ui/tasks/{task_id}")
    page.get_by_role("link", name="Edit and run as new").click()
    expect(page.get_by_text("enter them again")).to_be_visible()
    expect(page.get_by_label("Headers")).to_have_value("Authorization: ***")
    url = page.get_by_label("URL", exact=True)
    url.fill("http://localhost:9/other")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("send the real value")
    url.fill(f"{target.url}/orders?again")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".head .status")).to_have_text("COMPLETED")
    copy = service.show(page.url.rpartition("/")[2])
    assert {name: copy[name] for name in options} == options
    assert copy["payload"]["headers"] == {"Authorization": "***"}
