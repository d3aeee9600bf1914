"""Access tokens of OAuth 2.0: from a server by Authlib, shared, kept, renewed, and never shown."""

from __future__ import annotations

import base64
import html
import json
import ssl

import msgspec
import pytest
import trio
import trio.testing
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from taskflow.fetch.access_tokens import (
    MAX_DAMAGED_RESPONSES,
    MAX_REFUSAL_PAUSE_SECONDS,
    MAX_TOKENS,
    AccessTokens,
)
from taskflow.fetch.authenticators import Authenticators
from taskflow.fetch.dialing import new_ssl_context
from taskflow.fetch.errors import TokenRefused, TokenUnavailable
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.fetch.interface import Fetcher
from taskflow.fetch.recording import Keeping, Recording
from taskflow.metrics import Metrics
from taskflow.metrics.exposition import expose
from taskflow.model.credential import OAuth2
from taskflow.model.masking import Masking
from taskflow.model.outcome import ErrorType, Fetched, Postponed, Response, failed
from taskflow.settings import Settings
from tests.authorization_server import CLIENT_ID, CLIENT_SECRET, SCOPE, OAuthServer
from tests.egress_proxy import EgressProxy
from tests.fetch.conftest import no_issuer
from tests.fetch.scripted import Then, fetch_with, is_failure, pem_of, response_of
from tests.loopback import OPEN
from tests.metrics.scrape import Scrape

ENCODED_SECRET = "s3cr3t%20%2B%25%26%3D%3A%2F%C3%BC%20value"
DEAD_PORT = 1
REMOTE = OAuth2(
    hosts=("api.example",),
    token_url="https://login.example/token",
    client_id="taskflow",
    client_secret="s3cr3t",
)


@pytest.fixture
def oauth():
    with OAuthServer().running() as server:
        yield server


@pytest.fixture
def credential(oauth):
    return OAuth2(
        hosts=("localhost",),
        token_url=f"{oauth.url}/token",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        scope=SCOPE,
    )


@pytest.fixture
def call(oauth, fetch, authenticators):
    """Fetch the resource with a credential."""

    async def fetch_resource(credential, **options):
        authenticator = authenticators.of(credential)
        return await fetch(f"{oauth.url}/resource", authenticator=authenticator, **options)

    return fetch_resource


def key_pair(kind):
    if kind == "RSA":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
async def test_a_secret(oauth, credential, call, auth):
    """Any characters of the id and the secret arrive, and the resource accepts the token."""
    credential = msgspec.structs.replace(credential, auth=auth, audience="https://api.example")
    response = response_of(await call(credential, method="POST", body=b"{}"))
    assert msgspec.json.decode(response.result) == "done"
    [form] = oauth.token_requests
    assert (form["grant_type"], form["scope"]) == ("client_credentials", SCOPE)
    assert form["audience"] == "https://api.example"
    assert ("client_secret" in form) == (auth == "client_secret_post")


@pytest.mark.parametrize("kind", ["RSA", "EC"])
async def test_an_assertion(oauth, credential, call, kind):
    """Authlib verifies the signature, the audience, the end, and that each id is used once."""
    private, oauth.public_key = key_pair(kind)
    oauth.is_rsa = kind == "RSA"
    credential = msgspec.structs.replace(
        credential, auth="private_key_jwt", client_secret=None, private_key=private, key_id="k1"
    )
    for scope in ("invoices:read", SCOPE):  # two tokens, so two assertions
        response_of(await call(msgspec.structs.replace(credential, scope=scope)))
    first, second = (form["client_assertion"] for form in oauth.token_requests)
    assert first != second
    header = json.loads(base64.urlsafe_b64decode(first.partition(".")[0] + "=="))
    assert header["kid"] == "k1"


async def test_an_assertion_by_another_key(oauth, credential, call):
    """It is refused, so the test before can fail."""
    oauth.public_key, oauth.is_rsa = key_pair("RSA")[1], True
    private, _ = key_pair("RSA")
    credential = msgspec.structs.replace(credential, auth="private_key_jwt", private_key=private)
    outcome = await call(credential)
    assert is_failure(outcome, ErrorType.TOKEN, "invalid_client")


