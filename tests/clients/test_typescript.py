"""The TypeScript client: its types, its package, and its own tests against a real service."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from taskflow.version import __version__
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.clients.npm import CLIENT, built_client, check
from tests.clients.scripted import ScriptedServer
from tests.loopback import SECRET
from tools import typescript

KEY = "key-of-the-tests-in-typescript"


@pytest.fixture(scope="module")
def environ(postgres_server: str) -> Iterator[dict[str, str]]:
    """A service on PostgreSQL that requires a key, one without keys, and a scripted server."""
    with (
        open_database(postgres_server) as url,
        LiveServer(database_url=url, key=KEY) as guarded,
        LiveServer(database_url="memory://") as open_to_all,
        ScriptedServer() as scripted,
        untrusted_server() as untrusted,
    ):
        yield {
            "guarded": guarded.url,
            "open": open_to_all.url,
            "TASKFLOW_TEST_KEY": KEY,
            "TASKFLOW_TEST_SECRET": SECRET,
            "TASKFLOW_SCRIPTED_URL": scripted.url,
            "TASKFLOW_UNTRUSTED_URL": untrusted,
        }


@contextlib.contextmanager
def untrusted_server() -> Iterator[str]:
    """A server whose certificate is of an authority that is not trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        serving = threading.Thread(target=http.serve_forever, args=[0.05])
        serving.start()
        yield f"https://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        serving.join()


def test_types_are_those_of_the_document():
    """``python -m tools.typescript`` would change nothing."""
    is_current = typescript.FILE.read_text("utf-8") == typescript.written()
    assert is_current, "run python -m tools.typescript"


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({}, "unknown"),
        ({"type": "array", "items": {}}, "unknown[]"),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "(string | null)[]"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "null"}]}, "number | null"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"const": True}, "true"),
        ({"type": "object"}, "Record<string, unknown>"),
        (
            {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Problem"}},
            "Record<string, ProblemDocument>",
        ),
        (
            {
                "type": "object",
                "properties": {"a-b": {"type": "boolean"}, "c": {}},
                "required": ["c"],
            },
            '{\n  "a-b"?: boolean;\n  c: unknown;\n}',
        ),
    ],
)
def test_types(schema, written):
    assert typescript.type_of(schema) == written


def test_the_package():
    """It has the version of the service, no dependencies, and no address of a registry."""
    package = json.loads((CLIENT / "package.json").read_text("utf-8"))
    assert package["version"] == __version__
    assert "dependencies" not in package
    lock = (CLIENT / "package-lock.json").read_text("utf-8")
    assert "://" not in lock
    assert json.loads(lock)["packages"][""]["devDependencies"] == package["devDependencies"]


def test_modules_import_nothing_foreign():
    """Only modules of the client, so that it runs in browsers, Deno and Bun as it is."""
    for source in (CLIENT / "src").glob("*.ts"):
        for name in re.findall(r'from "([^"]+)"', source.read_text("utf-8")):
            assert re.fullmatch(r"\./[a-z-]+\.js", name), (source.name, name)


def test_arguments():
    """Invalid arguments are found before anything is sent."""
    _run("arguments", {})


def test_conformance(environ):
    """It behaves as ``clients/conformance`` says."""
    _run("conformance", {**environ, "TASKFLOW_TEST_URL": environ["open"]})


def test_live(environ):
    """Every group of its methods works with a service on PostgreSQL."""
    _run("live", {**environ, "TASKFLOW_TEST_URL": environ["guarded"]})


@pytest.mark.long
def test_the_types_of_its_users():
    """A strict compiler accepts what the API accepts, and rejects what it rejects."""
    built_client()
    check(["node", "node_modules/typescript/bin/tsc", "--project", "test"])


def _run(name: str, environ: dict[str, str]) -> None:
    built_client()
    said = check(["node", "--test", "--test-reporter=tap", f"test/{name}.test.mjs"], environ)
    passed = re.search(r"^# pass (\d+)$", said, re.MULTILINE)
    assert passed, said
    assert int(passed[1]) > 0
