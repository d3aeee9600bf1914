"""https: who is trusted, and what is said if nobody is."""

from __future__ import annotations

import contextlib
import datetime as dt
import ssl

import pytest
import trio
import trustme

from taskflow.fetch.dialing import new_ssl_context
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.model.outcome import ErrorType
from taskflow.settings import Settings
from tests.fetch.scripted import Then, Unasked, answer, fetch_with, is_failure, pem_of, response_of
from tests.loopback import OPEN

OK = answer(b'"secret"')


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
async def secure_fetcher(authority, resolver):
    context = new_ssl_context(pem_of(authority))
    resolver.table["wrong.example"] = ["127.0.0.1"]
    async with open_fetcher(Settings(**OPEN), resolver=resolver, ssl_context=context) as opened:
        yield opened


@pytest.fixture
def serve_tls(serve):
    async def start(certificate, *scripts):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2", "http/1.1"])
        certificate.configure_cert(context)
        return await serve(*scripts, ssl_context=context)

    return start


async def test_trusted(serve_tls, secure_fetcher, authority):
    """A certificate of a trusted authority for the host is good, and the connection is kept."""
    server = await serve_tls(authority.issue_cert("localhost"), [OK, OK])
    for _ in range(2):
        response = response_of(
            await fetch_with(secure_fetcher, f"https://localhost:{server.port}/")
        )
        assert bytes(response.result) == b'"secret"'
    assert server.connections == 1


async def test_address(serve_tls, secure_fetcher, authority):
    """A certificate may be for an address."""
    server = await serve_tls(authority.issue_cert("127.0.0.1"), [OK])
    response_of(await fetch_with(secure_fetcher, f"https://127.0.0.1:{server.port}/"))


async def test_wrong_name(serve_tls, secure_fetcher, authority):
    """A certificate for another host is not trusted, and no request is sent."""
    server = await serve_tls(authority.issue_cert("localhost"), [OK])
    outcome = await fetch_with(secure_fetcher, f"https://wrong.example:{server.port}/")
    assert is_failure(outcome, ErrorType.TLS, "not trusted", "wrong.example")
    assert server.requests == []
    await server.all_closed.wait()


async def test_unknown_authority(serve_tls, secure_fetcher):
    """A certificate of an authority that is not known is not trusted."""
    server = await serve_tls(trustme.CA().issue_cert("localhost"), [OK])
    outcome = await fetch_with(secure_fetcher, f"https://localhost:{server.port}/")
    assert is_failure(outcome, ErrorType.TLS, "tls error: ", "not trusted", "issuer")
    assert server.requests == []


async def test_expired(serve_tls, secure_fetcher, authority):
    """A certificate that has run out is not trusted."""
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = authority.issue_cert("localhost", not_after=past)
    server = await serve_tls(certificate, [OK])
    outcome = await fetch_with(secure_fetcher, f"https://localhost:{server.port}/")
    assert is_failure(outcome, ErrorType.TLS, "expired")


async def test_default_trust(serve_tls, fetch, authority):
    """Without a context of ours the system's authorities count, and not ours."""
    server = await serve_tls(authority.issue_cert("localhost"), [OK])
    outcome = await fetch(f"https://localhost:{server.port}/")
    assert is_failure(outcome, ErrorType.TLS, "not trusted")


async def test_no_tls_there(serve, secure_fetcher):
    """A server that speaks plain HTTP on that port is named as the likely cause."""
    server = await serve([Unasked(b"HTTP/1.1 400 Bad Request\r\n\r\n")])
    outcome = await fetch_with(secure_fetcher, f"https://localhost:{server.port}/")
    assert is_failure(outcome, ErrorType.TLS, "does this port use TLS?")


async def test_end_without_farewell(serve_tls, secure_fetcher, authority):
    """A body that ends with a TLS connection is whole without a close_notify, as in browsers."""
    script = [b"HTTP/1.1 200 OK\r\n\r\nto the end", Then.CLOSE]
    server = await serve_tls(authority.issue_cert("localhost"), script)
    outcome = await fetch_with(secure_fetcher, f"https://localhost:{server.port}/")
    assert response_of(outcome).result == "to the end"


class RecordServer:
    """Answers each request with several TLS records in one piece of TCP."""

    def __init__(self, context, *records):
        self._context = context
        self._records = records
        self.connections = 0

    async def run(self, *, task_status):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(listener.socket.getsockname()[1])
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, stream):
        self.connections += 1
        came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(came, goes, server_side=True)

        async def pump(work):
            while True:
                try:
                    done = work()
                except ssl.SSLWantReadError:
                    done = None
                if goes.pending:
                    await stream.send_all(goes.read())
                if done is not None:
                    return done
                came.write(await stream.receive_some())

        with contextlib.suppress(ssl.SSLError, trio.BrokenResourceError):
            await pump(lambda: tls.do_handshake() or True)
            while await pump(lambda: tls.read(65_536)):
                for record in self._records:
                    tls.write(record)
                await stream.send_all(goes.read())


@pytest.mark.parametrize("unasked", [True, False])
async def test_records_that_nobody_asked_for(nursery, secure_fetcher, authority, unasked):
    """An answer behind the answer is not taken for that to the next request, of another task."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    records = [answer(b'"first"'), answer(b'"smuggled"')] if unasked else [answer(b'"first"')]
    server = RecordServer(context, *records)
    port = await nursery.start(server.run)
    for _ in range(3):
        response = response_of(await fetch_with(secure_fetcher, f"https://localhost:{port}/"))
        assert bytes(response.result) == b'"first"'
    assert server.connections == (3 if unasked else 1)
    nursery.cancel_scope.cancel()
