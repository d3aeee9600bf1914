"""A 202 to a request of a task that says how it is completed."""

from __future__ import annotations

import pytest

from taskflow.fetch.recording import Recorder
from taskflow.model.completion import (
    DEFAULT_POLL_SECONDS,
    MAX_POLL_SECONDS,
    MIN_POLL_SECONDS,
    Completion,
    CompletionMode,
)
from taskflow.model.outcome import ErrorType, Parked
from tests.fetch.scripted import answer, is_failure, response_of

CALLBACK = Completion(CompletionMode.CALLBACK, 60.0)
POLL = Completion(CompletionMode.POLL, 60.0)


def accepted(*fields, body=b"soon"):
    return answer(body, *fields, status="202 Accepted")


async def test_without_completion(get):
    """A 202 is a response like others."""
    response = response_of(await get(accepted("Location: /x")))
    assert (response.status, response.result) == ("202 Accepted", "soon")


async def test_a_callback(get):
    """In the mode callback, Location and Retry-After mean nothing, valid or not."""
    script = accepted("Location: ftp://x", "Location: /a", "Retry-After: 9")
    assert await get(script, completion=CALLBACK) == Parked(60.0)


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content"])
@pytest.mark.parametrize("completion", [CALLBACK, POLL])
async def test_other_statuses(get, completion, status):
    """Any other success is the outcome."""
    body = b"" if status.startswith("204") else b'"now"'
    outcome = await get(answer(body, "Location: /x", status=status), completion=completion)
    assert response_of(outcome).status == status


async def test_a_202_that_is_no_success(get):
    """If the task does not count it as success, the attempt fails."""
    outcome = await get(accepted("Location: /x"), completion=POLL, success_on=(200,))
    assert is_failure(outcome, ErrorType.HTTP_STATUS, "202 Accepted")


@pytest.mark.parametrize(
    ("location", "path"),
    [("/jobs/7?secret=1", "/jobs/7?secret=1"), ("jobs/7#x", "/a/jobs/7"), ("?b", "/a/b?b")],
)
async def test_the_url_to_poll(serve, fetch, location, path):
    """It is resolved against the URL of the response, after redirects, and not masked."""
    moved = answer(b"", "Location: /a/b", status="307 Temporary Redirect")
    server = await serve([moved, accepted(f"Location: {location}")])
    outcome = await fetch(f"http://localhost:{server.port}/x", completion=POLL)
    assert outcome == Parked(60.0, f"http://localhost:{server.port}{path}", DEFAULT_POLL_SECONDS)


async def test_another_host(get):
    """The URL to poll may have another origin: the poll is checked like any other request."""
    outcome = await get(accepted("Location: https://other.example/7"), completion=POLL)
    assert outcome == Parked(60.0, "https://other.example/7", DEFAULT_POLL_SECONDS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("0", MIN_POLL_SECONDS), ("999999999", MAX_POLL_SECONDS), ("soon", 5.0)],
)
async def test_the_delay(get, text, seconds):
    """Retry-After is the delay until the poll, within bounds."""
    outcome = await get(accepted("Location: /x", f"Retry-After: {text}"), completion=POLL)
    assert isinstance(outcome, Parked)
    assert outcome.poll_delay_seconds == seconds


@pytest.mark.parametrize(
    ("fields", "error_type", "text"),
    [
        ((), ErrorType.PROTOCOL, "the 202 has no Location to poll"),
        (("Location:",), ErrorType.PROTOCOL, "the 202 has no Location to poll"),
        (("Location: /a", "Location: /b"), ErrorType.PROTOCOL, "several different Location"),
        (("Location: ftp://x/y?z",), ErrorType.INVALID_URL, "'ftp://x/y?***'"),
        (("Location: http://a:b@x/",), ErrorType.INVALID_URL, "***@x/"),
    ],
)
async def test_no_url_to_poll(get, fields, error_type, text):
    """Without a valid URL the attempt fails, and shows the response."""
    recorder = Recorder()
    outcome = await get(accepted(*fields), completion=POLL, recorder=recorder)
    assert is_failure(outcome, error_type, text)
    shown = recorder.added_to(outcome).response
    assert (shown.status_code, shown.text) == (202, "soon")


async def test_a_poll_without_location(get):
    """It is repeated at the same URL."""
    outcome = await get(
        accepted("Retry-After: 2"), completion=POLL, poll_url="http://localhost/same"
    )
    assert outcome == Parked(60.0, "http://localhost/same", 2.0)


@pytest.mark.parametrize("size", [100, 10_000_000])
async def test_the_body_does_not_matter(serve, fetch, size):
    """The target works on, although the body breaks off or is larger than a result may be."""
    head = f"HTTP/1.1 202 Accepted\r\nContent-Length: {size}\r\n\r\n".encode()
    server = await serve([head + b"x" * 50])
    outcome = await fetch(f"http://localhost:{server.port}/", completion=CALLBACK)
    assert outcome == Parked(60.0)
