"""``taskflow config``: what a file says is so afterwards, and a second time changes nothing."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonschema_rs
import pytest
import yaml

from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.configuration import yaml_text
from taskflow.cli.remote.configuration.declaration import schema
from taskflow.cli.remote.configuration.variables import Variables
from taskflow.cli.remote.configuration.yaml_text import dumped, loaded
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.cli.command import CommandLine

FILE = """
credentials:
  billing:
    kind: bearer
    token: ${BILLING_TOKEN}
    hosts: [api.example.com]
queues:
  mail:
    max_concurrency: 10
    rate: 5
    per_host: {max_concurrency: 2}
    credential: billing
  slow: {rate: {per_second: 1, burst: 3}, paused: true}
  plain:
topics:
  orders:
    queue: mail
    endpoints:
      shop:
        url: https://example.com/hook?token=abc
        headers: {X-Api-Key: secret, X-Shop: "1"}
        event_types: [order.*]
        timeout_seconds: 15
schedules:
  report:
    cron: 30 6 * * MON-FRI
    timezone: Europe/Berlin
    overlap: skip
    task:
      payload: {url: https://example.com/reports, headers: {Authorization: Bearer abc}}
      queue: mail
      max_attempts: 3
  sync: {every_seconds: 60, task: {payload: https://example.com/}, start_at: 2026-01-01T00:00:00Z}
heartbeats:
  backup: {cron: 30 2 * * *, timezone: Europe/Berlin, grace_seconds: 1800, description: Nightly}
"""


@pytest.fixture(params=["memory", "postgres"])
def server(request) -> Iterator[LiveServer]:
    """A service of its own: a file with --prune is about all of it."""
    with contextlib.ExitStack() as stack:
        url = "memory://"
        if request.param == "postgres":
            postgres = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(postgres, is_migrated=True))
        yield stack.enter_context(LiveServer(database_url=url))


@pytest.fixture
def cli(server, tmp_path) -> CommandLine:
    return CommandLine(tmp_path, url=server.url, BILLING_TOKEN="t0ken")


@pytest.fixture
def lone(tmp_path) -> CommandLine:
    """The command line without a service."""
    return CommandLine(tmp_path, url=None, BILLING_TOKEN="t0ken")


def write(tmp_path, text: str) -> None:
    (tmp_path / "taskflow.yaml").write_text(text, "utf-8")


def config(cli: CommandLine, *arguments: str, code: int = 0):
    result = cli.run("config", *arguments)
    assert result.code == code, result
    return result


def test_a_file_is_applied_once(cli, server, tmp_path):
    """A plan shows each field and changes nothing; after an apply there is nothing to change."""
    write(tmp_path, FILE)
    planned = config(cli, "plan", "--check", code=1)
    assert planned.lines[-1] == "6 to create, 2 to change"
    assert "+ credential billing" in planned.lines
    assert "    token: (not shown)" in planned.lines
    assert "t0ken" not in planned.out
    assert server.ask("GET", "/schedules").json == []
    applied = config(cli, "apply")
    assert applied.out == planned.out
    for command in ("plan", "apply"):
        assert config(cli, command).out == "nothing to change\n"
    queue = server.ask("GET", "/queues/mail").json
    assert (queue["max_concurrency"], queue["credential"]) == (10, "billing")
    schedule = server.ask("GET", "/schedules/report").json
    assert schedule["timezone"] == "Europe/Berlin"
    assert schedule["task"]["payload"]["headers"] == {"Authorization": "***"}


def test_heartbeats(cli, server, tmp_path):
    """They are created, changed from cron to an interval, checked, exported and deleted."""
    write(tmp_path, "heartbeats: {a: {cron: 0 2 * * *}, b: {every_seconds: 60}}")
    assert config(cli, "apply").lines[-1] == "2 to create"
    before = server.ask("GET", "/heartbeats/a").json
    write(tmp_path, "heartbeats: {a: {every_seconds: 3600, paused: true}, b: {description: x}}")
    changed = config(cli, "apply").lines
    assert changed[-1] == "2 to change"
    assert "    every_seconds: 3600.0" in changed
    after = server.ask("GET", "/heartbeats/a").json
    assert (after["cron"], after["every_seconds"], after["state"]) == (None, 3600, "paused")
    assert after["ping_url"] == before["ping_url"]
    write(tmp_path, "heartbeats: {c: {description: x}}")
    assert "either cron or every_seconds" in cli.run("config", "plan").complaint
    write(tmp_path, config(cli, "export").out)
    assert config(cli, "plan").out == "nothing to change\n"
    write(tmp_path, "heartbeats: {}")
    config(cli, "apply", "--prune", "--yes")
    assert server.ask("GET", "/heartbeats").json == []


def test_what_is_not_named_stays(cli, server, tmp_path):
    """Fields and resources that the file does not name stay; null resets a field."""
    write(tmp_path, FILE)
    config(cli, "apply")
    changed = "queues: {mail: {max_concurrency: 20, rate: null}}"
    write(tmp_path, changed)
    planned = config(cli, "plan", "--json").documents
    assert [one["name"] for one in planned] == ["mail"]
    assert sorted(planned[0]["fields"], key=lambda one: one["name"]) == [
        {"name": "max_concurrency", "before": 10, "after": 20},
        {"name": "rate", "before": {"per_second": 5.0, "burst": 1}, "after": None},
    ]
    config(cli, "apply")
    queue = server.ask("GET", "/queues/mail").json
    assert (queue["max_concurrency"], queue["rate"], queue["credential"]) == (20, None, "billing")
    assert len(server.ask("GET", "/schedules").json) == 2


def test_a_change_of_each_kind(cli, server, tmp_path):
    """A change is one field of a resource; the others keep values that are not shown."""
    write(tmp_path, FILE)
    config(cli, "apply")
    text = FILE.replace("30 6 * * MON-FRI", "0 7 * * MON-FRI").replace(
        "timeout_seconds: 15", "timeout_seconds: 20"
    )
    text = text.replace("{every_seconds: 60,", "{cron: 0 * * * *,").replace(
        ", start_at: 2026-01-01T00:00:00Z", ""
    )
    text = text.replace("hosts: [api.example.com]", "hosts: [api.example.org]").replace(
        "max_attempts: 3", "max_attempts: 4"
    )
    write(tmp_path, text)
    planned = config(cli, "apply").lines
    assert planned[-1] == "4 to change"
    assert '    cron: "30 6 * * MON-FRI" -> "0 7 * * MON-FRI"' in planned
    assert "    every_seconds: 60.0 -> null" in planned
    assert config(cli, "plan").out == "nothing to change\n"
    sync = server.ask("GET", "/schedules/sync").json
    assert (sync["cron"], sync["every_seconds"], sync["start_at"]) == ("0 * * * *", None, None)
    endpoint = server.ask("GET", "/topics/orders/endpoints/shop").json
    assert (endpoint["timeout_seconds"], endpoint["event_types"]) == (20, ["order.*"])


def test_masked_values_stay(cli, server, tmp_path):
    """A file that does not name headers and options of an endpoint leaves them as they are."""
    write(tmp_path, FILE)
    config(cli, "apply")
    shop = "{url: https://example.com/other, queue: slow}"
    write(tmp_path, f"topics: {{orders: {{endpoints: {{shop: {shop}}}}}}}")
    assert config(cli, "apply").lines[-1] == "1 to change"
    endpoint = server.ask("GET", "/topics/orders/endpoints/shop").json
    assert endpoint["headers"] == {"X-Api-Key": "***", "X-Shop": "1"}
    assert (endpoint["url"], endpoint["queue"]) == ("https://example.com/other", "slow")
    assert endpoint["timeout_seconds"] == 15
    assert config(cli, "plan").out == "nothing to change\n"


def test_prune(cli, server, tmp_path):
    """Only with --prune is anything deleted, and only in sections that the file has."""
    write(tmp_path, FILE)
    config(cli, "apply")
    write(tmp_path, "queues: {slow: {paused: true}}\nschedules:\ntopics: {orders: }\n")
    assert config(cli, "plan").out == "nothing to change\n"
    planned = config(cli, "plan", "--prune").lines
    deleted = [line for line in planned if line.startswith("-")]
    assert deleted == [
        "- schedule sync",
        "- schedule report",
        "- endpoint orders/shop",
        "- queue mail",
    ]
    refused = config(cli, "apply", "--prune", code=ExitStatus.USAGE)
    assert refused.out == ""
    assert refused.complaint == (
        "delete 4 of 4 changed resources: schedule sync, schedule report, endpoint orders/shop, "
        "queue mail? Confirm with --yes; there is no terminal"
    )
    assert len(server.ask("GET", "/schedules").json) == 2
    config(cli, "apply", "--prune", "--yes")
    assert config(cli, "apply", "--prune").out == "nothing to change\n"
    assert config(cli, "plan", "--prune").out == "nothing to change\n"
    assert server.ask("GET", "/schedules").json == []
    assert server.ask("GET", "/topics/orders").status == 200
    assert [one["name"] for one in server.ask("GET", "/credentials").json] == ["billing"]


@pytest.mark.parametrize("server", ["memory"], indirect=True)
@pytest.mark.parametrize(("typed", "code", "left"), [("n\n", 1, 2), ("y\n", 0, 0)])
def test_prune_on_a_terminal(cli, server, tmp_path, typed, code, left):
    """An empty section with --prune deletes all of its resources, after a confirmation."""
    write(tmp_path, FILE)
    config(cli, "apply")
    write(tmp_path, "schedules:")
    with cli.terminal("config", "apply", "--prune", columns=200) as terminal:
        terminal.wait_for("schedule sync, schedule report? [y/N]")
        terminal.type(typed)
        assert terminal.end() == code
    assert len(server.ask("GET", "/schedules").json) == left


def test_an_export_changes_nothing(cli, tmp_path):
    """What is exported is what is there, also with masked credentials; nothing secret is in it."""
    write(tmp_path, FILE)
    config(cli, "apply")
    exported = config(cli, "export").out
    assert "credentials" not in yaml.safe_load(exported)
    assert not any(secret in exported for secret in ("t0ken", "abc", "secret"))
    write(tmp_path, exported)
    assert config(cli, "plan", "--prune").out == "nothing to change\n"


def test_credentials_are_sent_again(cli, server, tmp_path):
    """Their values cannot be compared: --credentials sends them."""
    write(tmp_path, FILE)
    config(cli, "apply")
    before = server.ask("GET", "/credentials/billing").json["updated_at"]
    assert config(cli, "apply", "--credentials").lines == ["~ credential billing", "1 to change"]
    assert server.ask("GET", "/credentials/billing").json["updated_at"] > before


def test_a_rejection(cli, server, tmp_path):
    """The service rejects the last change: nothing is changed, and the message names the place."""
    write(
        tmp_path,
        "queues: {a: {rate: 1}}\n"
        "topics: {t: {queue: a}}\n"
        "schedules: {s: {every_seconds: 60, task: {payload: x, credential: unknown}}}\n",
    )
    result = config(cli, "apply", code=ExitStatus.USAGE)
    assert result.out == ""
    assert result.err.splitlines()[0] == "nothing was changed"
    assert "schedule s: there is no credential unknown" in result.err
    assert server.ask("GET", "/schedules").json == []
    assert server.ask("GET", "/topics").json == []
    assert server.ask("GET", "/queues/a").status == 404


def test_a_stale_plan(cli, server, tmp_path):
    """A resource was changed between the plan and the changes: nothing is changed."""
    write(tmp_path, FILE)
    config(cli, "apply")
    write(tmp_path, "queues: {mail: {rate: 7}, new: {rate: 1}}\nschedules:")
    columns = {"columns": 200}
    with cli.terminal("config", "apply", "--prune", **columns) as terminal:
        terminal.wait_for("[y/N]")
        server.ask("PATCH", "/queues/mail", b'{"max_concurrency": 11}')
        server.ask("DELETE", "/schedules/sync")
        terminal.type("y\n")
        assert terminal.end() != 0
        shown = " ".join(terminal.text.split())
    assert "queue mail: max_concurrency is 11, and was 10" in shown
    assert "schedule sync does not exist any more" in shown
    assert server.ask("GET", "/queues/mail").json["rate"] == {"per_second": 5.0, "burst": 1}
    assert server.ask("GET", "/queues/new").status == 404
    assert server.ask("GET", "/schedules/report").status == 200


@pytest.mark.parametrize("server", ["memory"], indirect=True)
def test_an_older_service(cli, tmp_path):
    """A service without the route is named as the reason."""

    class Old(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(200, b"[]", "application/json")

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            problem = {"type": "/problems/not-found", "title": "x", "status": 404, "detail": "x"}
            self.answer(404, json.dumps(problem).encode(), "application/problem+json")

        def answer(self, status, body, kind):
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Print nothing."""

    write(tmp_path, "queues: {a: {rate: 1}}")
    with ThreadingHTTPServer(("127.0.0.1", 0), Old) as old:
        thread = threading.Thread(target=old.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{old.server_port}"
            result = config(CommandLine(tmp_path, url=url), "apply", code=ExitStatus.FAILED)
        finally:
            old.shutdown()
            thread.join()
    assert "the service is older than this command" in result.complaint


@pytest.mark.parametrize("server", ["memory"], indirect=True)
def test_the_times_of_a_schedule_are_checked_before_the_first_change(cli, server, tmp_path):
    """Together with the fields that exist; validate says what only the service knows."""
    task = "task: {payload: 'https://example.com/'}"
    write(tmp_path, f"queues: {{q: {{paused: true}}}}\nschedules: {{s: {{{task}}}}}")
    assert config(cli, "validate").lines == [
        "taskflow.yaml is valid: 2 resources",
        "neither cron nor every_seconds, so these must exist: schedule s",
    ]
    for command in ("plan", "apply"):
        complaint = config(cli, command, code=ExitStatus.USAGE).complaint
        assert "schedules.s: either cron or every_seconds must be given" in complaint
    assert server.ask("GET", "/queues/q").status == 404
    write(tmp_path, f"schedules: {{s: {{cron: 0 6 * * *, {task}}}}}")
    config(cli, "apply")
    write(tmp_path, f"schedules: {{s: {{paused: true, {task}}}}}")
    assert config(cli, "apply").lines[-1] == "1 to change"
    write(tmp_path, f"schedules: {{s: {{start_at: 2026-01-01T00:00:00Z, {task}}}}}")
    complaint = config(cli, "plan", code=ExitStatus.USAGE).complaint
    assert "schedules.s.start_at: start_at needs every_seconds" in complaint


def _schedule(fields: str) -> str:
    return f"schedules: {{s: {{task: {{payload: x}}, {fields}}}}}"


def _task(fields: str) -> str:
    return f"schedules: {{s: {{every_seconds: 60, task: {{payload: x, {fields}}}}}}}"


def _bomb() -> str:
    """Return a small document whose aliases stand for 10^9 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(lines)


def _chain() -> str:
    """Return a document that only its aliases nest deeply."""
    lines = ["a0: &a0 [[[[x]]]]", *(f"a{n}: &a{n} [[[[*a{n - 1}]]]]" for n in range(1, 40))]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("queues: {mail: {rat: 1}}", ["queues.mail has no field 'rat'; did you mean rate?"]),
        ("queue: {}", ["there is no section 'queue'; did you mean queues?"]),
        ("queues: {'a b': {}}", ["the name 'a b' must be 1 to 64 letters"]),
        ("schedules: {s: {every_seconds: 60}}", ["schedules.s.task is missing"]),
        (
            "schedules: {s: {cron: 7, task: {payload: x, priority: 1000}}}",
            [
                "schedules.s.cron must be",
                "schedules.s.task.priority: priority must be a whole number",
            ],
        ),
        ("topics: {t: {endpoints: {e: {}}}}", ["topics.t.endpoints.e.url is missing"]),
        ("credentials: {c: {kind: bearer, hosts: [a.example]}}", ["token is missing"]),
        ("credentials: {c: {kind: bearer, token: '${NO_SUCH}', hosts: [a]}}", ["not set: NO_SUCH"]),
        ("queues: {a: {rate: 1}, a: {rate: 2}}", ["'a' is given twice"]),
        ("queues: [", ["is not valid YAML"]),
        (
            "- a",
            ["the file must be an object of credentials, queues, topics, schedules, heartbeats"],
        ),
        ("heartbeats: {h: {cron: 61 * * * *}}", ["cron has an invalid minute"]),
        ("queues: {1: {}}", ["the name 1 must be text"]),
        ("queues: {off: {}}", ["the name off must be text: put it in quotes"]),
        ("queues: {? [a] : {}}", ["must be text"]),
        ("queues: &a {a: *a}", ['the alias *a contains itself in "taskflow.yaml", line 1']),
        ("queues: &a [*a]", ["the alias *a contains itself"]),
        (_bomb(), ["it has more than 100000 names and values, with its aliases expanded"]),
        (_chain(), ["it is nested deeper than 64 levels, with its aliases expanded"]),
        ("queues: " + "[" * 5000, ["it is nested deeper than 64 levels"]),
        ("queues: {a: {rate: .nan}}", ["queues.a.rate must be a finite number"]),
        ("queues: {a: {rate: {burst: -.inf}}}", ["queues.a.rate.burst must be a finite number"]),
        (_task("tags: [a, .inf]"), ["schedules.s.task.tags.1 must be a finite number"]),
        (f"queues: {{a: {{rate: {10**30}}}}}", ["queues.a.rate must be a whole number of at most"]),
        ("queues: {a: {credential: !!binary aGk=}}", ["queues.a.credential must be text, a"]),
        ("queues: {a: {credential: 0x_}}", ["is not a valid tag:yaml.org,2002:int"]),
        ('queues: {a: {credential: "\\ud800"}}', ["queues.a.credential must be valid Unicode"]),
        ("queues: {a: \x07}", ["is not valid YAML", 'in "taskflow.yaml"']),
        (_schedule("cron: 61 * * * *"), ["schedules.s.cron: cron"]),
        (_schedule("cron: 0 0 30 2 *"), ["schedules.s.cron: cron has an invalid day"]),
        (_schedule("timezone: Europe/Berln"), ["schedules.s.timezone: timezone must be a name"]),
        (
            _schedule("cron: 0 6 * * *, every_seconds: 60"),
            ["schedules.s.every_seconds: every_seconds must not be given together with cron"],
        ),
        (
            _schedule("cron: 0 6 * * *, start_at: 2026-01-01T00:00:00Z"),
            ["schedules.s.start_at: start_at needs every_seconds"],
        ),
        (_task("prioritty: 1"), ["is invalid: schedules.s.task.prioritty: there is no field"]),
        (_task("queue: 7"), ["is invalid: schedules.s.task.queue: queue must be 1 to 64"]),
        (
            _task("run_at: 2026-01-01T00:00:00Z"),
            ["is invalid: schedules.s.task.run_at: task.run_at is a fixed time"],
        ),
        (
            "schedules: {s: {every_seconds: 60, task: x}}",
            ["is invalid: schedules.s.task must be an object, as POST /tasks"],
        ),
        ("queues: {a: {credential: '${A-B}'}}", ["queues.a.credential: ${ must be followed by"]),
        ("queues: {a: {credential: 'x ${A'}}", ["write $${ for the text ${"]),
        ("queues: {a: {credential: '${}'}}", ["queues.a.credential: ${ must be"]),
    ],
)
def test_invalid_files(lone, tmp_path, text, complaints):
    """One message has all reasons, with the names of the fields; no service is needed."""
    write(tmp_path, text)
    complaint = config(lone, "validate", code=ExitStatus.USAGE).complaint
    assert [one for one in complaints if one not in complaint] == [], complaint


def test_a_valid_file(lone, tmp_path):
    """Without a service; from a file, and from standard input. $${ is no reference."""
    write(tmp_path, FILE)
    assert config(lone, "validate").out == "taskflow.yaml is valid: 9 resources\n"
    write(tmp_path, "queues: {}\nschedules: {s: {every_seconds: 1, task: {payload: '$${X}'}}}")
    assert config(lone, "validate").out == "taskflow.yaml is valid: 1 resource\n"
    assert config(lone, "validate", "--file", "-").out == "- is valid: 0 resources\n"
    write(tmp_path, _task("tags: {a: '$${A-B}', b: '$${'}"))
    assert config(lone, "validate").out == "taskflow.yaml is valid: 1 resource\n"


@pytest.mark.parametrize("server", ["memory"], indirect=True)
def test_aliases_and_merge_keys(cli, tmp_path):
    """The own fields of a mapping override those that it merges, also if it is merged itself."""
    write(
        tmp_path,
        "queues:\n"
        "  a: &a {rate: 1, max_concurrency: 2}\n"
        "  b: &b {<<: *a, max_concurrency: 3}\n"
        "  c: {<<: [*b], paused: true}\n"
        "  d: *b\n",
    )
    changes = config(cli, "plan", "--json").documents
    found = {
        change["name"]: {one["name"]: one["after"] for one in change["fields"]}
        for change in changes
    }
    rate = {"per_second": 1.0, "burst": 1}
    assert found == {
        "a": {"rate": rate, "max_concurrency": 2},
        "b": {"rate": rate, "max_concurrency": 3},
        "c": {"rate": rate, "max_concurrency": 3, "paused": True},
        "d": {"rate": rate, "max_concurrency": 3},
    }


def test_many_values_are_counted_once(monkeypatch):
    """An anchor without aliases counts once, and an alias as what it stands for."""
    monkeypatch.setattr(yaml_text, "MAX_NODES", 1000)
    text = "[&a [x, x], *a, " + "x, " * 993 + "]"
    assert len(loaded(text, "f")) == 995
    with pytest.raises(Failure, match="more than 1000 names and values"):
        loaded(text.replace("*a", "*a, *a"), "f")


def test_an_export_keeps_texts_that_look_like_references():
    """``dumped`` escapes what ``Variables`` would replace or reject."""
    texts = ["${A}", "$${A}", "$$${A}", "${", "a $${b c} ${", "$", "$$", "{}"]
    variables = Variables({})
    assert variables.replaced(loaded(dumped(texts), "f")) == texts
    assert (variables.missing, variables.malformed) == (set(), [])


def test_the_schema(lone):
    """The JSON Schema accepts the example, and rejects a misspelled field."""
    printed = json.loads(config(lone, "schema").out)
    assert printed == json.loads(json.dumps(schema()))
    validator = jsonschema_rs.validator_for(printed)
    document = yaml.safe_load(FILE)
    document["schedules"]["sync"]["start_at"] = "2026-01-01T00:00:00Z"
    assert [error.message for error in validator.iter_errors(document)] == []
    assert not validator.is_valid({"queues": {"mail": {"rat": 1}}})
