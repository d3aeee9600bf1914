"""Payloads that are whole requests: what is refused, and what the target really gets."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from taskflow.model.request import HEADERS_MADE_HERE
from taskflow.service import MEMORY_URL
from taskflow.version import __version__
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.api.recorder import Recorder

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EVERY_BYTE = bytes(range(256))


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def path() -> str:
    """One that no other test asks for."""
    return f"/{uuid.uuid4().hex}"


def posted(server: LiveServer, payload: object, headers=None, **beside) -> dict:
    """Submit a task, and return it once it is finished."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in beside.items())
    answer = server.ask("POST", "/tasks", b'{"payload": %b%b}' % (body, rest.encode()), headers)
    assert answer.status == 201, answer
    return server.wait(answer.json["id"])


def refusal(server: LiveServer, payload: object) -> dict[str, str]:
    """What is wrong with it, by places."""
    answer = server.post(json.dumps({"payload": payload}).encode())
    problem = check_problem(answer, 422)
    return {one["pointer"]: one["detail"] for one in problem["errors"]}


def received(recorder: Recorder, path: str) -> tuple[bytes, dict[str, str], bytes]:
    """Request line, fields by lower-case name, and body of the one request for a path."""
    [whole] = recorder.received(path)
    head, _, body = whole.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    pairs = [field.decode().split(": ", 1) for field in fields]
    by_name = {name.lower(): value for name, value in pairs}
    assert len(by_name) == len(pairs), f"a field came twice: {pairs}"
    return line, by_name, body


