"""The documents by which targets verify ID tokens, over HTTP and on both stores."""

from __future__ import annotations

import json
import time

import pytest
import trio
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwk

from taskflow.api.published_keys import PublishedKeys
from taskflow.model.errors import StoreUnavailable
from taskflow.model.key_generation import KeyGeneration
from taskflow.service import MEMORY_URL
from taskflow.store.base.changes import Changes
from taskflow.store.base.signing_keys import KEPT_SECONDS
from taskflow.store.memory.store import MemoryStore
from tests.api.client import check_problem
from tests.api.conftest import PUBLIC_URL
from tests.api.live import LiveServer

CONFIGURATION = "/.well-known/openid-configuration"
JWKS = "/.well-known/jwks.json"


def test_the_documents(server):
    """Authlib's rules hold for the metadata, and the keys are public keys of both algorithms."""
    answer = server.ask("GET", CONFIGURATION)
    assert (answer.status, answer.header("cache-control")) == (200, "public, max-age=3600")
    assert answer.json["issuer"] == PUBLIC_URL
    metadata = OpenIDProviderMetadata(answer.json)
    metadata.validate_issuer()
    metadata.validate_jwks_uri()
    metadata.validate_subject_types_supported()
    metadata.validate_id_token_signing_alg_values_supported()
    assert answer.json["jwks_uri"] == PUBLIC_URL + JWKS
    while not (keys := server.ask("GET", JWKS).json["keys"]):
        time.sleep(0.05)
    assert sorted(key["alg"] for key in keys) == ["ES256", "RS256"]
    for key in keys:
        imported = jwk.import_key(key)
        assert not imported.is_private
        assert imported.thumbprint() == key["kid"]


def test_without_a_public_url():
    """There is no issuer, so a credential of this kind is refused with what to set."""
    with LiveServer(database_url=MEMORY_URL) as server:
        for path in (CONFIGURATION, JWKS):
            assert "TASKFLOW_PUBLIC_URL" in check_problem(server.ask("GET", path), 404)["detail"]
        body = json.dumps({"kind": "oidc", "hosts": ["api.example.com"]}).encode()
        problem = check_problem(server.ask("PUT", "/credentials/own", body), 422)
        assert "TASKFLOW_PUBLIC_URL" in problem["detail"]


async def test_requests_share_a_query(autojump_clock):
    """Anyone may ask, at no cost; an empty list is read again, and so is any after a minute."""
    store, queries = MemoryStore().signing_keys, []

    class Counting(Changes):
        async def all(self):
            queries.append(trio.current_time())
            return await store.all()

    keys = PublishedKeys(Counting())
    assert [await keys.get() for _ in range(2)] == [[], []]
    await store.add_if_next(KeyGeneration(1, '[{"kid":"a"}]', b""))
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(keys.get)
    assert ([bytes(key) for key in await keys.get()], len(queries)) == ([b'{"kid":"a"}'], 3)
    await trio.sleep(KEPT_SECONDS)
    await store.add_if_next(KeyGeneration(2, '[{"kid":"b"}]', b""))
    assert len(await keys.get()) == 2


async def test_an_outage_of_the_store(autojump_clock):
    """Targets verify tokens meanwhile: known keys are published on, and unknown ones are a 503."""

    class Broken(Changes):
        state = "works"

        async def all(self):
            if self.state == "hangs":
                await trio.sleep_forever()
            if self.state == "is down":
                raise StoreUnavailable
            return [KeyGeneration(1, '[{"kid":"a"}]', b"")]

    store = Broken()
    known = PublishedKeys(store)
    assert len(await known.get()) == 1
    for state in ("hangs", "is down"):
        store.state = state
        await trio.sleep(KEPT_SECONDS)
        assert len(await known.get()) == 1
    with pytest.raises(StoreUnavailable):
        await PublishedKeys(store).get()


def test_they_are_open():
    """Targets have no API key."""
    with LiveServer(database_url=MEMORY_URL, public_url=PUBLIC_URL, key="k" * 20) as server:
        server._credentials = {}
        assert server.ask("GET", "/stats").status == 401
        assert server.ask("GET", CONFIGURATION).status == 200
        assert server.ask("GET", JWKS).status == 200
