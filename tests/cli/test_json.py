"""What ``--json`` prints is what the API's document says of the objects that the help names."""

from __future__ import annotations

import re

import click

from taskflow.cli import main
from tests.api.documented import complaints
from tests.api.live import LiveServer
from tests.cli.command import CommandLine
from tests.cli.test_endings import ALL

NAMED = re.compile(r"\b(?:one|an?) ([A-Z]\w+)(?= object|\b)")
# Of reports that no response of the API has.
REPORTS = {("bench",), ("config", "apply"), ("config", "plan"), ("doctor",)}
URL = "http://127.0.0.1:9/"
SECRET = '{"kind": "bearer", "token": "of-the-test", "hosts": ["x.invalid"]}'
# In order: each needs what the ones before it have made. ID is the id of the task, and GROUP is the
# id of the group.
COMMANDS = (
    ("submit", URL, "--queue", "json"),
    ("list", "--queue", "json"),
    ("show", "ID"),
    ("show", "ID", "--attempts"),
    ("events", "ID"),
    ("queues", "put", "json", "--max-concurrency", "3"),
    ("queues", "list"),
    ("queues", "show", "json"),
    ("queues", "pause", "json"),
    ("queues", "resume", "json"),
    ("groups", "create", "--open"),
    ("submit", URL, "--group", "GROUP", "--delay", "1h"),
    ("groups", "list"),
    ("groups", "show", "GROUP"),
    ("groups", "retry", "GROUP"),
    ("groups", "close", "GROUP"),
    ("groups", "cancel", "GROUP", "--yes"),
    ("topics", "put", "json"),
    ("topics", "list"),
    ("topics", "show", "json"),
    ("endpoints", "put", "json", "one", URL),
    ("endpoints", "list", "json"),
    ("endpoints", "show", "json", "one"),
    ("endpoints", "rotate", "json", "one"),
    ("topics", "publish", "json", "order.paid", "{}"),
    ("endpoints", "test", "json", "one"),
    ("endpoints", "deliveries", "json", "one"),
    ("endpoints", "recover", "json", "one", "--since", "1h"),
    ("schedules", "put", "json", URL, "--every", "1d"),
    ("schedules", "list"),
    ("schedules", "show", "json"),
    ("schedules", "next", "json"),
    ("schedules", "pause", "json"),
    ("schedules", "resume", "json"),
    ("schedules", "run", "json"),
    ("credentials", "put", "json", "--file", "credential.json"),
    ("credentials", "list"),
    ("credentials", "show", "json"),
    ("stats",),
    ("nodes",),
    ("hosts",),
    ("failures", "--state", "all"),
    ("audit",),
)


def test_no_command_is_missing():
    """Each command with --json is run."""
    with_json = {
        path
        for path, command in ALL.items()
        if any(one.name == "as_json" for one in command.params)
    }
    run = {path for path in with_json if any(one[: len(path)] == path for one in COMMANDS)}
    assert with_json - run == REPORTS


def test_groups_with_a_list(tmp_path):
    """Options of ``list`` need no ``list``; --help is of the group, and other commands stay."""
    with LiveServer(database_url="memory://") as server:
        cli = CommandLine(tmp_path, url=server.url)
        cli.ok("queues", "put", "mail", "--rate", 1)
        for group in ("queues", "groups", "schedules", "topics", "credentials"):
            assert cli.ok(group, "--json").out == cli.ok(group, "list", "--json").out
            assert f"taskflow {group} [OPTIONS] [COMMAND]" in cli.ok(group, "--help").out
        assert cli.ok("queues").out == cli.ok("queues", "list").out
        assert cli.ok("groups", "--status", "OPEN", "--url", server.url).out == ""
        assert "No such option" in cli.run("queues", "--status", "OPEN").complaint
        assert "No such command 'lst'" in cli.run("queues", "lst").complaint


def test_objects_are_those_of_the_document(tmp_path):
    (tmp_path / "credential.json").write_text(SECRET)
    with LiveServer(database_url="memory://") as server:
        cli = CommandLine(tmp_path, url=server.url)
        ids: dict[str, str] = {}
        for arguments in COMMANDS:
            asked = [ids.get(one, one) for one in arguments]
            documents = cli.ok(*asked, "--json").documents
            assert documents, arguments
            schemas = schemas_of(arguments)
            for document in documents:
                found = [complaints(document, schema) for schema in schemas]
                assert [] in found, (arguments, document, found)
            if arguments[0] == "submit" and "ID" not in ids:
                ids["ID"] = documents[0]["id"]
                server.wait(ids["ID"])
            elif arguments[:2] == ("groups", "create"):
                ids["GROUP"] = documents[0]["id"]


def schemas_of(arguments: tuple[str, ...]) -> list[dict]:
    """The schemas that the help of its --json names."""
    command: click.Command = main
    for name in arguments:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    [option] = [one for one in command.params if one.name == "as_json"]
    names = NAMED.findall(option.help)
    assert names, option.help
    return [{"$ref": f"#/components/schemas/{name}"} for name in names]