class TestWhole:
    def test_a_post_to_the_byte(self, server, recorder, path):
        """The request has the line, headers and body of the task, and what TaskFlow adds."""
        task = posted(
            server,
            {
                "url": f"{recorder.url}{path}?q=%20a",
                "method": "POST",
                "headers": {"X-Mine": "a\tb  c", "Authorization": "Bearer s"},
                "body": {"a": [1.50, "é"]},
            },
            {"traceparent": PARENT, "tracestate": "a=1,b=2"},
        )
        assert task["status"] == "COMPLETED"
        body = b'{"a": [1.5, "\\u00e9"]}'
        lines = [
            f"POST {path}?q=%20a HTTP/1.1",
            f"Host: {recorder.host}",
            "Connection: keep-alive",
            f"User-Agent: TaskFlow/{__version__}",
            "Accept: */*",
            "Accept-Encoding: gzip, deflate",
            "X-Mine: a\tb  c",
            "Authorization: Bearer s",
            "Content-Type: application/json",
            f"X-TaskFlow-Id: {task['id']}",
            "X-TaskFlow-Attempt: 1",
            f"Idempotency-Key: {task['id']}",
            f"traceparent: {PARENT}",
            "tracestate: a=1,b=2",
            f"Content-Length: {len(body)}",
        ]
        assert recorder.received(path) == ["\r\n".join([*lines, "", ""]).encode() + body]

    def test_a_url_alone_is_a_get(self, server, recorder, path):
        """The shortest object does what the text of its URL does."""
        posted(server, {"url": recorder.url + path})
        posted(server, recorder.url + path)
        first, second = recorder.received(path)
        assert first.startswith(f"GET {path} HTTP/1.1\r\n".encode())
        without_id = [
            [line for line in whole.split(b"\r\n") if not line.startswith(b"X-TaskFlow-Id")]
            for whole in (first, second)
        ]
        assert without_id[0] == without_id[1]

    def test_null_counts_as_absent(self, server, recorder, path):
        """A member that is null counts as absent."""
        names = ("method", "headers", "body", "timeout_seconds", "follow_redirects")
        posted(server, {"url": recorder.url + path} | dict.fromkeys(names))
        line, fields, body = received(recorder, path)
        assert (line.split()[0], body) == (b"GET", b"")
        assert not fields.keys() & {"content-type", "content-length"}

    def test_each_attempt_has_its_number(self, server, recorder, path):
        """The idempotency key is the same for all attempts."""
        payload = {"url": f"{recorder.url}{path}?status=503", "method": "POST"}
        task = posted(server, payload, max_attempts=3, backoff=[0])
        attempts = [
            whole.split(b"X-TaskFlow-Attempt: ")[1][:1] for whole in recorder.received(path)
        ]
        assert attempts == [b"1", b"2", b"3"]
        for whole in recorder.received(path):
            assert f"\r\nIdempotency-Key: {task['id']}\r\n".encode() in whole


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "sent", "content_type"),
        [
            (
                b'"h\xc3\xa9llo \\u0000 \\ud83d\\ude00"',
                "héllo \0 \U0001f600",
                "text/plain; charset=utf-8",
            ),
            (b'""', "", "text/plain; charset=utf-8"),
            (b'{"b" : 1.50,  "a": 1e400, "b": 2}', None, "application/json"),
            (b"[ 1,\t2 ]", None, "application/json"),
            (b"0", None, "application/json"),
            (b"false", None, "application/json"),
            (b"9" * 5000, None, "application/json"),
            (b"{}", None, "application/json"),
            (b"[" * 490 + b"]" * 490, None, "application/json"),
            (b'{"base64": "aGk=", "and": 1}', None, "application/json"),
            (b'[{"base64": "aGk="}]', None, "application/json"),
            (b'{"base64": "%b"}' % base64.b64encode(EVERY_BYTE), EVERY_BYTE, None),
            (b'{"base64": ""}', b"", None),
            (b'{"base64": "\\u0061Gk="}', b"hi", None),
        ],
    )
    def test_each_kind(self, server, recorder, path, body, sent, content_type):
        """Text is sent as text, base64 as its bytes, other JSON to the byte; each by its type."""
        url = json.dumps(recorder.url + path).encode()
        posted(server, b'{"url": %b, "body": %b}' % (url, body))
        line, fields, got = received(recorder, path)
        wanted = body if sent is None else sent.encode() if isinstance(sent, str) else sent
        assert (line.split()[0], got) == (b"POST", wanted)
        assert fields["content-length"] == str(len(wanted))
        assert fields.get("content-type") == content_type

    @pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
    @pytest.mark.parametrize("body", ["text", {"a": 1}, {"base64": "aGk="}])
    def test_the_content_type_of_the_task(self, server, recorder, path, name, body):
        """It replaces the default for the body, in upper or lower case."""
        headers = {name: "application/x-mine"}
        posted(server, {"url": recorder.url + path, "headers": headers, "body": body})
        _, fields, _ = received(recorder, path)
        assert fields["content-type"] == "application/x-mine"

    @pytest.mark.parametrize(
        "encoded",
        ["aGk", "aGk=\n", "aG k=", "a", "====", "aGk=aGk=", "a-_=", "é", 1, None, ["aGk="], {}],
    )
    def test_invalid_base64(self, server, encoded):
        """Invalid base64 is rejected when the task is submitted."""
        payload = {"url": "http://example.com/", "body": {"base64": encoded}}
        assert refusal(server, payload) == {
            "#/payload/body/base64": "payload.body.base64 must be base64 with padding (RFC 4648, "
            "section 4)"
        }

    def test_a_large_one(self, server, recorder, path):
        """As large as a POST may be at all."""
        body = "x" * (2**20 - 200)
        assert posted(server, {"url": recorder.url + path, "body": body})["status"] == "COMPLETED"
        assert received(recorder, path)[2] == body.encode()

    def test_it_is_kept_and_shown_to_the_byte(self, server, recorder, path):
        """The whole payload is, whatever was made of it."""
        payload = b'{ "url":"%b",  "body" : [1.50, 1e2], "method": null}' % (
            (recorder.url + path).encode()
        )
        answer = server.post(b'{"payload": %b}' % payload)
        shown = server.ask("GET", answer.header("location")).body
        assert b'"payload":%b,"status"' % payload in shown


