"""``taskflow key rotate`` beside a service that works, and what the doctor says of it."""

from __future__ import annotations

import json
import os
import pwd
import threading

import pytest

from taskflow.model.keyring import Keyring, key_of, new_encryption_key
from taskflow.model.sealed_document import sealed_of
from tests.cli.command import CommandLine
from tests.service.processes import running, wait_until

OLD, NEW = new_encryption_key(), new_encryption_key()
SECRET = "xyzzy-hunter2"
BEFORE, DURING = 600, 300


def settings_of(tasks, *keys: str) -> dict[str, str]:
    return {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_ENCRYPTION_KEYS": ",".join(keys),
        "TASKFLOW_ENCRYPT": "payloads,results",
    }


def submit(node, target, count: int) -> None:
    payload = {"url": f"{target.url}/now?a={SECRET}"}
    for _ in range(count // 50):
        assert node.ask("POST", "/tasks", [{"payload": payload}] * 50).status == 201


def encrypted_by_new_key(tasks) -> int:
    """The number of tasks of before the rotation that it has encrypted again."""
    start = sealed_of(Keyring([key_of(NEW)]).encrypt(b"", b""))[:23].decode()
    query = "SELECT FROM taskflow_tasks WHERE payload::text ^@ %s AND finished_at < now()"
    return tasks.execute(query, start).rowcount


def encryption(cli: CommandLine, **settings) -> list[str]:
    """What the doctor says of encryption, by state."""
    findings = map(json.loads, cli.run("doctor", "--json", **settings).out.splitlines())
    return [one["state"] for one in findings if one["check"] == "encryption"]


@pytest.mark.long
def test_under_load(tmp_path, tasks, target):
    """It is killed in the middle and run again while tasks are submitted and run.

    Afterwards the new key is enough: no task is lost, none has failed, and the old key is not
    needed by any.
    """
    cli = CommandLine(tmp_path, url=None)
    with running("serve", tmp_path, **settings_of(tasks, OLD)) as node:
        submit(node, target, BEFORE)
        wait_until(lambda: tasks.finished() == BEFORE)
    rotating = settings_of(tasks, NEW, OLD)
    assert encryption(cli, **rotating) == ["ok", "warning"]
    with running("serve", tmp_path, **rotating) as node:
        load = threading.Thread(target=submit, args=(node, target, DURING))
        load.start()
        killed = CommandLine(tmp_path, url=None, **rotating)
        with killed.started("key", "rotate") as process:
            wait_until(lambda: encrypted_by_new_key(tasks))
            process.kill()
        rotated = cli.run("key", "rotate", **rotating)
        assert rotated.code == 0, rotated
        assert rotated.out.splitlines()[-1].startswith("no row needs another key")
        assert OLD not in rotated.out + rotated.err
        load.join()
        wait_until(lambda: tasks.finished() == BEFORE + DURING)
    assert encryption(cli, **rotating) == ["ok", "ok"]
    assert encryption(cli, **settings_of(tasks, OLD)) == ["ok", "failed"]
    with running("serve", tmp_path, **settings_of(tasks, NEW)) as node:
        shown = node.ask("GET", f"/tasks?limit={BEFORE + DURING}").body
        assert len(shown) == BEFORE + DURING
        assert {(one["status"], one["attempt"]) for one in shown} == {("COMPLETED", 1)}
        assert {one["payload"]["url"].endswith(SECRET) for one in shown} == {True}
        assert all(one["result"]["url"] for one in shown)


def test_what_cannot_be_rotated(tmp_path, tasks):
    """Without keys, without a database, or without the key of some rows, it says what to do."""
    cli = CommandLine(tmp_path, url=None)
    ended = cli.run("key", "rotate", DATABASE_URL=tasks.url)
    assert (ended.code, "TASKFLOW_ENCRYPTION_KEYS" in ended.complaint) == (2, True)
    keys = {"TASKFLOW_ENCRYPTION_KEYS": NEW, "TASKFLOW_LOG_LEVEL": "warning"}
    ended = cli.run("key", "rotate", DATABASE_URL="memory://", **keys)
    assert (ended.code, "memory" in ended.complaint) == (2, True)
    with running("serve", tmp_path, **settings_of(tasks, OLD)) as node:
        node.post("http://127.0.0.1:1/")
    ended = cli.run("key", "rotate", DATABASE_URL=tasks.url, **keys)
    assert ended.code == 1
    assert "1 rows still need the key" in ended.err


def test_keys_of_id_tokens(tmp_path, tasks):
    """New keys are published beside the others; for leaked keys, alone. The audit log says who."""
    cli = CommandLine(tmp_path, url=None)
    of_node = settings_of(tasks, NEW) | {"TASKFLOW_PUBLIC_URL": "https://tasks.example.com"}
    settings = settings_of(tasks, NEW) | {"TASKFLOW_LOG_LEVEL": "warning"}
    rotate = ("key", "rotate", "--id-tokens")
    ended = cli.run("key", "rotate", "--now", **settings)
    assert (ended.code, "--now needs --id-tokens" in ended.err) == (2, True)
    ended = cli.run(*rotate, **settings)
    assert (ended.code, "TASKFLOW_PUBLIC_URL" in ended.complaint) == (2, True)
    with running("serve", tmp_path, **of_node) as node:

        def published() -> set[str]:
            keys = node.ask("GET", "/.well-known/jwks.json").body["keys"]
            return {key["kid"] for key in keys}

        wait_until(lambda: len(published()) == 2)
        first = published()
        rotated = cli.run(*rotate, **settings)
        assert rotated.out == "generation 2 is published, and signs ID tokens in 24 hours\n"
        wait_until(lambda: len(published()) == 4)
        assert published() > first
        known = published()
        rotated = cli.run(*rotate, "--now", **settings)
        assert rotated.out == "generation 3 signs ID tokens now; withdrawn: 1, 2\n"
        wait_until(lambda: len(published()) == 2)
        assert known.isdisjoint(published())
        entries = node.ask("GET", "/audit").body
    assert [(one["action"], one["target"]) for one in entries] == [
        ("signing_keys.rotate", "3"),
        ("signing_keys.rotate", "2"),
    ]
    assert entries[0]["detail"]["withdrawn"] == [1, 2]
    assert entries[0]["detail"]["user"] == pwd.getpwuid(os.getuid()).pw_name
