"""No secret of a credential is anywhere but at its targets: one run, and a search afterwards.

The run uses each kind, with tasks that succeed, fail, are blocked and are retried, and with
requests that are rejected. Then each secret is searched in the dump of the database, the logs, the
metrics, the responses, the exports, the pages and the traces: as it is, in JSON, in base64, and as
a target got it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import pytest
import trustme

from taskflow.model.keyring import new_encryption_key
from taskflow.store.embedded.binaries import locate_binaries
from tests.authorization_server import CLIENT_ID, CLIENT_SECRET, SCOPE, OAuthServer
from tests.collector import Collector
from tests.receiver import Receiver
from tests.service.processes import PATIENCE_SECONDS, Running, running, wait_until

KEY, UNKNOWN_KEY = new_encryption_key(), new_encryption_key()
CANARY = "canary-in-the-payload"
TOKEN, REPLACED = "tok3n-of-bearer", "tok3n-of-before"
PASSWORD, API_KEY = "p4ssword of basic", "k3y-of-header"
AWS_SECRET, AWS_SESSION = "aws/s3cr3t+0123", "aws-s3ssion-0123"
REJECTED = "r3jected value"
PROXY_PASSWORD, OLD_PROXY_PASSWORD = "pr0xy-passw0rd", "pr0xy-of-before"
CERTIFICATE = trustme.CA().issue_cert("localhost")
PRIVATE_KEY = CERTIFICATE.private_key_pem.bytes().decode()
HOSTS = {"hosts": ["127.0.0.1", "localhost"]}
PAGES = (
    *("/tasks", "/stats", "/queues", "/schedules", "/credentials", "/nodes", "/hosts", "/audit"),
    *(
        "/queues/behind",
        "/metrics",
        "/openapi.json",
        "/ui",
        "/ui/tasks",
        "/ui/submit",
        "/ui/credentials",
    ),
    *("/ui/audit", "/.well-known/jwks.json"),
)


def credentials_of(issuer: OAuthServer) -> dict[str, dict[str, object]]:
    return {
        "bearer": {"kind": "bearer", "token": TOKEN},
        "basic": {"kind": "basic", "username": "me", "password": PASSWORD},
        "header": {"kind": "header", "name": "X-Api-Key", "value": API_KEY},
        "oauth2": {
            "kind": "oauth2_client_credentials",
            "token_url": f"{issuer.url}/token",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scope": SCOPE,
        },
        "sigv4": {
            "kind": "aws_sigv4",
            "region": "eu-central-1",
            "service": "sqs",
            "access_key_id": "AKIAEXAMPLE",
            "secret_access_key": AWS_SECRET,
            "session_token": AWS_SESSION,
        },
        "oidc": {"kind": "oidc"},
        "mtls": {
            "kind": "mtls",
            "certificate": CERTIFICATE.cert_chain_pems[0].bytes().decode(),
            "private_key": PRIVATE_KEY,
        },
    }


def put_all(node: Running, issuer: OAuthServer) -> list[str]:
    """Store them, one of them twice, and have others rejected; return their names."""
    before = {"kind": "bearer", "token": REPLACED, **HOSTS}
    assert node.ask("PUT", "/credentials/bearer", before).status == 201
    for name, credential in credentials_of(issuer).items():
        answer = node.ask("PUT", f"/credentials/{name}", {**credential, **HOSTS})
        assert answer.status in (200, 201), answer
    elsewhere = {"kind": "bearer", "token": TOKEN, "hosts": ["elsewhere.example"]}
    assert node.ask("PUT", "/credentials/elsewhere", elsewhere).status == 201
    for wrong in (
        {"kind": "bearer", "token": f"{REJECTED}\n", **HOSTS},
        {"kind": "basic", "username": "a:b", "password": REJECTED, **HOSTS},
        {"kind": REJECTED, "token": REJECTED},
        {"kind": "mtls", "certificate": REJECTED, "private_key": REJECTED, **HOSTS},
        [REJECTED],
    ):
        answer = node.ask("PUT", "/credentials/rejected", wrong)
        assert answer.status in (400, 422)
        assert REJECTED not in json.dumps(answer.body)
    return [*credentials_of(issuer), "elsewhere"]


def run_all(node: Running, names: Iterable[str], urls: Iterable[str]) -> list[str]:
    """Run tasks with each credential that succeed, fail, break off and are blocked."""
    tasks = []
    for name in names:
        for url in urls:
            payload = {"url": url, "method": "POST", "body": CANARY}
            task = {"payload": payload, "credential": name, "max_attempts": 2, "backoff": [0.1]}
            answer = node.ask("POST", "/tasks", task)
            assert answer.status == 201, answer
            tasks.append(answer.body["id"])
    node.ask("PUT", "/queues/with", {"credential": "bearer"})
    schedule = {"cron": "0 0 1 1 *", "task": {"payload": CANARY, "credential": "basic"}}
    node.ask("PUT", "/schedules/with", schedule)
    assert node.ask("DELETE", "/credentials/bearer").status == 409
    run_behind_a_proxy(node)
    finished = ("COMPLETED", "FAILED")
    for task in tasks:
        wait_until(lambda task=task: node.ask("GET", f"/tasks/{task}").body["status"] in finished)
    return tasks


def run_behind_a_proxy(node: Running) -> None:
    """Set the proxy of a queue twice, have another one rejected, and run a task that needs it."""
    for password in (OLD_PROXY_PASSWORD, PROXY_PASSWORD):
        proxy = {"egress_proxy": f"http://worker:{password}@localhost:1"}
        assert node.ask("PUT", "/queues/behind", proxy).status in (200, 201)
    wrong = {"egress_proxy": f"socks5://worker:{PROXY_PASSWORD}@localhost:1"}
    answer = node.ask("PUT", "/queues/behind", wrong)
    assert answer.status == 422
    assert PROXY_PASSWORD not in json.dumps(answer.body)
    task = {"payload": "https://behind.example/", "queue": "behind"}
    path = f"/tasks/{node.ask('POST', '/tasks', task).body['id']}"
    wait_until(lambda: node.ask("GET", path).body["error_type"] == "proxy")


def shown_by(node: Running, tasks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each response of the service with what it says."""
    paths = [*PAGES, "/tasks?status=FAILED"]
    for name in ("bearer", "oauth2", "mtls"):
        paths += [f"/credentials/{name}", f"/ui/credentials/{name}"]
    for task in tasks:
        paths += [f"/tasks/{task}", f"/tasks/{task}/attempts", f"/tasks/{task}/result"]
        paths += [f"/ui/tasks/{task}"]
    for path in paths:
        yield path, text_of(node, path)
    yield "export", text_of(node, "/tasks", accept="application/x-ndjson")