async def test_one_request_for_1000_tasks(oauth, credential, call):
    """Tasks that wait share the request; one that is cancelled does not end it for the others."""
    oauth.may_answer.clear()
    outcomes = []

    async def run():
        outcomes.append(await call(credential))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as first:
            async with trio.open_nursery() as canceled:
                canceled.start_soon(call, credential)
                while not oauth.token_requests:
                    await trio.sleep(0.01)
                first.cancel()
        for _ in range(1000):
            nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        oauth.may_answer.set()
    assert len(oauth.token_requests) == 1
    assert [type(outcome) for outcome in outcomes] == [Fetched] * 1000
    assert oauth.resource_requests == 1000


async def test_a_revoked_token(oauth, credential, call):
    """A 401 drops it: tasks that had it try once more, with one new token for all."""
    response_of(await call(credential))
    oauth.revoke_all()
    async with trio.open_nursery() as nursery:
        outcomes = []

        async def run():
            outcomes.append(await call(credential, method="POST", body=b"{}"))

        for _ in range(20):
            nursery.start_soon(run)
    assert [type(outcome) for outcome in outcomes] == [Fetched] * 20
    assert len(oauth.token_requests) == 2


async def test_tokens_that_are_never_accepted(oauth, credential, call):
    """The token endpoint is asked once more, and then not for each task."""
    oauth.accepts = False
    for _ in range(5):
        assert is_failure(await call(credential), ErrorType.HTTP_STATUS, "401")
    assert len(oauth.token_requests) == 2


@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
async def test_invalid_client(oauth, credential, call, auth):
    """The error says why, shows no secret, and the endpoint is not asked again at once."""
    oauth.client_secret = "another"
    credential = msgspec.structs.replace(credential, auth=auth)
    for _ in range(5):
        outcome = await call(credential)
        assert is_failure(outcome, ErrorType.TOKEN, oauth.url, "invalid_client")
        assert "s3cr3t" not in outcome.error
    assert len(oauth.token_requests) == 1
    assert oauth.resource_requests == 0


@pytest.mark.parametrize(
    "echo",
    [
        *(CLIENT_SECRET, ENCODED_SECRET, "Basic {basic}"),
        *(ENCODED_SECRET.lower(), html.escape(CLIENT_SECRET), json.dumps(CLIENT_SECRET)[1:-1]),
        *(CLIENT_SECRET.upper(), base64.b64encode(CLIENT_SECRET.encode()).decode()),
    ],
    ids=["plain", "form", "header", "form in small letters", "HTML", "JSON", "capitals", "base64"],
)
async def test_an_endpoint_that_sends_the_secret_back(oauth, credential, call, echo):
    """It is masked in the error of the task."""
    basic = base64.b64encode(f"task%20flow%2F%C3%A4%3A1:{ENCODED_SECRET}".encode()).decode()
    text = f"no client with {echo.format(basic=basic)} here"
    body = json.dumps({"error": "invalid_client", "error_description": text})
    oauth.broken = (400, body, {"Content-Type": "application/json"})
    outcome = await call(credential)
    assert is_failure(outcome, ErrorType.TOKEN, "invalid_client: no client with", "*** here")
    assert "s3cr3t" not in outcome.error.lower()
    assert basic not in outcome.error


@pytest.mark.parametrize(
    ("broken", "delay"),
    [
        ((500, "oops", {}), 1),
        ((503, "later", {"Retry-After": "20"}), 20),
        ((429, '{"error": "slow_down"}', {}), 1),
    ],
)
async def test_a_broken_endpoint(oauth, credential, call, broken, delay):
    """Attempts are postponed, which costs none of them, and the endpoint has time to recover."""
    oauth.broken = broken
    for _ in range(3):
        outcome = await call(credential)
        assert isinstance(outcome, Postponed), outcome
        assert outcome.error_type is ErrorType.TOKEN
        assert delay - 1 <= outcome.delay_seconds <= delay
    assert len(oauth.token_requests) == 1


