"""``taskflow alerts``: from a file or a pipe, and URLs of chats are never shown."""

from __future__ import annotations

import json

SECRET = "the-secret-of-a-channel"
ALERT = {
    "on": "failure_rate",
    "rate": 0.25,
    "queue": "of-cli",
    "to": [
        {"kind": "slack", "url": f"http://127.0.0.1:9/{SECRET}"},
        {"kind": "email", "addresses": ["ops@example.com"]},
    ],
}


def test_from_its_making_to_its_end(cli_of_each, tmp_path):
    """Created from a pipe, replaced from a file, tested, silenced, and deleted."""
    made = cli_of_each.ok("alerts", "put", "made", stdin=json.dumps(ALERT))
    path = tmp_path / "alert.json"
    path.write_text(json.dumps({**ALERT, "minimum": 7}))
    [put] = cli_of_each.ok("alerts", "put", "made", "--file", path, "--json").documents
    assert (put["name"], put["minimum"], put["rate"]) == ("made", 7, 0.25)
    assert "ops@example.com" in cli_of_each.ok("alerts", "show", "made").out
    [row] = [row for row in cli_of_each.ok("alerts").rows if row[0] == "made"]
    assert row[2] == "failure_rate"
    [sent] = cli_of_each.ok("alerts", "test", "made", "--json").documents
    assert (sent["kind"], len(sent["tasks"])) == ("test", 2)
    assert sent["tasks"][0] in cli_of_each.ok("alerts", "history", "made").out
    [silenced] = cli_of_each.ok("alerts", "silence", "made", "2h", "--json").documents
    assert silenced["silenced_until"] is not None
    [again] = cli_of_each.ok("alerts", "unsilence", "made", "--json").documents
    assert again["silenced_until"] is None
    assert cli_of_each.ok("alerts", "delete", "made").out == "made\tdeleted\n"
    refused = cli_of_each.run("alerts", "show", "made")
    assert refused.code == 4
    wrong = cli_of_each.run("alerts", "put", "made", stdin=json.dumps({**ALERT, "rate": 7}))
    assert wrong.code != 0
    for result in (made, refused, wrong):
        assert SECRET not in result.out + result.err


def test_in_a_file_of_the_configuration(cli, tmp_path):
    """It is applied once; another secret is a change, and an export changes nothing."""
    text = """
alerts:
  of-file:
    on: oldest_waiting
    after_seconds: 600
    queue: of-file
    to:
    - {kind: slack, url: "${SLACK_URL}"}
    - {kind: email, addresses: [ops@example.com]}
    every_seconds: 7200
"""
    path = tmp_path / "taskflow.yaml"
    path.write_text(text)
    first = {"SLACK_URL": f"http://127.0.0.1:9/{SECRET}"}
    cli.ok("config", "apply", **first)
    [shown] = cli.ok("alerts", "show", "of-file", "--json").documents
    assert (shown["after_seconds"], shown["every_seconds"]) == (600, 7200)
    planned = cli.ok("config", "plan", **first)
    assert planned.out == "nothing to change\n"
    applied = cli.ok("config", "apply", SLACK_URL=f"http://127.0.0.1:9/other-{SECRET}")
    assert "~ alert of-file" in applied.lines
    assert SECRET not in applied.out
    [changed] = cli.ok("alerts", "show", "of-file", "--json").documents
    assert changed["to"][0] != shown["to"][0]
    assert changed["to"][1] == shown["to"][1]
    path.write_text(text.replace("oldest_waiting", "task_failed").replace("after_", "window_"))
    cli.ok("config", "apply", **first)
    [other] = cli.ok("alerts", "show", "of-file", "--json").documents
    assert (other["on"], other["window_seconds"], other["after_seconds"]) == (
        "task_failed",
        600,
        None,
    )
    exported = cli.ok("config", "export").out
    assert SECRET not in exported
    path.write_text(exported)
    assert "of-file" in exported
    assert cli.ok("config", "plan").out == "nothing to change\n"
    assert cli.ok("alerts", "show", "of-file", "--json").documents[0]["to"] == other["to"]
    path.write_text(text.replace("    on: oldest_waiting\n", ""))
    refused = cli.run("config", "apply", **first)
    assert (refused.code != 0, "alerts.of-file.on is missing" in refused.err) == (True, True)
    cli.ok("alerts", "delete", "of-file")
