"""The client and the command line over https, and the variables that name what they trust."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import trustme

from taskflow import BlockingClient, Client, Unreachable
from tests.cli.command import CommandLine
from tests.client.loops import LOOPS, run

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class Tls(ThreadingHTTPServer):
    """Ends TLS in front of a service, as a proxy does."""

    def __init__(self, backend: str, certificate: trustme.LeafCert) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend = urlsplit(backend).netloc
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=[0.01])

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that does not trust the certificate ends its handshake."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        connection = http.client.HTTPConnection(self.server.backend)
        headers = {**dict(self.headers), "Connection": "close"}
        connection.request(self.command, self.path, self.rfile.read(length), headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def url(memory_server, authority):
    with Tls(memory_server.url, authority.issue_cert("127.0.0.1")) as tls:
        yield tls.url


@pytest.fixture
def trusted(tmp_path, authority):
    """A file and a folder of certificates, as OpenSSL looks for them."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    file = tmp_path / "certificates.pem"
    authority.cert_pem.write_to_path(str(file))
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    command = ["openssl", "x509", "-hash", "-noout", "-in", file]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    shutil.copy(file, folder / f"{name}.0")
    return {"SSL_CERT_FILE": file, "SSL_CERT_DIR": folder}


@pytest.fixture(autouse=True)
def nothing_is_trusted(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def settings_of(trusted, tmp_path):
    """Each variable alone, a list of folders, and both of them with one that does not help."""
    other = tmp_path / "other"
    other.mkdir()
    file, folder = map(str, trusted.values())
    yield {"SSL_CERT_FILE": file}
    yield {"SSL_CERT_DIR": folder}
    yield {"SSL_CERT_DIR": f"{other}:{folder}"}
    yield {"SSL_CERT_FILE": file, "SSL_CERT_DIR": str(other)}


def test_the_clients(url, trusted, tmp_path, monkeypatch):
    for environ in settings_of(trusted, tmp_path):
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            with BlockingClient(url) as client:
                task = client.submit("no url")
                assert client.wait(task.id, 60).error_type == "invalid_url"
            for loop in LOOPS:
                run(loop, wait_asynchronously, url, task.id)


async def wait_asynchronously(url, task_id):
    async with Client(url) as client:
        assert (await client.wait(task_id, 60)).id == task_id


def test_the_command_line(url, trusted, tmp_path):
    for environ in settings_of(trusted, tmp_path):
        cli = CommandLine(tmp_path, url=url, **environ)
        submitted = cli.run("submit", "no url", "--json")
        assert submitted.code == 0, submitted.err
        assert submitted.documents[0]["status"] == "PENDING"


def test_a_certificate_that_is_not_trusted(url, tmp_path):
    """One line that says so, and by which variable that can be changed."""
    with BlockingClient(url) as client, pytest.raises(Unreachable, match="SSL_CERT_FILE") as error:
        client.stats()
    assert "\n" not in str(error.value)
    ended = CommandLine(tmp_path, url=url).run("stats")
    assert (ended.code, ended.out) == (3, "")
    assert "certificate" in ended.complaint
    assert "SSL_CERT_FILE" in ended.complaint
