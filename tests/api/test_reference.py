"""The page at ``/docs``: all of the document is on it, and who may read it."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest

from taskflow.api.dashboard.pages import POLICY
from taskflow.api.reference import prose
from taskflow.api.reference.contents import Contents
from taskflow.api.reference.prose import ADDRESS, kind_of, limits_of
from taskflow.service import MEMORY_URL
from tests.api.documented import DOCUMENT, OPERATIONS, check_head, resolved
from tests.api.live import LiveServer
from tests.fuzz.idle import open_idle_app

KEY = "the-key-of-the-reference"
ENTRIES = {
    entry.operation["operationId"]: entry
    for _, entries in Contents(DOCUMENT).groups
    for entry in entries
}


class Outline(HTMLParser):
    """What a page has: its text, and where its links lead."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        reported = dict(attrs)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        self.ids += [reported["id"] or ""] if "id" in reported else []
        self.links += [reported["href"] or ""] if tag == "a" else []

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def idle() -> Iterator[LiveServer]:
    """A service that has a key, and fetches nothing."""
    with LiveServer(database_url=MEMORY_URL, open_app=open_idle_app, key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def page(idle: LiveServer) -> Outline:
    return Outline(idle.ask("GET", "/docs").body)


class TestPage:
    def test_its_head(self, idle):
        """HTML by which nothing runs that this service does not serve, as the document has it."""
        answer = idle.ask("GET", "/docs")
        assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
        assert answer.header("content-security-policy") == POLICY
        assert "unsafe" not in POLICY
        for inline in (b"style=", b"<style", b" onclick", b"javascript:"):
            assert inline not in answer.body
        assert answer.body.count(b"<script") == answer.body.count(b"<script src=") <= 1

    def test_all_of_the_document_is_there(self, page):
        """Each operation, problem, type and field, with what is said of it."""
        ids = set(page.ids)
        assert len(ids) == len(page.ids)
        assert {one["operationId"] for one in OPERATIONS.values()} <= ids
        assert {f"type-{name}" for name in DOCUMENT["components"]["schemas"]} <= ids
        assert {f"group-{tag['name']}" for tag in DOCUMENT["tags"]} <= ids
        for name, reported in DOCUMENT["components"]["responses"].items():
            assert f"problem-{name.removeprefix('Problem')}" in ids
            for example in reported["content"]["application/problem+json"]["examples"].values():
                assert example["value"]["detail"] in page.text
        for operation in OPERATIONS.values():
            assert plain(operation["description"]) in page.text
            for parameter in operation["parameters"]:
                assert plain(parameter["description"]) in page.text
            for answer in operation["responses"].values():
                assert plain(resolved(answer)["description"]) in page.text
        for schema in DOCUMENT["components"]["schemas"].values():
            for field in schema.get("properties", {}).values():
                assert plain(field["description"]) in page.text

    def test_no_link_leads_nowhere(self, page, idle):
        """Those within the page, and those to other pages."""
        assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
        for link in {link for link in page.links if not link.startswith("#")}:
            assert idle.ask("GET", link).status == 200

    def test_headings_are_in_order(self, page):
        """One at the top, and none that skips a level on the way down."""
        levels = page.headings
        assert (levels[0], levels.count(1)) == (1, 1)
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))

    def test_commands_have_the_address_of_the_request(self, idle):
        """Invalid names and addresses are not repeated."""
        host = urlsplit(idle.url).netloc
        assert f"curl http://{host}/tasks".encode() in idle.ask("GET", "/docs").body
        odd = idle.ask("GET", "/docs", None, {"host": "a;b'c"})
        assert (b"a;b" in odd.body, odd.status) == (False, 200)


def plain(markdown: str) -> str:
    return markdown.replace("`", "")