class TestMethods:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_safe_ones_have_no_key(self, server, recorder, path, method):
        """To ask twice is to ask once: there is nothing to tell apart."""
        posted(server, {"url": recorder.url + path, "method": method})
        line, fields, _ = received(recorder, path)
        assert line.split()[0] == method.encode()
        assert "idempotency-key" not in fields
        assert {"x-taskflow-id", "x-taskflow-attempt"} <= fields.keys()

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "M-SEARCH"])
    def test_others_have_one(self, server, recorder, path, method):
        """Unsafe methods get the task id as a key, and Content-Length 0 without a body."""
        task = posted(server, {"url": recorder.url + path, "method": method})
        line, fields, _ = received(recorder, path)
        assert line.split()[0] == method.encode()
        assert fields["idempotency-key"] == task["id"]
        expected = "0" if method in ("POST", "PUT", "PATCH") else None
        assert fields.get("content-length") == expected

    @pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"])
    def test_a_key_of_the_tasks_own(self, server, recorder, path, name):
        """It goes in the place of the one that TaskFlow would make."""
        posted(server, {"url": recorder.url + path, "method": "POST", "headers": {name: "mine"}})
        assert received(recorder, path)[1]["idempotency-key"] == "mine"

    def test_a_get_with_a_body(self, server, recorder, path):
        """The method that is said goes before the one that a body would have."""
        posted(server, {"url": recorder.url + path, "method": "GET", "body": "q"})
        line, fields, body = received(recorder, path)
        assert (line.split()[0], body, fields["content-length"]) == (b"GET", b"q", "1")

    @pytest.mark.parametrize(
        "method", ["CONNECT", "TRACE", "get", "Get", "", " GET", "G T", "GET\n", "É", "A" * 21, 1]
    )
    def test_invalid_methods(self, server, method):
        """Invalid methods are rejected with their pointer, as are CONNECT and TRACE."""
        found = refusal(server, {"url": "http://example.com/", "method": method})
        assert list(found) == ["#/payload/method"]
        assert "a method in capitals such as POST" in found["#/payload/method"]

    @pytest.mark.parametrize("method", ["TRACEROUTE", "CONNECTION", "A" * 20])
    def test_methods_with_similar_names(self, server, recorder, path, method):
        """Other methods are accepted."""
        posted(server, {"url": recorder.url + path, "method": method})
        assert received(recorder, path)[0].split()[0] == method.encode()


class TestHeaders:
    @pytest.mark.parametrize("name", HEADERS_MADE_HERE)
    def test_reserved_headers(self, server, name):
        """Fields of the connection and TaskFlow's own are refused in any case of letters."""
        for written in {
            name,
            name.upper(),
            name.title(),
            name.swapcase(),
            name[0].upper() + name[1:],
        }:
            found = refusal(server, {"url": "http://a.example/", "headers": {written: "1"}})
            assert found == {
                f"#/payload/headers/{written}": f"the header {written} is set by TaskFlow; leave "
                "it out"
            }

    def test_the_list_of_these(self):
        """The rejected headers are the hop-by-hop and framing headers (RFC 9110), listed again."""
        names = "host connection content-length transfer-encoding keep-alive proxy-connection te "
        names += "trailer upgrade http2-settings expect proxy-authenticate proxy-authorization "
        names += "accept-encoding x-taskflow-id x-taskflow-attempt"
        assert set(HEADERS_MADE_HERE) == set(names.split())

    @pytest.mark.parametrize("name", ["User-Agent", "user-agent", "ACCEPT"])
    def test_default_headers_can_be_replaced(self, server, recorder, path, name):
        """The header is sent once, with the value of the task."""
        posted(server, {"url": recorder.url + path, "headers": {name: "mine/1"}})
        assert received(recorder, path)[1][name.lower()] == "mine/1"

    @pytest.mark.parametrize("value", ["", "a", "a b", "a\tb", '"!~', "x" * 8192])
    def test_values(self, server, recorder, path, value):
        """Printable ASCII, and spaces within, come as they are."""
        posted(server, {"url": recorder.url + path, "headers": {"X-A": value}})
        assert f"\r\nX-A: {value}\r\n".encode() in recorder.received(path)[0]

    @pytest.mark.parametrize(
        "value",
        ["a\r\nX-B: 1", "a\n", "\n", "\0", " a", "a ", "\ta", "é", "\x7f", "x" * 8193, 1, None, []],
    )
    def test_invalid_header_values(self, server, value):
        """No value is sent that a server could read as another header, or as none."""
        found = refusal(server, {"url": "http://a.example/", "headers": {"X-A": value}})
        assert list(found) == ["#/payload/headers/X-A"]
        assert "printable ASCII" in found["#/payload/headers/X-A"]

    @pytest.mark.parametrize(
        ("name", "pointer"),
        [
            ("", ""),
            ("a b", "a b"),
            ("a:b", "a:b"),
            ("a/b", "a~1b"),
            ("~a/", "~a/"),
            ("a\r\nb", "a\r\nb"),
            ("é", "é"),
            ("x" * 129, "x" * 129),
        ],
    )
    def test_invalid_header_names(self, server, name, pointer):
        """Its pointer is escaped according to RFC 6901."""
        found = refusal(server, {"url": "http://a.example/", "headers": {name: "1"}})
        pointer = pointer if pointer != "~a/" else "~0a~1"
        assert list(found) == [f"#/payload/headers/{pointer}"]

    def test_the_limit_of_headers(self, server, recorder, path):
        """64 headers are sent, one more is rejected."""
        headers = {f"X-{n}": str(n) for n in range(64)}
        posted(server, {"url": recorder.url + path, "headers": headers})
        _, fields, _ = received(recorder, path)
        assert {name: fields[name.lower()] for name in headers} == headers
        found = refusal(server, {"url": "http://a.example/", "headers": headers | {"Y": "1"}})
        assert found == {"#/payload/headers": "payload.headers must be 64 at most"}

    @pytest.mark.parametrize("headers", [[], "a", 1, [["a", "b"]]])
    def test_headers_that_are_not_an_object(self, server, headers):
        """The message names the required type."""
        found = refusal(server, {"url": "http://a.example/", "headers": headers})
        assert found == {
            "#/payload/headers": "payload.headers must be an object of names with text"
        }


