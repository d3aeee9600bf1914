"""The preview of an image: what is sent, and that nothing in it can run."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.browser.target import IMAGE, SlowTarget


@pytest.fixture(scope="module")
def pictures():
    with SlowTarget() as target:
        yield target.url


def fetched(server, url: str) -> str:
    task = server.run(json.dumps(url).encode())
    assert task["status"] == "COMPLETED", task
    return f"/ui/tasks/{task['id']}"


@pytest.mark.parametrize("path", ["/image", "/image-as-page"])
def test_an_image_is_sent_as_what_it_is(memory_server, pictures, path):
    """With the media type of its bytes, in a sandbox, as an attachment, and for no other site."""
    page = fetched(memory_server, pictures + path)
    assert f'<img src="{page}/preview"' in memory_server.ask("GET", page).body.decode()
    answer = memory_server.ask("GET", f"{page}/preview")
    assert (answer.status, answer.body) == (200, IMAGE)
    assert answer.header("content-type") == "image/png"
    assert answer.header("x-content-type-options") == "nosniff"
    policy = answer.header("content-security-policy").split("; ")
    assert {"sandbox", "default-src 'none'", "frame-ancestors 'none'"} == set(policy)
    assert answer.header("content-disposition").startswith("attachment;")
    assert answer.header("cross-origin-resource-policy") == "same-origin"


@pytest.mark.parametrize("path", ["/svg", "/bomb", "/no-image", "/orders"])
def test_other_bytes_have_no_preview(memory_server, pictures, path):
    """Vector images, too many pixels, noise and JSON, whatever their media type says."""
    page = fetched(memory_server, pictures + path)
    assert b"<img src=" not in memory_server.ask("GET", page).body.partition(b"<main")[2]
    answer = memory_server.ask("GET", f"{page}/preview")
    assert answer.status == 404
    assert b"not an image that can be shown" in answer.body


def test_a_task_without_a_result_has_no_preview(memory_server):
    task_id = memory_server.run(b'"no url"')["id"]
    assert memory_server.ask("GET", f"/ui/tasks/{task_id}/preview").status == 404
    assert memory_server.ask("GET", f"/ui/tasks/{uuid.UUID(int=1)}/preview").status == 404
    assert memory_server.ask("GET", "/ui/tasks/x/preview").status == 404