@pytest.mark.parametrize("name", ENTRIES)
def test_commands(idle, name, tmp_path):
    """Each can be run as it stands, and is answered as its operation has it."""
    entry = ENTRIES[name]
    command = entry.curl.replace(ADDRESS, idle.url)
    done = subprocess.run(
        ["sh", "-c", f"{command} -s -o /dev/null -D - --max-time 1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"TASKFLOW_API_KEY": KEY, "PATH": "/usr/bin:/bin", "NO_PROXY": "*"},
    )
    head = done.stdout.replace("HTTP/1.1 100 \r\n\r\n", "")
    assert head.split()[1] in entry.operation["responses"], done.stderr + done.stdout
    assert int(head.split()[1]) < 400 or head.split()[1] in ("404", "409", "410"), head


class TestAccess:
    def test_without_keys(self, memory_server):
        """Without keys, every client that can connect may read it."""
        assert memory_server.ask("GET", "/docs").status == 200

    def test_with_a_key(self, idle):
        """A known one opens it, another is refused as everywhere."""
        assert idle.ask("GET", "/docs").status == 200
        refused = idle.ask("GET", "/docs", None, {"authorization": "Bearer wrong"})
        assert refused.status == 401

    def test_in_a_browser(self, idle):
        """Browsers without a key are redirected to the sign-in, and from there to the page."""
        with idle.connect() as connection:
            answer = connection.ask("GET", "/docs")
            assert (answer.status, answer.header("location")) == (303, "/ui/docs")
            check_head(answer, OPERATIONS["get", "/docs"]["responses"]["303"])
            answer = connection.ask("GET", "/ui/docs")
            assert answer.status == 303
            assert answer.header("location") == "/ui/sign-in?next=%2Fui%2Fdocs"

    def test_signed_in(self):
        """The session opens it, under the path that the session is for."""
        with LiveServer(database_url=MEMORY_URL, api_keys=f"ada:read:{KEY}") as server:
            form = f"key={KEY}&next=%2Fui%2Fdocs".encode()
            head = {
                "content-type": "application/x-www-form-urlencoded",
                "origin": server.url,
            }
            answer = server.ask("POST", "/ui/sign-in", form, head)
            assert (answer.status, answer.header("location")) == (303, "/ui/docs")
            cookie = {"cookie": answer.header("set-cookie").partition(";")[0]}
            shown = server.ask("GET", "/ui/docs", None, cookie)
            assert shown.status == 200
            assert b"Authorization: Bearer" in shown.body
            assert server.ask("GET", "/tasks", None, cookie).status == 401


class TestWords:
    @pytest.mark.parametrize(
        ("schema", "said"),
        [
            ({}, "any JSON"),
            ({"type": "string", "format": "uuid"}, "UUID"),
            ({"type": ["string", "number"]}, "string or number"),
            ({"type": "array", "items": {"type": "integer"}}, "array of integer"),
            ({"enum": ["a", 1]}, "<code>&#34;a&#34;</code> or <code>1</code>"),
            ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, "integer or null"),
            ({"$ref": "#/components/schemas/Task"}, '<a href="#type-Task">Task</a>'),
            (
                {"type": "object", "additionalProperties": {"type": "string"}},
                "object of string by name",
            ),
        ],
    )
    def test_kinds(self, schema, said):
        assert str(kind_of(schema)) == said

    @pytest.mark.parametrize(
        ("schema", "said"),
        [
            ({"type": "integer", "minimum": 1, "maximum": 1000}, ["1 to 1,000"]),
            ({"type": "array", "minItems": 1}, ["not empty"]),
            (
                {"type": "string", "maxLength": 5, "pattern": "^a\\.\x00$(?!\n)"},
                ["at most 5 characters", "`^a\\.\\x00$`"],
            ),
            ({"type": "integer", "default": 7}, ["default: `7`"]),
            ({"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]}, ["at least 0"]),
        ],
    )
    def test_limits(self, schema, said):
        assert limits_of(schema) == said

    def test_prose(self):
        """What is no Markdown of ours is text, whatever it looks like."""
        text = "**A** `<b>`\n\n- one & two\n- `three`"
        assert str(prose.paragraphs(text)) == (
            "<p><strong>A</strong> <code>&lt;b&gt;</code></p>\n"
            "<ul><li>one &amp; two</li><li><code>three</code></li></ul>"
        )

    def test_bodies_are_those_of_the_document(self):
        """Examples are shown as they would be sent."""
        [json_body, lines] = ENTRIES["addTasks"].bodies
        body = OPERATIONS["post", "/tasks/batch"]["requestBody"]
        shown = {one.name: json.loads(one.text) for one in json_body.samples}
        reported = body["content"]["application/json"]["examples"]
        assert shown == {name: example["value"] for name, example in reported.items()}
        assert lines.samples[0].text + "\n" == body["x-streams"]["application/x-ndjson"]["example"]
