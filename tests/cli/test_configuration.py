"""``taskflow config``: what a file says is so afterwards, and a second time changes nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import jsonschema_rs
import pytest
import yaml

from taskflow.cli.exit_status import ExitStatus
from taskflow.cli.remote.configuration.declaration import schema
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
    assert planned.lines[-1] == "5 to create, 2 to change"
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
    config(cli, "apply", "--prune")
    assert config(cli, "plan", "--prune").out == "nothing to change\n"
    assert server.ask("GET", "/schedules").json == []
    assert server.ask("GET", "/topics/orders").status == 200
    assert [one["name"] for one in server.ask("GET", "/credentials").json] == ["billing"]


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
    """The service rejects a change: what was made is listed, and stays; the rest is not made."""
    write(
        tmp_path,
        "queues: {a: {rate: 1}, b: {credential: unknown}}\n"
        "schedules: {s: {every_seconds: 60, task: {payload: 'https://example.com/'}}}\n",
    )
    result = config(cli, "apply", code=ExitStatus.USAGE)
    assert "1 of 3 changes were made; rejected: queue b" in result.err
    assert "unknown" in result.err.splitlines()[-1]
    assert result.lines[0] == "~ queue a"
    assert server.ask("GET", "/schedules").json == []


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
        ("- a", ["the file must be an object of credentials, queues, topics, schedules"]),
        ("queues: {1: {}}", ["the name 1 must be text"]),
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
    assert config(lone, "validate").out == "taskflow.yaml is valid: 8 resources\n"
    write(tmp_path, "queues: {}\nschedules: {s: {every_seconds: 1, task: {payload: '$${X}'}}}")
    assert config(lone, "validate").out == "taskflow.yaml is valid: 1 resource\n"
    assert config(lone, "validate", "--file", "-").out == "- is valid: 0 resources\n"


def test_the_schema(lone):
    """The JSON Schema accepts the example, and rejects a misspelled field."""
    printed = json.loads(config(lone, "schema").out)
    assert printed == json.loads(json.dumps(schema()))
    validator = jsonschema_rs.validator_for(printed)
    document = yaml.safe_load(FILE)
    document["schedules"]["sync"]["start_at"] = "2026-01-01T00:00:00Z"
    assert [error.message for error in validator.iter_errors(document)] == []
    assert not validator.is_valid({"queues": {"mail": {"rat": 1}}})