KNOWN = "known are url, method, headers, body, timeout_seconds, follow_redirects"
ADVICE = {
    **dict.fromkeys(("uri", "URL"), "did you mean url?"),
    "Method": "did you mean method?",
    "queue": "queue goes beside payload, not inside it",
}


class TestObjects:
    @pytest.mark.parametrize("name", ["uri", "URL", "Method", "", "a/b~c", "query", "queue"])
    def test_unknown_fields(self, server, name):
        """Each unknown field is reported, with the known ones."""
        found = refusal(server, {"url": "http://a.example/", name: 1})
        pointer = name.replace("~", "~0").replace("/", "~1")
        assert found == {
            f"#/payload/{pointer}": f"payload has no field {name!r}; {ADVICE.get(name, KNOWN)}"
        }

    @pytest.mark.parametrize("payload", [{}, {"method": "GET"}, {"url": None}])
    def test_without_a_url(self, server, payload):
        """That is the one field that must be there."""
        assert list(refusal(server, payload)) == ["#/payload/url"]

    @pytest.mark.parametrize("url", ["", 1, [], {}, True, "http://a.example/" + "a" * 8192])
    def test_invalid_types_of_url(self, server, url):
        """The URL must be text, within the length limit."""
        assert list(refusal(server, {"url": url})) == ["#/payload/url"]

    @pytest.mark.parametrize("url", ["a", "ftp://a.example/", "http://u:p@a.example/"])
    def test_urls_that_cannot_be_fetched(self, server, url):
        """It is taken, as the text of such a URL is, and the task says why it failed."""
        task = posted(server, {"url": url})
        assert (task["status"], task["error_type"]) == ("FAILED", "invalid_url")

    @pytest.mark.parametrize("timeout", [0, 0.009, -1, 3600.1, "5", True, []])
    def test_invalid_timeouts(self, server, timeout):
        """The timeout is a hundredth of a second to an hour."""
        found = refusal(server, {"url": "http://a.example/", "timeout_seconds": timeout})
        assert found == {
            "#/payload/timeout_seconds": "payload.timeout_seconds must be a number of seconds from "
            "0.01 to 3600"
        }

    @pytest.mark.parametrize("follows", [0, "true", []])
    def test_invalid_booleans(self, server, follows):
        """Only true and false are."""
        found = refusal(server, {"url": "http://a.example/", "follow_redirects": follows})
        assert list(found) == ["#/payload/follow_redirects"]

    def test_all_at_once(self, server):
        """All errors are reported in one response; the message has the first three."""
        payload = {
            "url": 1,
            "method": "get",
            "headers": {"Host": "a", "X": 1, "ok": "ok"},
            "body": {"base64": "?"},
            "timeout_seconds": 0,
            "follow_redirects": "no",
            "uri": "a",
        }
        body = json.dumps({"payload": payload, "priority": 101, "tags": 1}).encode()
        problem = check_problem(server.post(body), 422, "and so on, 10 in all")
        assert sorted(one["pointer"] for one in problem["errors"]) == [
            "#/payload/body/base64",
            "#/payload/follow_redirects",
            "#/payload/headers/Host",
            "#/payload/headers/X",
            "#/payload/method",
            "#/payload/timeout_seconds",
            "#/payload/uri",
            "#/payload/url",
            "#/priority",
            "#/tags",
        ]

    def test_many_errors_are_truncated(self, server):
        """And that there are more."""
        payload = {"url": "http://a.example/"} | {f"field{n}": 1 for n in range(5000)}
        problem = check_problem(
            server.post(json.dumps({"payload": payload}).encode()), 422, "21 in all"
        )
        assert len(problem["errors"]) == 21
        assert problem["errors"][-1]["pointer"] == "#/payload"