async def test_an_endpoint_that_is_down(credential, fetch, authenticators):
    """A connection that fails is like a broken endpoint."""
    credential = msgspec.structs.replace(credential, token_url=f"http://localhost:{DEAD_PORT}/")
    outcome = await fetch("http://localhost:1/", authenticator=authenticators.of(credential))
    assert isinstance(outcome, Postponed)
    assert "connect error" in outcome.error


async def test_an_endpoint_that_hangs(oauth, credential, call):
    """Its tasks are postponed before their own timeout, which would cost an attempt."""
    oauth.may_answer.clear()
    with trio.move_on_after(0.5) as scope:
        outcome = await call(credential)
    assert not scope.cancelled_caught
    assert isinstance(outcome, Postponed)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ("not json", "has no access token"),
        ("[]", "has no access token"),
        ('{"token_type": "Bearer"}', "has no access token"),
        ('{"access_token": "a\\nb", "token_type": "bearer"}', "cannot be sent"),
        ('{"access_token": "abc", "token_type": "mac"}', "not bearer tokens"),
    ],
)
async def test_a_response_without_a_token(oauth, credential, call, response, error):
    """It is an error of the credential."""
    oauth.broken = (200, response, {})
    assert is_failure(await call(credential), ErrorType.TOKEN, oauth.url, error)


@pytest.mark.parametrize(
    "response",
    [
        '{"access_token": "abc", "x": "' + "x" * 100_001 + '"}',
        '{"access_token": "abc", "x": ' + "[" * 20_000 + "]" * 20_000 + "}",
    ],
    ids=["too long", "too deep"],
)
@pytest.mark.parametrize("status", [200, 400, 503])
async def test_a_response_that_cannot_be_read(oauth, credential, call, status, response):
    """It is an error of the credential, unless its status says that it is an outage."""
    oauth.broken = (status, response, {"Content-Type": "application/json"})
    outcome = await call(credential)
    if status == 503:
        assert isinstance(outcome, Postponed)
    else:
        assert is_failure(outcome, ErrorType.TOKEN, oauth.url)
    assert len(oauth.token_requests) == 1


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
NO_HTTP = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"


@pytest.mark.parametrize("script", [(NO_HTTP,), (HEAD + b"{", Then.CLOSE)], ids=["SSH", "cut off"])
async def test_a_damaged_response(serve, fetch, authenticators, credential, script):
    """A restart of the endpoint can cause one, so the task waits."""
    server = await serve(script)
    credential = msgspec.structs.replace(credential, token_url=f"http://localhost:{server.port}/")
    outcome = await fetch("http://localhost:1/", authenticator=authenticators.of(credential))
    assert isinstance(outcome, Postponed)
    assert "protocol" in outcome.error


class Broken(Fetcher):
    """A token endpoint that never has a usable response, on the virtual clock."""

    def __init__(self, manner):
        self.manner = manner

    async def fetch(self, request):
        await trio.lowlevel.checkpoint()
        if self.manner in ("protocol", "connect"):
            return failed(ErrorType(self.manner), self.manner)
        if self.manner == "begins":
            keeping = Keeping(Masking(()), 0)
            request.recorder.last = Recording("", 200, "OK", {}, bytearray(), keeping)
        return await trio.sleep_forever()


@pytest.mark.parametrize(
    ("manner", "waits"),
    [
        ("protocol", MAX_DAMAGED_RESPONSES - 1),
        ("begins", MAX_DAMAGED_RESPONSES - 1),
        ("hangs", 10),
        ("connect", 10),
    ],
)
async def test_responses_that_are_always_damaged(autojump_clock, nursery, manner, waits):
    """After some in a row, tasks fail; without any response, they wait for however long."""
    tokens = AccessTokens(Broken(manner))
    await nursery.start(tokens.run)
    errors = []
    for _ in range(10):
        with pytest.raises((TokenRefused, TokenUnavailable)) as caught:
            await tokens.get(REMOTE)
        errors.append(caught.type)
        await trio.sleep(MAX_REFUSAL_PAUSE_SECONDS)
    assert errors == [TokenUnavailable] * waits + [TokenRefused] * (10 - waits)


