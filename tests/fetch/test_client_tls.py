"""Client certificates: against openssl s_server, in the pool, and on their way to OpenSSL."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import msgspec
import pytest
import rich.pretty
import trio
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from taskflow.fetch import client_tls
from taskflow.fetch.authenticators import Authenticators
from taskflow.fetch.dialing import new_ssl_context
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.model.client_certificate import certificates_of, check_client_certificate
from taskflow.model.credential import Bearer, Mtls, OAuth2
from taskflow.model.outcome import ErrorType
from taskflow.settings import Settings
from tests.authorization_server import CLIENT_ID, OAuthServer
from tests.egress_proxy import EgressProxy
from tests.fetch.conftest import no_issuer
from tests.fetch.scripted import answer, fetch_with, is_failure, pem_of, response_of
from tests.fetch.test_fetch_redirects import DONE, redirect
from tests.loopback import OPEN

OK = answer(b"1")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(autouse=True)
def empty_cache():
    client_tls._client_tls.cache_clear()


def mtls(authority, name: str, **fields) -> Mtls:
    """A credential with a certificate for a name."""
    issued = authority.issue_cert(f"{name}.example", common_name=name)
    known = {
        "hosts": ("localhost",),
        "certificate": "".join(part.bytes().decode() for part in issued.cert_chain_pems),
        "private_key": issued.private_key_pem.bytes().decode(),
        "ca_bundle": pem_of(authority),
    }
    return Mtls(**{**known, **fields})


def server_context(authority, name="localhost", verify=ssl.CERT_REQUIRED):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = verify
    return context


@pytest.fixture
def identification(authority):
    found = mtls(authority, "one")
    return client_tls.Identification(found.certificate, found.private_key, found.ca_bundle)


@pytest.fixture
async def s_server(nursery, authority, tmp_path):
    """``openssl s_server``, which insists on a client certificate and shows whose it is."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-Verify", "2"]
    command += ["-verify_return_error", "-cert", "server.pem", "-key", "server.pem"]
    command += ["-CAfile", "ca.pem"]
    process = await trio.lowlevel.open_process(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        shown = b""
        with trio.fail_after(20):
            while b"ACCEPT " not in shown or not shown.endswith(b"\n"):
                shown += await process.stdout.receive_some()
        line = next(line for line in shown.decode().splitlines() if line.startswith("ACCEPT "))
        nursery.start_soon(drain, process)
        yield f"https://localhost:{line.rpartition(':')[2]}/"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def drain(process) -> None:
    async for _ in process.stdout:
        pass


async def test_openssl_verifies_the_certificate(s_server, fetch, authenticators, authority):
    """The server accepts the handshake, and shows the name in the certificate."""
    authenticator = authenticators.of(mtls(authority, "taskflow-billing"))
    response = response_of(await fetch(s_server, authenticator=authenticator))
    assert "taskflow-billing" in str(response.result)


async def test_openssl_refuses_others(s_server, fetch, authenticators, authority):
    """Without a certificate, and with one of another authority, there is no response."""
    other = mtls(trustme.CA(), "taskflow", ca_bundle=pem_of(authority))
    none = OAuth2(
        hosts=("localhost",), token_url=s_server, client_id="x", ca_bundle=pem_of(authority)
    )
    outcome = await fetch(s_server, authenticator=authenticators.of(other))
    assert outcome.error_type in (ErrorType.TLS, ErrorType.CONNECT), outcome
    outcome = await fetch(s_server, authenticator=authenticators.of(none))
    assert outcome.error_type is ErrorType.TOKEN, outcome


async def test_connections_are_not_shared(serve, fetch, authenticators, authority):
    """A connection is reused with its own certificate only, neither with another nor without."""
    context = server_context(authority, verify=ssl.CERT_OPTIONAL)
    server = await serve([OK] * 10, ssl_context=context)
    url = f"https://localhost:{server.port}/"
    one, two = (authenticators.of(mtls(authority, name)) for name in ("one", "two"))
    for authenticator, connections in ((one, 1), (one, 1), (two, 2), (one, 2), (two, 2)):
        response_of(await fetch(url, authenticator=authenticator))
        assert server.connections == connections
    bearer = authenticators.of(Bearer(hosts=("localhost",), token="abc"))
    for authenticator in (None, bearer):
        outcome = await fetch(url, authenticator=authenticator)
        assert is_failure(outcome, ErrorType.TLS, "not trusted")  # by the system's authorities
    assert len(server.requests) == 5


async def test_text_beside_the_certificates(s_server, fetch, authenticators, authority):
    """Bundles have the names of authorities between the certificates, in any script."""
    credential = mtls(authority, "one")
    commented = {
        name: f"# Főtanúsítvány\n{getattr(credential, name)}\n# 認証局\n"
        for name in ("certificate", "private_key", "ca_bundle")
    }
    authenticator = authenticators.of(msgspec.structs.replace(credential, **commented))
    response_of(await fetch(s_server, authenticator=authenticator))


async def test_redirects(serve, fetch, authenticators, authority):
    """The certificate is shown to hosts of the credential only, and never without TLS."""
    plain = await serve([DONE])
    context = server_context(authority)
    for location in ("http://localhost", "https://127.0.0.1"):
        server = await serve([redirect(f"{location}:{plain.port}/")], ssl_context=context)
        authenticator = authenticators.of(mtls(authority, "one"))
        outcome = await fetch(f"https://localhost:{server.port}/", authenticator=authenticator)
        assert is_failure(outcome, ErrorType.BLOCKED, "redirected")
    assert plain.connections == 0


async def test_through_the_egress_proxy(nursery, serve, authority):
    """The certificate goes through the tunnel, not to the proxy."""
    target = await serve([OK], ssl_context=server_context(authority, "api.example"))
    proxy_context = server_context(authority)  # it would refuse a client without a certificate
    proxy_context.verify_mode = ssl.CERT_NONE
    proxy = await nursery.start(EgressProxy(ssl_context=proxy_context).run)
    default = new_ssl_context(pem_of(authority))
    settings = Settings(**OPEN, egress_proxy=proxy.url)
    async with open_fetcher(settings, ssl_context=default) as fetcher:
        authenticators = Authenticators(fetcher, no_issuer)
        credential = mtls(authority, "one", hosts=("api.example",))
        url = f"https://api.example:{target.port}/"
        response_of(await fetch_with(fetcher, url, authenticator=authenticators.of(credential)))
    assert proxy.requests == [f"CONNECT api.example:{target.port} HTTP/1.1"]


@pytest.mark.parametrize("has_memory_files", [True, False])
async def test_the_key_on_its_way_to_openssl(
    identification, monkeypatch, tmp_path, has_memory_files
):
    """It is in a file of its owner alone, in memory if possible, which is gone afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not has_memory_files:
        monkeypatch.delattr(os, "memfd_create")
    seen = []

    def load(context, name, password):
        path = Path(name)
        seen.append((path.stat().st_mode & 0o077, path.resolve()))
        load_cert_chain(context, name, password=password)

    load_cert_chain = ssl.SSLContext.load_cert_chain
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    first = await client_tls.client_tls(identification)
    assert await client_tls.client_tls(identification) is first
    [(others_may, path)] = seen  # it was made once
    assert path.is_relative_to(tmp_path) == (not has_memory_files)
    assert has_memory_files or not others_may
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


async def test_certificates_that_openssl_refuses(fetch, authenticators, authority):
    """The attempt fails with its reason; OpenSSL asks for no password on the terminal."""
    one, two = mtls(authority, "one"), mtls(authority, "two")
    mixed = msgspec.structs.replace(one, private_key=two.private_key)
    outcome = await fetch("https://localhost:1/", authenticator=authenticators.of(mixed))
    assert is_failure(outcome, ErrorType.TLS, "the client certificate", "mismatch")
    locked = msgspec.structs.replace(one, private_key=with_password(one.private_key))
    outcome = await fetch("https://localhost:1/", authenticator=authenticators.of(locked))
    assert is_failure(outcome, ErrorType.TLS, "the client certificate")


def with_password(pem: str) -> str:
    key = load_pem_private_key(pem.encode(), None)
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    ).decode()


@pytest.mark.parametrize("auth", ["tls_client_auth", "client_secret_post"])
async def test_tokens_that_are_bound_to_a_certificate(
    monkeypatch, fetch, authenticators, authority, auth
):
    """The token endpoint and the resource see the same certificate (RFC 8705)."""
    one = mtls(authority, "one")
    with OAuthServer(server_context(authority)).running() as server:
        credential = OAuth2(
            hosts=("localhost",),
            token_url=f"{server.url}/token",
            client_id=CLIENT_ID,
            client_secret=server.client_secret,
            auth=auth,
            scope="invoices:read",
            certificate=one.certificate,
            certificate_key=one.private_key,
            ca_bundle=one.ca_bundle,
        )
        for _ in range(2):
            response_of(
                await fetch(f"{server.url}/resource", authenticator=authenticators.of(credential))
            )
        assert len(server.token_requests) == 1
        assert server.resource_requests == 2
        token = next(iter(server.tokens))
        other = authenticators.of(mtls(authority, "two"))
        outcome = await fetch(
            f"{server.url}/resource",
            headers=(("Authorization", f"Bearer {token}"),),
            authenticator=other,
        )
        assert is_failure(outcome, ErrorType.HTTP_STATUS, "401")


def test_checks_of_certificates(authority):
    """A pair that belongs together is accepted; the errors of others quote nothing."""
    one, two = mtls(authority, "one"), mtls(authority, "two")
    check_client_certificate(one.certificate, one.private_key)
    wrong = "-----BEGIN CERTIFICATE-----\ns3cr3t\n-----END CERTIFICATE-----\n"
    for certificate, key, reason in (
        (one.certificate, two.private_key, "of the first certificate"),
        (one.certificate, with_password(one.private_key), "without a password"),
        (one.certificate, wrong, "a private key in PEM"),
        (wrong, one.private_key, "certificates in PEM"),
        (one.private_key, one.private_key, "certificates in PEM"),
    ):
        with pytest.raises(ValueError, match=reason) as caught:
            check_client_certificate(certificate, key)
        assert "s3cr3t" not in str(caught.value)
    assert len(certificates_of(pem_of(authority) * 2)) == 2
    with pytest.raises(ValueError, match="certificates in PEM"):
        certificates_of("")


def test_nothing_is_shown(identification):
    """Tracebacks show objects by their representation."""
    shown = f"{identification!r} {rich.pretty.pretty_repr(identification)}"
    assert "PRIVATE" not in shown