def text_of(node: Running, path: str, **headers: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        return connection.getresponse().read().decode()


def dump_of(url: str) -> str:
    """All rows of the database, as a backup has them."""
    command = [locate_binaries().program("pg_dump"), "--data-only", f"--dbname={url}"]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


def forms_of(secret: str) -> set[str]:
    """What a secret may look like."""
    data = secret.encode()
    encoded = {base64.b64encode(b"\0" * skipped + data).decode()[4:-4] for skipped in range(3)}
    url_safe = {text.replace("+", "-").replace("/", "_") for text in encoded}
    forms = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), data.hex()}
    return {form for form in forms | encoded | url_safe if len(form) > 5}


def received_by(receiver: Receiver, issuer: OAuthServer) -> set[str]:
    """What targets got of the credentials: tokens and signatures of a single request, too."""
    fields = ("authorization", "x-api-key", "x-amz-security-token")
    values = {
        one.headers[name] for one in receiver.received for name in fields & one.headers.keys()
    }
    return {value.rpartition(" ")[2] for value in values} | set(issuer.tokens)


@pytest.fixture
def issuer() -> Iterator[OAuthServer]:
    with OAuthServer().running() as issuer:
        yield issuer


def test_no_secret_is_anywhere(tmp_path, tasks, issuer):
    """With the search proved by what is in the payloads, which it finds everywhere."""
    with Receiver() as receiver, Collector() as collector, contextlib.ExitStack() as stack:
        receiver.release()
        settings = {
            "DATABASE_URL": tasks.url,
            "TASKFLOW_LOG_LEVEL": "debug",
            "TASKFLOW_ENCRYPTION_KEYS": KEY,
            "TASKFLOW_PUBLIC_URL": "https://taskflow.example",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": 50,
        }
        node = stack.enter_context(running("serve", tmp_path, **settings))
        paths = ("/content", "/broken", "/moved", "/gone")
        urls = [
            *(receiver.url + path for path in paths),
            "http://localhost:1/",
            "https://x.invalid/",
        ]
        ran = run_all(node, put_all(node, issuer), urls)
        other = {**settings, "TASKFLOW_ENCRYPTION_KEYS": UNKNOWN_KEY}
        stranger = stack.enter_context(running("worker", tmp_path, **other))
        places = dict(shown_by(node, ran))
        places["dump"] = dump_of(tasks.url)
        wait_until(lambda: len(collector.spans) > len(ran))
        for one in (stranger, node):
            assert one.end().code == 0
        places |= {"log": node.log, "other log": stranger.log}
        places["traces"] = repr(collector.spans)
    secrets = {TOKEN, REPLACED, PASSWORD, API_KEY, CLIENT_SECRET, AWS_SECRET, AWS_SESSION, REJECTED}
    secrets |= {PROXY_PASSWORD, OLD_PROXY_PASSWORD}
    secrets |= set(PRIVATE_KEY.splitlines()[1:-1]) | {KEY, UNKNOWN_KEY}
    secrets |= {base64.b64encode(f"me:{PASSWORD}".encode()).decode()}
    received = received_by(receiver, issuer)
    assert {TOKEN, API_KEY, AWS_SESSION, *issuer.tokens} < received  # they were used
    for secret in secrets | received:
        for form in forms_of(secret):
            assert [place for place, text in places.items() if form in text] == [], secret
    assert all(CANARY in places[place] for place in ("dump", "export", "/ui/tasks/" + ran[0]))
    assert "blocked" in places["/tasks?status=FAILED"]