async def test_a_damaged_response_after_an_outage(autojump_clock, nursery):
    """Only damaged responses in a row count."""
    endpoint = Broken("connect")
    tokens = AccessTokens(endpoint)
    await nursery.start(tokens.run)
    for manner in ("connect", "protocol") * MAX_DAMAGED_RESPONSES:
        endpoint.manner = manner
        with pytest.raises(TokenUnavailable):
            await tokens.get(REMOTE)
        await trio.sleep(MAX_REFUSAL_PAUSE_SECONDS)


async def test_a_redirect_of_the_endpoint(oauth, credential, call):
    """The secret does not follow it."""
    oauth.broken = (307, "", {"Location": f"{oauth.url}/other"})
    assert is_failure(await call(credential), ErrorType.TOKEN, "307")
    assert len(oauth.token_requests) == 1


class Endpoint(Fetcher):
    """A token endpoint that answers at once, on the virtual clock."""

    def __init__(self, expires_in):
        self.granted = 0
        self._expires_in = expires_in

    async def fetch(self, request):
        await trio.lowlevel.checkpoint()
        self.granted += 1
        body = {"access_token": f"token-{self.granted}", "expires_in": self._expires_in}
        return Fetched(response_with(msgspec.json.encode(body)))


def response_with(body: bytes) -> Response:
    return Response(
        message="fetched",
        result=msgspec.Raw(body),
        status="200 OK",
        status_code=200,
        headers={},
        content_type="application/json",
        encoding="json",
        url="https://login.example/token",
        elapsed_seconds=0.0,
        size=len(body),
    )


@pytest.mark.parametrize(
    ("expires_in", "usable"),
    [
        *((3600, 3540), ("3600", 3540), (None, 240), (100, 50), (10**9, 86340)),
        *(("inf", 86340), ("nan", 240)),
    ],
)
async def test_how_long_a_token_is_kept(autojump_clock, nursery, expires_in, usable):
    """Until a minute before its end, or half of a short lifetime; 5 minutes if none is given."""
    endpoint = Endpoint(expires_in)
    tokens = AccessTokens(endpoint)
    await nursery.start(tokens.run)
    assert await tokens.get(REMOTE) == "token-1"
    await trio.sleep(usable - 1)
    assert await tokens.get(REMOTE) == "token-1"
    await trio.sleep(1)
    assert await tokens.get(REMOTE) == "token-2"


async def test_tokens_that_end_at_once(autojump_clock, nursery):
    """Each task gets one of its own, and none waits for ever."""
    endpoint = Endpoint(0)
    tokens = AccessTokens(endpoint)
    await nursery.start(tokens.run)
    assert [await tokens.get(REMOTE) for _ in range(3)] == ["token-1", "token-2", "token-3"]


async def test_few_workers_wait_for_an_endpoint_that_hangs(autojump_clock, nursery):
    """Tasks that come later are postponed at once, for as long as it hangs already."""

    class Hanging(Endpoint):
        async def fetch(self, request):
            await trio.sleep_forever()

    tokens = AccessTokens(Hanging(3600))
    await nursery.start(tokens.run)
    for seconds, delay in ((9.0, 9.0), (0.0, 9.0), (0.0, 9.0)):
        began = trio.current_time()
        with trio.fail_after(10), pytest.raises(TokenUnavailable, match="yet") as caught:
            await tokens.get(REMOTE)
        assert trio.current_time() - began == pytest.approx(seconds)
        assert caught.value.delay_seconds == pytest.approx(delay)


async def test_credentials_do_not_share_tokens(autojump_clock, nursery):
    """Not even if only their scope differs; and a limited number of them is kept."""
    endpoint = Endpoint(3600)
    tokens = AccessTokens(endpoint)
    await nursery.start(tokens.run)
    scopes = [f"s{number}" for number in range(MAX_TOKENS + 1)]
    for scope in (*scopes, scopes[-1], scopes[0]):
        await tokens.get(msgspec.structs.replace(REMOTE, scope=scope))
    assert endpoint.granted == MAX_TOKENS + 2  # the first was dropped
    assert len(tokens) == MAX_TOKENS


