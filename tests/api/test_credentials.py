"""Credentials over HTTP, on both stores: write-only values, errors, and who may see them."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
import trustme

from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer

VALUE = "s3cr3t-value"
PEM = f"-----BEGIN PRIVATE KEY-----\n{VALUE}\n-----END PRIVATE KEY-----\n"
HOSTS = {"hosts": ["api.example.com", "*.b.example"]}
KINDS = {
    "bearer": {"token": VALUE},
    "basic": {"username": "me", "password": VALUE},
    "header": {"name": "X-Api-Key", "value": VALUE},
    "oauth2_client_credentials": {
        "token_url": "https://login.example/token",
        "client_id": "me",
        "client_secret": VALUE,
    },
    "oidc": {"audience": "https://api.example.com"},
    "aws_sigv4": {
        "region": "eu-central-1",
        "service": "sqs",
        "access_key_id": "AKIA",
        "secret_access_key": VALUE,
    },
}
OAUTH2 = {"kind": "oauth2_client_credentials", **KINDS["oauth2_client_credentials"], **HOSTS}
BEARER = {"kind": "bearer", **KINDS["bearer"], **HOSTS}
FORM = {"content-type": "application/x-www-form-urlencoded"}
KEYS = {role: f"key-that-may-{role}-0123" for role in ("write", "admin")}
SETTING = (
    f"w:write:{KEYS['write']},a:admin:{KEYS['admin']},s:admin:queues=mail:key-with-a-scope-012"
)


def put(server, path, document, **headers):
    return server.ask("PUT", path, json.dumps(document).encode(), headers)


def pointers_of(answer) -> dict[str, str]:
    return {one["pointer"]: one["detail"] for one in check_problem(answer, 422)["errors"]}


def test_certificates_are_checked(memory_server):
    """A certificate and its key are accepted, and refused with the key of another one."""
    one, two = (trustme.CA().issue_cert("taskflow.example") for _ in range(2))
    document = {
        "kind": "mtls",
        "certificate": "".join(part.bytes().decode() for part in one.cert_chain_pems),
        "private_key": one.private_key_pem.bytes().decode(),
        **HOSTS,
    }
    assert put(memory_server, "/credentials/tls", document).status == 201
    document["private_key"] = two.private_key_pem.bytes().decode()
    problem = put(memory_server, "/credentials/tls", document)
    assert "not another one" in pointers_of(problem)["#/certificate"]


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_write_only(server, kind):
    """Each kind is accepted, and shown without its values wherever it is shown."""
    path = f"/credentials/{kind}"
    server.ask("DELETE", path)
    answer = put(server, path, {"kind": kind, **KINDS[kind], **HOSTS})
    assert (answer.status, answer.header("location")) == (201, path)
    shown = answer.json
    assert shown["created_at"] == shown["updated_at"]
    assert {**shown, "created_at": 0, "updated_at": 0} == {
        "name": kind,
        "kind": kind,
        **HOSTS,
        "created_at": 0,
        "updated_at": 0,
        "last_used_at": None,
        "used_by": {"queues": [], "schedules": [], "endpoints": []},
    }
    assert server.ask("GET", path).json == shown
    assert shown in server.ask("GET", "/credentials").json
    again = put(server, path, {**BEARER, "hosts": ["c.example"]})
    assert (again.status, again.json["kind"], again.json["hosts"]) == (200, "bearer", ["c.example"])
    assert again.json["created_at"] == shown["created_at"]
    assert server.ask("DELETE", path).status == 204
    check_problem(server.ask("GET", path), 404, "No credential has this name")
    check_problem(server.ask("DELETE", path), 404, "No credential has this name")


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ({}, {"#": "kind is missing; it is one of bearer, basic, header"}),
        ({"kind": VALUE}, {"#/kind": "kind must be one of bearer, basic"}),
        ({"kind": 5, "token": VALUE}, {"#/kind": "kind must be one of bearer"}),
        (
            {"kind": "bearer"},
            {"#": "hosts is missing; a credential of the kind bearer needs it"},
        ),
        (
            {**BEARER, "token": f"{VALUE} ", "hosts": []},
            {"#/token": "token must be 1 to 8192 visible", "#/hosts": "hosts must be a list of 1"},
        ),
        ({**BEARER, "token": [VALUE]}, {"#/token": "token must be"}),
        (
            {**BEARER, "hosts": ["*", "a.b", f"https://{VALUE}/", "*.*.c"]},
            {"#/hosts/0": "", "#/hosts/2": "", "#/hosts/3": ""},
        ),
        ({**BEARER, "hosts": ["a..b"]}, {"#/hosts/0": "hosts must be names"}),
        (
            {**BEARER, "hosts": ["*.com", "*.a.com", "*.co.uk"]},
            {"#/hosts/0": "name your own domain", "#/hosts/2": "anyone can register"},
        ),
        ({**BEARER, "pasword": VALUE}, {"#/pasword": "there is no field 'pasword'; known are"}),
        (
            {"kind": "basic", "username": "a:b", "password": f"{VALUE}\n", **HOSTS},
            {"#/username": "without colons", "#/password": "control character"},
        ),
        (
            {"kind": "header", "name": "Host", "value": f"{VALUE}\r\nX: 1", **HOSTS},
            {"#/name": "a header that TaskFlow does not set itself", "#/value": "ASCII"},
        ),
        (
            {"kind": "header", "name": "Webhook-Id", "value": VALUE, **HOSTS},
            {"#/name": "signs requests"},
        ),
        (
            {**OAUTH2, "token_url": f"http://login.example/{VALUE}", "client_secret": None},
            {"#/token_url": "must begin with https", "#/client_secret": "client_secret must be"},
        ),
        (
            {**OAUTH2, "client_secret": f"{VALUE}\n"},
            {"#/client_secret": "client_secret must be 1 to 4096 characters"},
        ),
        ({**OAUTH2, "auth": VALUE, "client_secret": None}, {"#/auth": "auth must be"}),
        (
            {**OAUTH2, "auth": "tls_client_auth", "certificate": 5, "certificate_key": PEM},
            {"#/certificate": "certificate must be text in PEM"},
        ),
        ({**OAUTH2, "token_url": VALUE}, {"#/token_url": "token_url must be a URL"}),
        (
            {**OAUTH2, "auth": "private_key_jwt", "certificate": PEM},
            {"#/private_key": "private_key must be given if auth is", "#/certificate": "together"},
        ),
        ({**OAUTH2, "auth": VALUE}, {"#/auth": "auth must be"}),
        (
            {"kind": "mtls", "certificate": VALUE, "private_key": PEM, **HOSTS},
            {"#/certificate": "certificate must be text in PEM"},
        ),
        (
            {"kind": "mtls", "certificate": PEM, "private_key": PEM, "ca_bundle": PEM, **HOSTS},
            {"#/certificate": "must have certificates", "#/ca_bundle": "must have certificates"},
        ),
        (
            {**OAUTH2, "auth": "private_key_jwt", "private_key": PEM},
            {"#/private_key": "private_key must be a private key in PEM without a password"},
        ),
    ],
)
def test_all_errors_without_a_value(memory_server, document, pointers):
    """Each has its place, says what is allowed, and repeats no value."""
    answer = put(memory_server, "/credentials/wrong", document)
    found = pointers_of(answer)
    assert found.keys() == pointers.keys()
    for pointer, words in pointers.items():
        assert words in found[pointer]
    assert VALUE.encode() not in answer.body
    assert memory_server.ask("GET", "/credentials/wrong").status == 404


@pytest.mark.parametrize(
    "body",
    [f'{{"token": "{VALUE}"'.encode(), f'["{VALUE}"]'.encode(), f'"{VALUE}"'.encode(), b""],
)
def test_no_object(memory_server, body):
    """What cannot be read is not repeated, either."""
    answer = memory_server.ask("PUT", "/credentials/wrong", body)
    check_problem(answer, 400, '"kind": "bearer"')
    assert VALUE.encode() not in answer.body


def test_names(memory_server):
    """Names are as those of queues."""
    check_problem(put(memory_server, "/credentials/-a", BEARER), 422, "the name of a credential")
    check_problem(memory_server.ask("GET", "/credentials/-a"), 404, "a name is 1 to 64")
    check_problem(memory_server.ask("DELETE", "/credentials/a?forced=1"), 422, "did you mean force")
    check_problem(memory_server.ask("DELETE", "/credentials/a?force=x"), 422, "true or false")


def test_a_credential_in_use(server):
    """It is deleted only by force; its queues and schedules are shown with it."""
    put(server, "/credentials/used", BEARER)
    assert put(server, "/queues/with", {"credential": "used"}).json["credential"] == "used"
    schedule = {"cron": "0 0 1 1 *", "task": {"payload": "x", "credential": "used"}}
    assert put(server, "/schedules/with", schedule).status == 201
    shown = server.ask("GET", "/credentials/used").json
    assert shown["used_by"] == {"queues": ["with"], "schedules": ["with"], "endpoints": []}
    for query in ("", "?force=false"):
        problem = check_problem(server.ask("DELETE", f"/credentials/used{query}"), 409)
        assert problem["type"].endswith("/credential-in-use")
        assert "used by queue with, schedule with; change these first" in problem["detail"]
    assert server.ask("DELETE", "/credentials/used?force=true").status == 204
    server.ask("DELETE", "/schedules/with")
    put(server, "/queues/with", {})


def test_without_encryption_keys():
    """Nothing is stored, and the error says what to run."""
    with LiveServer(database_url=MEMORY_URL, encryption_keys="") as server:
        answer = put(server, "/credentials/a", BEARER)
        check_problem(answer, 422, "set TASKFLOW_ENCRYPTION_KEYS", "secret new --encryption`")
        assert server.ask("GET", "/credentials").json == []


def test_for_admins_alone():
    """Other roles, and keys that are limited to some queues, do not see that there are any."""
    with LiveServer(database_url=MEMORY_URL, api_keys=SETTING) as server:

        def ask(method: str, path: str, key: str):
            body = json.dumps(BEARER).encode() if method == "PUT" else None
            return server.ask(method, path, body, {"authorization": f"Bearer {key}"})

        assert ask("PUT", "/credentials/a", KEYS["admin"]).status == 201
        for method in ("GET", "PUT", "DELETE"):
            refused = ask(method, "/credentials/a", KEYS["write"])
            check_problem(refused, 403, "needs a key with the role admin")
            scoped = ask(method, "/credentials/a", "key-with-a-scope-012")
            check_problem(scoped, 403, "needs a key that is not limited")
        check_problem(ask("GET", "/credentials", KEYS["write"]), 403)
        check_problem(ask("GET", "/credentials", "key-with-a-scope-012"), 403)
        [shown] = ask("GET", "/credentials", KEYS["admin"]).json
        assert shown["name"] == "a"


class TestPage:
    """The page of the dashboard."""

    def send(self, server, **fields: str):
        names = {name.replace("value_", "value-"): value for name, value in fields.items()}
        return server.ask("POST", "/ui/credentials", urlencode(names).encode(), FORM)

    def test_from_its_making_to_its_end(self, server):
        """It is created by a form, listed without its value, and deleted."""
        made = self.send(
            server,
            kind="basic",
            credential="paged",
            hosts="a.example, *.b.example",
            value_username="me",
            value_password=VALUE,
        )
        assert (made.status, made.header("location")) == (303, "/ui/credentials")
        shown = server.ask("GET", "/credentials/paged").json
        assert (shown["kind"], shown["hosts"]) == ("basic", ["a.example", "*.b.example"])
        page = server.ask("GET", "/ui/credentials").body.decode()
        assert ("a.example *.b.example" in page, VALUE in page) == (True, False)
        put(server, "/queues/with", {"credential": "paged"})
        assert "queue with" in server.ask("GET", "/ui/credentials").body.decode()
        path = "/ui/credentials/paged/delete"
        assert server.ask("POST", path, b"", FORM).status == 409
        assert server.ask("POST", f"{path}?force=true", b"", FORM).status == 303
        assert server.ask("POST", path, b"", FORM).status == 404
        put(server, "/queues/with", {})

    @pytest.mark.parametrize("kind", [*KINDS, "mtls"])
    def test_a_form_for_each_kind(self, memory_server, kind):
        """With a field for each declared one; secrets are not shown while they are typed."""
        page = memory_server.ask("GET", f"/ui/credentials?kind={kind}").body.decode()
        for name in KINDS.get(kind, {"certificate": 0, "private_key": 0}):
            assert f'name="value-{name}"' in page
        for secret in ("password", "token", "client_secret", "secret_access_key"):
            if f'name="value-{secret}"' in page:
                assert f'name="value-{secret}" type="password" value=""' in page

    def test_errors_are_beside_their_fields(self, memory_server):
        """The form has the name and the hosts again, and no value."""
        answer = self.send(
            memory_server,
            kind="bearer",
            credential="wrong",
            hosts="* b.example",
            value_token=f"{VALUE} with space",
        )
        page = answer.body.decode()
        assert (answer.status, VALUE in page) == (422, False)
        assert 'value="wrong"' in page
        assert 'value="* b.example"' in page
        assert "token must be 1 to 8192 visible" in page
        assert "hosts must be" in page
        assert self.send(memory_server, kind=VALUE, value_token=VALUE).status == 422
        assert VALUE not in self.send(memory_server, kind=VALUE, credential="a").body.decode()

    def test_for_admins_alone(self):
        """Others see neither the page nor a link to it; what admins do is in the audit log."""
        bearer = {"kind": "bearer", "credential": "a", "hosts": "a.example", "value-token": VALUE}
        actions = (
            ("GET", "/ui/credentials", None, 200),
            ("POST", "/ui/credentials", urlencode(bearer).encode(), 303),
            ("POST", "/ui/credentials/a/delete", b"", 303),
        )
        with LiveServer(database_url=MEMORY_URL, api_keys=SETTING) as server:
            for role in ("write", "admin"):
                signed_in = session_of(server, KEYS[role])
                for method, path, body, status in actions:
                    answer = server.ask(method, path, body, {**FORM, **signed_in})
                    assert answer.status == (status if role == "admin" else 403), (method, path)
                overview = server.ask("GET", "/ui", None, signed_in).body.decode()
                assert ('href="/ui/credentials"' in overview) == (role == "admin")
            headers = {"authorization": f"Bearer {KEYS['admin']}"}
            log = server.ask("GET", "/audit?target=a", None, headers).json
        assert [entry["action"] for entry in log] == ["credential.delete", "credential.put"]
        assert all(entry["session"] for entry in log)

    def test_without_encryption_keys(self):
        """The page says what to set."""
        with LiveServer(database_url=MEMORY_URL, encryption_keys="") as server:
            assert b"set TASKFLOW_ENCRYPTION_KEYS" in server.ask("GET", "/ui/credentials").body


def session_of(server, key: str) -> dict[str, str]:
    """The head of a request with a session of the dashboard."""
    own = {"origin": server.url, "sec-fetch-site": "same-origin"}
    answer = server.ask("POST", "/ui/sign-in", urlencode({"key": key}).encode(), {**own, **FORM})
    return {**own, "cookie": answer.header("set-cookie").partition(";")[0]}
