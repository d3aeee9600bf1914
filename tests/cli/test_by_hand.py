"""``taskflow cancel``, ``retry`` and ``delete``."""

from __future__ import annotations

import uuid

import pytest

from tests.cli.test_finding import hand_in

NOBODYS = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def queue() -> str:
    """A queue of the test's own."""
    return f"q-{uuid.uuid4().hex}"


class TestById:
    def test_all_three(self, cli_of_each, service):
        ids = [hand_in(service, payload="x", delay_seconds=3600) for _ in range(2)]
        assert cli_of_each.ok("cancel", *ids).rows == [[one, "CANCELED"] for one in ids]
        assert cli_of_each.ok("retry", ids[0]).rows == [[ids[0], "PENDING"]]
        service.wait(ids[0])
        assert cli_of_each.ok("delete", *ids).rows == [[one, "deleted"] for one in ids]
        assert cli_of_each.run("show", ids[0]).code == 4

    def test_skip(self, cli_of_each, service, queue):
        """The next task starts; a task that holds no key is an error, and stops no others."""
        key = {"order_key": "a", "on_failure": "hold", "queue": queue}
        first, second = (hand_in(service, payload="x:", **key) for _ in range(2))
        service.wait(first)
        shown = cli_of_each.ok("show", second).out
        assert first in shown
        [line, _] = cli_of_each.ok("list", "--queue", queue, "--order-key", "a").rows
        assert line[0] == second
        assert line[-1].startswith("the task ahead failed and holds the order key")
        reported = cli_of_each.run("skip", NOBODYS, first)
        assert (reported.code, reported.rows) == (4, [[first, "FAILED"]])
        service.wait(second)
        assert "only a task that FAILED" in cli_of_each.run("skip", first).complaint

    def test_an_invalid_task_does_not_stop_the_others(self, cli, memory_server):
        ended, waiting = (hand_in(memory_server, payload="x", delay_seconds=d) for d in (0, 3600))
        memory_server.wait(ended)
        reported = cli.run("cancel", NOBODYS, ended, waiting)
        assert reported.code == 4
        assert reported.rows == [[waiting, "CANCELED"]]
        assert reported.err.splitlines() == [
            f"taskflow: {NOBODYS}: No task has this id.",
            f"taskflow: {ended}: cannot cancel a task that is FAILED",
        ]
        assert cli.run("cancel", ended).code == 1


class TestByFilter:
    def test_with_yes(self, cli_of_each, service, queue):
        for _ in range(3):
            hand_in(service, payload="x", delay_seconds=3600, queue=queue)
        assert cli_of_each.ok("cancel", "--queue", queue, "--dry-run").out == "3\n"
        assert cli_of_each.ok("cancel", "--queue", queue, "--yes").out == "3\n"
        assert cli_of_each.ok("cancel", "--queue", queue, "--yes").out == "0\n"
        assert cli_of_each.ok("delete", "--queue", queue, "--status", "CANCELED", "-y").out == "3\n"
        assert cli_of_each.ok("list", "--queue", queue).out == ""

    def test_confirmation_without_a_terminal(self, cli, memory_server, queue):
        hand_in(memory_server, payload="x", delay_seconds=3600, queue=queue)
        ended = cli.run("cancel", "--queue", queue)
        assert (ended.code, ended.out) == (2, "")
        assert ended.complaint == "cancel 1 tasks? Confirm with --yes; there is no terminal"
        assert cli.ok("list", "--queue", queue, "--status", "PENDING").out

    @pytest.mark.parametrize(
        ("typed", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1)]
    )
    def test_confirmation_on_a_terminal(self, cli, memory_server, queue, typed, code, left):
        hand_in(memory_server, payload="x", delay_seconds=3600, queue=queue)
        with cli.terminal("cancel", "--queue", queue) as terminal:
            terminal.wait_for("cancel 1 tasks? [y/N]")
            terminal.type(typed)
            assert terminal.end() == code
        assert len(cli.ok("list", "--queue", queue, "--status", "PENDING").rows) == code

    def test_interrupted_confirmation(self, cli, memory_server, queue):
        hand_in(memory_server, payload="x", delay_seconds=3600, queue=queue)
        with cli.terminal("cancel", "--queue", queue) as terminal:
            terminal.wait_for("[y/N]")
            # Python does not see one that comes just before it begins to read: it is pressed again.
            assert terminal.interrupt(again_seconds=2.0) == 130
        assert cli.ok("list", "--queue", queue, "--status", "PENDING").out

    def test_all_must_be_explicit(self, cli):
        for command in (("cancel",), ("delete", "--yes")):
            ended = cli.run(*command)
            assert ended.code == 2
            assert ended.complaint.startswith("give the ids of tasks, filters, or --all")
        assert cli.run("cancel", "--all", "--queue", "x").code == 2
        assert cli.run("cancel", NOBODYS, "--queue", "x").code == 2
        assert int(cli.ok("retry", "--all", "--dry-run").out) >= 0