class TestTime:
    def test_longer_than_the_setting(self, recorder, path):
        """The task's own time counts."""
        url, later = (f"{recorder.url}{path}?seconds={seconds}" for seconds in (0.6, 60))
        with LiveServer(database_url=MEMORY_URL, fetch_timeout_seconds=0.3) as hasty:
            assert posted(hasty, {"url": url, "timeout_seconds": 60})["status"] == "COMPLETED"
            late = posted(hasty, {"url": later})
        assert (late["error_type"], late["error"]) == (
            "timeout",
            "timeout: the fetch took longer than 0.3 s",
        )

    def test_shorter_than_the_setting(self, server, recorder, path):
        """Both ways."""
        url = f"{recorder.url}{path}?seconds=60"
        task = posted(server, {"url": url, "timeout_seconds": 0.05})
        assert task["error"] == "timeout: the fetch took longer than 0.05 s"


class TestRedirects:
    def redirect(self, recorder: Recorder, path: str, to: str, status: int = 302, body="") -> str:
        return f"{recorder.url}{path}?status={status}&location={quote(to, safe='')}&body={body}"

    def test_not_followed(self, server, recorder, path):
        """The answer that would lead on is the end, and no success."""
        url = self.redirect(recorder, path, f"{path}/there")
        task = posted(server, {"url": url, "follow_redirects": False})
        assert (task["status"], task["error_type"]) == ("FAILED", "http_status")
        assert task["error"] == "http error: status: 302 Found"
        assert recorder.received(f"{path}/there") == []

    def test_not_followed_and_wanted(self, server, recorder, path):
        """A task that is after it gets it whole."""
        url = self.redirect(recorder, path, f"{path}/there", body="moved")
        task = posted(server, {"url": url, "follow_redirects": False}, success_on=["3xx"])
        assert task["status"] == "COMPLETED"
        result = task["result"]
        assert (result["status_code"], result["result"]) == (302, "moved")
        assert result["headers"]["location"] == f"{path}/there"
        assert recorder.received(f"{path}/there") == []

    def test_followed_whatever_counts_as_success(self, server, recorder, path):
        """And what is in the way is not kept, so it may be as long as it likes."""
        with LiveServer(database_url=MEMORY_URL, max_result_bytes=10) as frugal:
            url = self.redirect(recorder, path, f"{path}/there", body="x" * 5000)
            task = posted(frugal, {"url": url}, success_on=["2xx", "3xx"])
        assert (task["status"], task["result"]["result"]) == ("COMPLETED", "done")

    @pytest.mark.parametrize(("status", "method"), [(303, b"GET"), (307, b"POST"), (302, b"GET")])
    def test_what_goes_on(self, server, recorder, path, status, method):
        """To the same origin the task's fields do; the body and what is about it as HTTP says."""
        payload = {
            "url": self.redirect(recorder, path, f"{path}/there", status),
            "headers": {"Authorization": "Bearer s", "X-Mine": "1"},
            "body": {"a": 1},
        }
        task = posted(server, payload)
        line, fields, body = received(recorder, f"{path}/there")
        assert line.split()[0] == method
        assert (fields["authorization"], fields["x-mine"]) == ("Bearer s", "1")
        assert fields["x-taskflow-id"] == task["id"]
        assert body == (b'{"a": 1}' if method == b"POST" else b"")
        assert ("content-type" in fields) == (method == b"POST")

    @pytest.mark.parametrize("status", [302, 307, 308])
    def test_secrets_do_not_cross_origins(self, server, recorder, path, status):
        """Another port is another origin: it gets what a body is, and nothing that is ours."""
        with Recorder() as stranger:
            payload = {
                "url": self.redirect(recorder, path, f"{stranger.url}{path}", status),
                "method": "PUT",
                "headers": {
                    "Authorization": "Bearer s",
                    "Cookie": "a=b",
                    "X-Api-Key": "s",
                    "Idempotency-Key": "s",
                    "Content-Type": "text/x-mine",
                },
                "body": "text",
            }
            posted(server, payload, {"traceparent": PARENT})
            _, fields, body = received(stranger, path)
        assert body == b"text"
        assert fields.keys() == {
            *("host", "connection", "user-agent", "accept", "accept-encoding"),
            *("content-type", "content-length"),
        }

    def test_nor_do_they_come_back(self, server, recorder, path):
        """Once dropped they stay so, also where the chain leads to where it began."""
        with Recorder() as stranger:
            home = f"{recorder.url}{path}/home"
            away = f"{stranger.url}{path}?status=302&location={quote(home, safe='')}"
            payload = {
                "url": self.redirect(recorder, path, away),
                "headers": {"Authorization": "Bearer s"},
            }
            assert posted(server, payload)["status"] == "COMPLETED"
        assert "authorization" not in received(recorder, f"{path}/home")[1]


