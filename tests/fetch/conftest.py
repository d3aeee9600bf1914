"""Fixtures: a fetcher over a fake resolver, and scripted servers."""

from __future__ import annotations

import functools

import pytest

from taskflow.fetch.authenticators import Authenticators
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.settings import Settings
from tests.fetch.scripted import FakeResolver, ScriptedServer, fetch_with
from tests.loopback import OPEN


@pytest.fixture
def settings():
    return Settings(**OPEN, max_result_bytes=100_000, max_redirects=3)


@pytest.fixture
def resolver():
    return FakeResolver({"localhost": ["127.0.0.1"]})


@pytest.fixture
async def fetcher(settings, resolver):
    async with open_fetcher(settings, resolver=resolver) as opened:
        yield opened


async def no_issuer(algorithm):
    raise AssertionError


@pytest.fixture
async def authenticators(fetcher, nursery):
    opened = Authenticators(fetcher, no_issuer)
    await nursery.start(opened.run)
    return opened


@pytest.fixture
def fetch(fetcher):
    """Fetch a URL with the fetcher."""
    return functools.partial(fetch_with, fetcher)


@pytest.fixture
def serve(nursery):
    """Start a server; each argument is the script of one connection, the last repeats."""

    async def start(*scripts, host="127.0.0.1", ssl_context=None):
        server = ScriptedServer(scripts, ssl_context)
        return await nursery.start(functools.partial(server.run, host))

    return start


@pytest.fixture
def get(serve, fetch):
    """Fetch from a server that plays this script once, by name so that Host shows."""

    async def fetch_script(*script, **kwargs):
        server = await serve(script)
        return await fetch(f"http://localhost:{server.port}/", **kwargs)

    return fetch_script
