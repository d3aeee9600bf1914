"""The API under requests made up from its own document: no fault, and no answer beside it."""

from __future__ import annotations

import itertools

import pytest

from taskflow.api.app import ROUTES
from taskflow.api.document.openapi import document
from taskflow.model.task import TaskStatus
from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer
from tests.fuzz.fuzzer import Length, fuzz
from tests.fuzz.idle import open_idle_app


def operations():
    """Every method of every path in the document, but for the page, and streams that do not end."""
    paths = document(ROUTES, has_keys=True)["paths"]
    return [
        method
        for path in paths
        if not path.endswith(("/events", "/docs"))
        for method in paths[path]
    ]


def test_the_api_conforms_to_its_document(idle_server, length, tmp_path):
    """Valid requests are accepted, others are rejected, and every response is documented.

    This includes examples, the bounds of each schema, random requests, and chains of requests that
    submit a task and then read it. The short form tests a sixtieth of the bounds.
    """
    report = fuzz(idle_server.url, length, tmp_path)
    print(report.text)
    assert report.code == 0, report.text
    assert report.count("Operations: +(\\d+) selected") == len(operations())
    if length.is_long:  # which chains come of it is chance
        assert report.count("API Links: +(\\d+) covered") > 0
    idle_server.check_serves()


def test_every_status_is_covered(idle_server):
    """The lists and tasks that are fuzzed have results, errors and attempts in them."""
    for status in TaskStatus:
        answer = idle_server.ask("GET", f"/tasks?status={status}")
        assert {task["status"] for task in answer.json} == {status}


SPOILT = {
    "another media type": (
        lambda answer: answer.headers.set("Content-Type", "text/html"),
        "Undocumented Content-Type",
    ),
    "a status": (lambda answer: setattr(answer, "status_code", 418), "Undocumented HTTP status"),
    "a fault": (lambda answer: setattr(answer, "status_code", 500), "Server error"),
    "no fields": (lambda answer: answer.set_data(b"{}"), "Response violates schema"),
}


@pytest.mark.long
def test_errors_are_found(tmp_path):
    """The fuzzing is not idle: a server whose good answers are spoilt, each otherwise, fails."""
    spoils = itertools.cycle(spoil for spoil, _ in SPOILT.values())

    def configure(app):
        @app.after_request
        async def spoilt(answer):
            if answer.status_code == 201:
                next(spoils)(answer)
            return answer

    with LiveServer(database_url=MEMORY_URL, open_app=open_idle_app, configure=configure) as server:
        report = fuzz(server.url, Length(examples=1), tmp_path, modes=("examples",))
    assert report.code == 1, report.text
    assert {name for name, (_, found) in SPOILT.items() if found in report.text} == set(SPOILT)