async def test_the_end_of_a_node_during_a_request(autojump_clock):
    """The next node of the process asks again."""
    endpoint = Endpoint(3600)
    tokens = AccessTokens(endpoint)
    async with trio.open_nursery() as first:
        await first.start(tokens.run)
        with trio.CancelScope() as waiting:
            waiting.cancel()
            await tokens.get(REMOTE)
        first.cancel_scope.cancel()
    async with trio.open_nursery() as second:
        await second.start(tokens.run)
        assert await tokens.get(REMOTE) == "token-1"
        second.cancel_scope.cancel()


async def test_a_blocked_endpoint(credential, resolver):
    """The guard applies to token requests, too."""
    settings = Settings(**OPEN | {"allow_ports": ("1-1023",)})
    async with open_fetcher(settings, resolver=resolver) as fetcher, trio.open_nursery() as nursery:
        authenticators = Authenticators(fetcher, no_issuer)
        await nursery.start(authenticators.run)
        outcome = await fetch_with(
            fetcher, "http://localhost/", authenticator=authenticators.of(credential)
        )
        nursery.cancel_scope.cancel()
    assert is_failure(outcome, ErrorType.TOKEN, "blocked", "TASKFLOW_ALLOW_PORTS")


@pytest.mark.parametrize("url", ["http://login.example/token", "https:/login.example", "token"])
async def test_an_endpoint_without_tls(credential, fetch, authenticators, url):
    """Nothing is sent to a URL that is not private, or no URL."""
    credential = msgspec.structs.replace(credential, token_url=url)
    outcome = await fetch("http://localhost/", authenticator=authenticators.of(credential))
    assert is_failure(outcome, ErrorType.TOKEN, "invalid url")


async def test_an_endpoint_with_a_loopback_name(credential, fetch, authenticators, resolver):
    """No secret goes over http to a name below ``.localhost`` that is another machine."""
    resolver.table["login.localhost"] = ["10.0.0.1"]
    credential = msgspec.structs.replace(credential, token_url="http://login.localhost/token")
    outcome = await fetch("http://localhost:1/", authenticator=authenticators.of(credential))
    assert is_failure(outcome, ErrorType.TOKEN, "blocked", "does not resolve to a loopback")


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_through_the_egress_proxy(nursery, credential, is_trusted):
    """Token requests use the proxy, and verify the certificate of the endpoint."""
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("login.example").configure_cert(server_context)
    trusted = authority if is_trusted else trustme.CA()
    client_context = new_ssl_context(pem_of(trusted))
    proxy = await nursery.start(EgressProxy().run)
    settings = Settings(**OPEN, egress_proxy=proxy.url)
    with OAuthServer(server_context).running() as server:
        origin = server.url.replace("localhost", "login.example")
        credential = msgspec.structs.replace(
            credential, hosts=("login.example",), token_url=f"{origin}/token"
        )
        async with open_fetcher(settings, ssl_context=client_context) as fetcher:
            authenticators = Authenticators(fetcher, no_issuer)
            await nursery.start(authenticators.run)
            outcome = await fetch_with(
                fetcher, f"{origin}/resource", authenticator=authenticators.of(credential)
            )
    if is_trusted:
        response_of(outcome)
        assert len(proxy.requests) == 2
        assert server.resource_requests == 1
    else:
        assert isinstance(outcome, Postponed)
        assert "the certificate is not trusted" in outcome.error
        assert not server.token_requests
    assert all(line.startswith("CONNECT login.example:") for line in proxy.requests)


async def test_requests_are_counted(oauth, credential, fetcher, nursery):
    """Each by its result; tasks that share one, or wait, count none."""
    metrics = Metrics()
    authenticators = Authenticators(fetcher, no_issuer, metrics)
    await nursery.start(authenticators.run)
    cases = ((None, "a"), ((500, "", {}), "b"), ((400, '{"error": "invalid_scope"}', {}), "c"))
    for oauth.broken, scope in cases:
        asked = msgspec.structs.replace(credential, scope=f"{SCOPE} {scope}")
        for _ in range(2):
            await fetch_with(
                fetcher, f"{oauth.url}/resource", authenticator=authenticators.of(asked)
            )
    scrape = Scrape(expose(metrics.registry, [], "").body.decode())
    counts = scrape.nonzero("taskflow_token_requests_total", "result")
    assert counts == {"granted": 1, "failed": 1, "refused": 1}
