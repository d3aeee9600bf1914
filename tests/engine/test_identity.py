"""ID tokens: what they say, and the rotation of their keys without a gap."""

from __future__ import annotations

import msgspec
import pytest
import trio
from joserfc import jwk, jwt

from taskflow.api.published_keys import PublishedKeys
from taskflow.engine.identity import Identity, rotate_signing_keys
from taskflow.fetch.errors import TokenRefused, TokenUnavailable
from taskflow.fetch.hop import first_hop
from taskflow.fetch.id_tokens import REUSED_SECONDS, TOKEN_SECONDS, IdTokenAuthenticator
from taskflow.fetch.interface import FetchRequest
from taskflow.model.credential import Oidc
from taskflow.model.errors import StoreUnavailable
from taskflow.model.key_generation import (
    MAX_AGE_SECONDS,
    PUBLISHED_AFTER_SECONDS,
    PUBLISHED_BEFORE_SECONDS,
    SIGNING_SECONDS,
    KeyGeneration,
)
from taskflow.model.keyring import NO_KEYS, Keyring
from taskflow.store.base.signing_keys import KEPT_SECONDS
from taskflow.store.memory.store import MemoryStore
from taskflow.telemetry import Event
from tests.logs import capture_logs

URL = "https://tasks.example.com"
ONE = b"1" * 32
STEP_SECONDS = 3 * 3600.0


@pytest.fixture(scope="module")
def pems():
    """Keys to choose from: to generate RSA keys takes long."""
    from taskflow.model.signing_key import new_pem

    return [{algorithm: new_pem(algorithm) for algorithm in ("RS256", "ES256")} for _ in range(6)]


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch, pems):
    """Take the keys from there."""
    from taskflow.model import signing_key

    left = {algorithm: [each[algorithm] for each in pems] for algorithm in ("RS256", "ES256")}
    monkeypatch.setattr(signing_key, "new_pem", lambda algorithm: left[algorithm].pop())


async def published(store):
    return {
        key["kid"]: key
        for one in await store.signing_keys.all()
        for key in msgspec.json.decode(one.public)
    }


def verified(token: str, keys) -> dict[str, object]:
    header = jwt.decode(token, lambda found: jwk.import_key(keys[found.headers()["kid"]])).header
    key = jwk.import_key(keys[header["kid"]])
    return jwt.decode(token, key, algorithms=[header["alg"]]).claims


async def token_of(authenticator, url: str = "https://api.example.com:8443/path") -> str:
    [(name, value)] = await authenticator.headers(first_hop(FetchRequest(url)))
    assert name == "Authorization"
    return value.removeprefix("Bearer ")


async def test_the_claims(autojump_clock):
    """The audience is the origin of the target, and each token has an id and a short life."""
    store = MemoryStore()
    identity = Identity(store.signing_keys, Keyring([ONE]), URL)
    for algorithm in ("RS256", "ES256"):
        credential = Oidc(hosts=("*.example.com",), algorithm=algorithm)
        authenticator = IdTokenAuthenticator(credential, identity.issuer)
        first = await token_of(authenticator)
        assert first == await token_of(authenticator)
        await trio.sleep(REUSED_SECONDS)
        second = await token_of(authenticator)
        claims = [verified(one, await published(store)) for one in (first, second)]
        assert {one["aud"] for one in claims} == {"https://api.example.com:8443"}
        assert {one["iss"] for one in claims} == {URL}
        assert {one["sub"] for one in claims} == {"taskflow"}
        assert all(one["exp"] - one["iat"] == TOKEN_SECONDS for one in claims)
        assert len({one["jti"] for one in claims}) == 2


async def test_a_given_audience_and_subject(autojump_clock):
    """They are in the token, whatever the target is."""
    store = MemoryStore()
    identity = Identity(store.signing_keys, Keyring([ONE]), URL)
    credential = Oidc(hosts=("api.example.com",), audience="sts", subject="billing")
    token = await token_of(IdTokenAuthenticator(credential, identity.issuer))
    claims = verified(token, await published(store))
    assert (claims["aud"], claims["sub"]) == ("sts", "billing")


async def test_rotation_without_a_gap(autojump_clock):
    """For months, a target that read the keys three hours ago can verify each token."""
    store = MemoryStore()
    nodes = [Identity(store.signing_keys, Keyring([ONE]), URL) for _ in range(2)]
    for node in nodes:
        await node.rotate()
    cached = await published(store)
    used, seen = set(), set(cached)
    for _ in range(int(3.5 * SIGNING_SECONDS / STEP_SECONDS)):
        tokens = [(await node.issuer("ES256")).token("a", "s") for node in nodes]
        for token in tokens:
            verified(token, cached)  # as they were read three hours ago
        used.add((await nodes[0].issuer("ES256")).key.key_id)
        cached = await published(store)
        seen |= set(cached)
        await trio.sleep(TOKEN_SECONDS)
        for token in tokens:
            verified(token, await published(store))
        await trio.sleep(STEP_SECONDS - TOKEN_SECONDS)
        for node in nodes:
            await node.rotate()
    assert MAX_AGE_SECONDS <= STEP_SECONDS
    assert len(used) == 4
    assert len(seen) in (8, 10)  # of each algorithm, and perhaps a next one
    assert len(await store.signing_keys.all()) <= 2