class TestSuccess:
    def test_by_default(self, server, recorder, path):
        """2xx and nothing else."""
        for status, ends in ((200, True), (299, True), (304, False), (404, False), (999, False)):
            task = posted(server, {"url": f"{recorder.url}{path}?status={status}&body="})
            assert (task["status"] == "COMPLETED") == ends, status

    def test_a_404_that_is_wanted(self, server, recorder, path):
        """Its body is kept like any other; a 200 is a failure then, and its body is not."""
        url = f"{recorder.url}{path}?body=gone&status="
        task = posted(server, {"url": url + "404"}, success_on=[404, "5xx"])
        result = task["result"]
        assert (task["status"], task["error"]) == ("COMPLETED", "")
        assert (result["status"], result["result"]) == ("404 Not Found", "gone")
        task = posted(server, {"url": url + "200"}, success_on=[404, "5xx"])
        assert (task["error_type"], task["result"]) == ("http_status", None)

    def test_of_text_too(self, server, recorder, path):
        """It is the task's, whatever its payload is."""
        task = posted(server, f"{recorder.url}{path}?status=418", success_on=["4xx"])
        assert task["status"] == "COMPLETED"


class TestTrace:
    @pytest.mark.parametrize(
        "parent",
        [
            "",
            "garbage",
            PARENT.upper(),
            PARENT + "-more",
            "ff" + PARENT[2:],
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
            PARENT.replace("00f067aa0ba902b7", "0" * 16),
        ],
    )
    def test_an_invalid_header_of_the_target_is_skipped(self, server, recorder, path, parent):
        """With its state: a task is never refused for how it is watched."""
        posted(server, recorder.url + path, {"traceparent": parent, "tracestate": "a=1"})
        assert not received(recorder, path)[1].keys() & {"traceparent", "tracestate"}

    def test_a_state_that_cannot_go_on(self, server, recorder, path):
        """The parent goes on without it."""
        posted(server, recorder.url + path, {"traceparent": PARENT, "tracestate": "x" * 513})
        _, fields, _ = received(recorder, path)
        assert fields["traceparent"] == PARENT
        assert "tracestate" not in fields

    def test_what_comes_in_several_fields(self, server, recorder, path):
        """States are one list (RFC 9110, section 5.3); of two parents none is to be trusted."""
        head = f"POST /tasks HTTP/1.1\r\nHost: a\r\ntraceparent: {PARENT}\r\n"
        for part, more in (("states", ""), ("parents", f"traceparent: {PARENT}\r\n")):
            body = json.dumps({"payload": f"{recorder.url}{path}/{part}"})
            with server.connect() as connection:
                connection.send(
                    f"{head}{more}tracestate: a=1\r\ntracestate: b=2\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                server.wait(connection.read().json["id"])
        _, fields, _ = received(recorder, f"{path}/states")
        assert (fields["traceparent"], fields["tracestate"]) == (PARENT, "a=1,b=2")
        assert not received(recorder, f"{path}/parents")[1].keys() & {"traceparent", "tracestate"}

    def test_one_in_the_payload(self, server, recorder, path):
        """It is the task's own, and nothing is put beside it."""
        payload = {"url": recorder.url + path, "headers": {"Traceparent": "mine"}}
        posted(server, payload, {"traceparent": PARENT, "tracestate": "a=1"})
        _, fields, _ = received(recorder, path)
        assert fields["traceparent"] == "mine"
        assert "tracestate" not in fields
