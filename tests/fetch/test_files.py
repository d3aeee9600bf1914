"""No file descriptors left: whose fault that is."""

from __future__ import annotations

import contextlib
import os
import resource

import pytest

from taskflow.fetch import http_fetcher
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.model.outcome import ErrorType, Interrupted
from taskflow.settings import Settings
from tests.fetch.scripted import answer, fetch_with, is_failure, response_of
from tests.loopback import OPEN


@contextlib.contextmanager
def no_files_left():
    """Let this process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def short_pause(monkeypatch):
    monkeypatch.setattr(http_fetcher, "FILE_SHORTAGE_PAUSE_SECONDS", 0.01)


async def test_connecting(serve, fetch, capsys):
    """Who cannot make a socket puts the task back, and says so once; later it goes on."""
    server = await serve([answer(b"1")])
    url = f"http://localhost:{server.port}/"
    with no_files_left():
        assert await fetch(url) == Interrupted()
        assert await fetch(url) == Interrupted()
    assert "".join(capsys.readouterr()).count("no file descriptors left") == 1
    response_of(await fetch(url))


async def test_resolving():
    """A name that cannot be looked up for want of files is not the target's failure either."""
    async with open_fetcher(Settings(**OPEN)) as fetcher:
        with no_files_left():
            assert await fetch_with(fetcher, "http://localhost/") == Interrupted()


async def test_other_failures(fetch):
    """While there are files, what fails is the target's."""
    assert is_failure(await fetch("http://no.example/"), ErrorType.DNS)


async def test_what_needs_no_files(fetch):
    """What is wrong with the task itself is told with or without files."""
    with no_files_left():
        assert is_failure(await fetch("http://"), ErrorType.INVALID_URL)