async def test_a_rotation_by_hand(autojump_clock):
    """The keys are published for a day before they sign, and until then all is as before."""
    store = MemoryStore()
    identity = Identity(store.signing_keys, Keyring([ONE]), URL)
    first = (await identity.issuer("ES256")).key.key_id
    entry = await rotate_signing_keys(store.signing_keys, Keyring([ONE]), user="a", is_leaked=False)
    assert (entry.target, entry.detail["withdrawn"]) == ("2", [])
    assert len(await published(store)) == 4
    await trio.sleep(PUBLISHED_BEFORE_SECONDS - 1)
    assert (await identity.issuer("ES256")).key.key_id == first
    await trio.sleep(1 + KEPT_SECONDS)
    second = (await identity.issuer("ES256")).key.key_id
    await identity.rotate()
    assert second != first
    assert {first, second} <= set(await published(store))
    await trio.sleep(PUBLISHED_AFTER_SECONDS)
    await identity.rotate()
    assert first not in await published(store)


async def test_keys_that_have_leaked(autojump_clock):
    """From that moment on, no node signs with them or publishes them; kept tokens are dropped."""
    store = MemoryStore()
    nodes = [Identity(store.signing_keys, Keyring([ONE]), URL) for _ in range(2)]
    credential = Oidc(hosts=("*.example.com",), algorithm="ES256")
    authenticators = [IdTokenAuthenticator(credential, node.issuer) for node in nodes]
    published_keys = PublishedKeys(store.signing_keys)
    await rotate_signing_keys(store.signing_keys, Keyring([ONE]), user="a", is_leaked=False)
    leaked = [await token_of(one) for one in authenticators]
    before = set(await published(store))
    assert len(await published_keys.get()) == len(before)
    entry = await rotate_signing_keys(store.signing_keys, Keyring([ONE]), user="a", is_leaked=True)
    assert (entry.target, entry.detail["withdrawn"]) == ("2", [1])
    after = await published(store)
    assert before.isdisjoint(after)
    for authenticator, old in zip(authenticators, leaked, strict=True):
        token = await token_of(authenticator)
        assert token != old
        verified(token, after)
    assert {msgspec.json.decode(key)["kid"] for key in await published_keys.get()} == set(after)


async def test_nothing_to_rotate(autojump_clock):
    """The command does not make the first keys: no node may ever need them."""
    store = MemoryStore()
    keys = store.signing_keys
    assert await rotate_signing_keys(keys, Keyring([ONE]), user="a", is_leaked=True) is None
    assert await keys.all() == []


async def test_nodes_that_begin_together(autojump_clock):
    """They sign with the same key."""
    store = MemoryStore()
    nodes = [Identity(store.signing_keys, Keyring([ONE]), URL) for _ in range(4)]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.rotate)
    issuers = [await node.issuer("RS256") for node in nodes]
    assert len({issuer.key.key_id for issuer in issuers}) == 1
    assert len(await store.signing_keys.all()) == 1


@pytest.mark.parametrize(
    ("keyring", "url", "reason"),
    [(NO_KEYS, URL, "key missing"), (Keyring([ONE]), "", "TASKFLOW_PUBLIC_URL")],
)
async def test_a_node_that_cannot_sign(autojump_clock, keyring, url, reason):
    """Its tasks are postponed: another node may be able to."""
    store = MemoryStore()
    identity = Identity(store.signing_keys, keyring, url)
    with capture_logs() as logs, pytest.raises(TokenUnavailable, match=reason):
        await identity.issuer("RS256")
    assert [entry["event"] for entry in logs] == [Event.ID_TOKEN_NOT_SIGNED.value[1]]
    assert await identity.rotate() > 0
    assert await store.signing_keys.all() == []


async def test_changed_keys(autojump_clock):
    """Keys that cannot be decrypted sign nothing."""
    store = MemoryStore()
    await Identity(store.signing_keys, Keyring([ONE]), URL).rotate()
    [generation] = await store.signing_keys.all()
    changed = generation.sealed[:-1] + bytes([generation.sealed[-1] ^ 1])
    store.signing_keys._kept[1] = KeyGeneration(1, generation.public, changed), store._now()
    with pytest.raises(TokenRefused):
        await Identity(store.signing_keys, Keyring([ONE]), URL).issuer("RS256")


async def test_an_outage(autojump_clock, monkeypatch):
    """A node that has read the keys signs on; another one postpones its tasks."""
    store = MemoryStore()
    one, two = (Identity(store.signing_keys, Keyring([ONE]), URL) for _ in range(2))
    await one.issuer("RS256")

    async def fail():
        raise StoreUnavailable

    monkeypatch.setattr(store.signing_keys, "all", fail)
    await trio.sleep(KEPT_SECONDS)
    await one.issuer("RS256")
    with pytest.raises(TokenUnavailable, match="store"):
        await two.issuer("RS256")
