"""``taskflow credentials``: values from a file or a pipe, and never shown."""

from __future__ import annotations

import json

VALUE = "s3cr3t-of-the-command"
BEARER = {"kind": "bearer", "token": VALUE, "hosts": ["127.0.0.1", "*.example.com"]}


def test_from_its_making_to_its_end(cli_of_each, tmp_path):
    """Created from a pipe, replaced from a file, shown without its value, and deleted."""
    made = cli_of_each.ok("credentials", "put", "made", stdin=json.dumps(BEARER))
    assert "bearer" in made.out
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**BEARER, "hosts": ["a.example"]}))
    [put] = cli_of_each.ok("credentials", "put", "made", "--file", path, "--json").documents
    assert (put["name"], put["hosts"]) == ("made", ["a.example"])
    cli_of_each.ok("queues", "put", "with", "--credential", "made")
    assert "credential" in cli_of_each.ok("queues", "show", "with").out
    shown = cli_of_each.ok("credentials", "show", "made").out
    assert ("queue with" in shown, "a.example" in shown) == (True, True)
    [row] = [row for row in cli_of_each.ok("credentials").rows if row[0] == "made"]
    assert row[:3] == ["made", "bearer", "a.example"]
    refused = cli_of_each.run("credentials", "delete", "made")
    assert (refused.code, "used by queue with; change these first" in refused.err) == (1, True)
    assert cli_of_each.ok("credentials", "delete", "made", "--force").out == "made\tdeleted\n"
    assert cli_of_each.run("credentials", "show", "made").code == 4
    cli_of_each.ok("queues", "put", "with", "--unset", "credential")
    for result in (made, refused):
        assert VALUE not in result.out + result.err


def test_a_task_names_it(cli, target):
    """The option of ``submit``; an unknown name is an error with the nearest one."""
    cli.ok("credentials", "put", "named", stdin=json.dumps(BEARER))
    [task] = cli.ok("submit", target.url + "/json", "--credential", "named", "--json").documents
    assert task["credential"] == "named"
    refused = cli.run("submit", target.url + "/json", "--credential", "namd")
    assert (refused.code, "did you mean named?" in refused.err) == (1, True)
    cli.ok("credentials", "delete", "named")


def test_what_cannot_be_read(cli, tmp_path):
    """The error names the file, and repeats nothing of it."""
    path = tmp_path / "broken.json"
    path.write_text(f'{{"token": "{VALUE}"')
    for arguments, stdin in ((("--file", path), ""), ((), VALUE), (("-f", "no/such"), "")):
        result = cli.run("credentials", "put", "broken", *arguments, stdin=stdin)
        assert result.code == 2, result
        assert VALUE not in result.out + result.err
    wrong = cli.run("credentials", "put", "broken", stdin=json.dumps({**BEARER, "token": [VALUE]}))
    assert (wrong.code, "token must be" in wrong.err, VALUE in wrong.err) == (2, True, False)
