"""``taskflow list``, ``export`` and ``show``."""

from __future__ import annotations

import gzip
import json
import signal

import pytest

from taskflow.cli.exit_status import ExitStatus
from tests.cli.command import CommandLine
from tests.service.processes import wait_until
from tests.service.targets import Target as HeldTarget

HOSTILE = "http://x.invalid/\x1b[31m[red]\u202e\x9b\x07"


@pytest.fixture
def held():
    """A web server that keeps those waiting who ask for ``/held``."""
    with HeldTarget() as target:
        yield target


def hand_in(server, **fields) -> str:
    answer = server.post(json.dumps(fields).encode())
    assert answer.status == 201, answer
    return answer.json["id"]


class TestList:
    def test_rows_for_programs(self, cli_of_each, service, target):
        first = hand_in(service, payload=target.url + "/json", queue="rows", tags={"a": 1})
        second = hand_in(service, payload={"url": target.url + "/404"}, queue="rows")
        service.wait(first)
        service.wait(second)
        rows = cli_of_each.ok("list", "--queue", "rows").rows
        assert [row[0] for row in rows] == [second, first]
        assert rows[1][1:3] == ["COMPLETED", "rows"]
        assert rows[0][4:] == ["1/1", target.url + "/404", "http error: status: 404 Not Found"]
        assert cli_of_each.ok("list", "--queue", "rows", "-n", "1").rows == rows[:1]

    def test_filters(self, cli, memory_server, target):
        wanted = hand_in(
            memory_server, payload=target.url + "/404?f", queue="filtered", tags={"a": 1}
        )
        later = hand_in(
            memory_server, payload=target.url + "/f", queue="filtered", delay_seconds=3600
        )
        memory_server.wait(wanted)
        states = ("--state", "Scheduled", "--state", "held")
        rows = cli.ok("list", "--queue", "filtered", *states).rows
        assert [row[0] for row in rows] == [later]
        assert "scheduled" in cli.ok("queues", "show", "filtered").out
        for filters in (
            ("--status", "failed", "--status", "COMPLETED"),
            ("--tag", "a=1"),
            ("--error-type", "http_status"),
            ("--url-contains", "404?f"),
            ("--finished-after", "1h"),
        ):
            rows = cli.ok("list", "--queue", "filtered", *filters).rows
            assert [row[0] for row in rows] == [wanted], filters
        for filters in (("--created-before", "1h"), ("--host", "other.invalid"), ("--since", "0s")):
            assert cli.ok("list", "--queue", "filtered", *filters).out == "", filters
        both = cli.ok("list", "--queue", "filtered", "--since", "2020-01-01", "--host", "127.0.0.1")
        assert len(both.rows) == 2

    def test_json(self, cli, memory_server):
        task_id = hand_in(
            memory_server, payload={"url": HOSTILE}, queue="as-json", delay_seconds=3600
        )
        [document] = cli.ok("list", "--queue", "as-json", "--json").documents
        assert document == memory_server.show(task_id)

    def test_columns(self, cli_of_each, service):
        """The columns that are asked for, in that order; what has no value sorts last."""
        queue = f"columns-{service.is_in_memory}"
        ended, low, high = (
            hand_in(service, payload="x:", queue=queue, tags={"a": 1}, **more)
            for more in (
                {},
                {"priority": 1, "delay_seconds": 3600},
                {"priority": 9, "delay_seconds": 3600},
            )
        )
        service.wait(ended)
        asked = ("list", "--queue", queue, "--columns", "priority, ID,error_type,tags")
        assert cli_of_each.ok(*asked).rows == [
            ["9", high, "", "a=1"],
            ["1", low, "", "a=1"],
            ["0", ended, "invalid_url", "a=1"],
        ]
        for order, ids in {
            "priority": [ended, low, high],
            "-priority": [high, low, ended],
            "finished": [ended, high, low],
            "-duration": [ended, high, low],
            "created": [ended, low, high],
        }.items():
            rows = cli_of_each.ok("list", "--queue", queue, "--sort", order).rows
            assert [row[0] for row in rows] == ids, order
        every = "id,status,queue,created,attempt,url,error,due,started,finished,duration"
        every += ",error_type,priority,tags,order_key,schedule,group"
        [row] = cli_of_each.ok(
            "list", "--queue", queue, "--status", "FAILED", "--columns", every
        ).rows
        assert len(row) == 17
        for wrong in (("--columns", "id,colour"), ("--sort", "colour")):
            assert "there are id, status," in cli_of_each.run("list", *wrong).complaint
        assert cli_of_each.run("list", "--json", "--sort", "id").code == 2

    @pytest.mark.parametrize("payload", ["", "no URL", [1], 7, True])
    def test_a_payload_without_a_url_is_shown_as_it_is(self, cli, memory_server, payload):
        answer = memory_server.post(
            json.dumps({"payload": payload, "queue": "no-url", "delay_seconds": 3600}).encode()
        )
        assert answer.status == 201, answer
        row = cli.ok("list", "--queue", "no-url", "-n", "1").rows[0]
        assert row[0] == answer.json["id"]
        assert row[5] == (payload if payload == "no URL" else json.dumps(payload))

    @pytest.mark.parametrize("columns", [80, 110, 500])
    def test_columns_fit_the_terminal(self, cli, memory_server, columns):
        url, queue = "http://x.invalid/" + "y" * 300, f"wide-{columns}"
        task_id = hand_in(memory_server, payload=url, queue=queue, delay_seconds=3600)
        with cli.terminal("list", "--queue", queue, columns=columns) as terminal:
            assert terminal.end() == 0
        head, row = terminal.text.splitlines()
        assert ("QUEUE" in head) == (columns > 80)
        assert head.split()[:2] == ["ID", "STATUS"]
        assert row.split()[:2] == [task_id, "PENDING"]
        assert len(row) <= columns
        assert (url in row) == (columns == 500)
        assert ("\N{HORIZONTAL ELLIPSIS}" in row) == (columns < 500)

    def test_hostile_text_does_not_act(self, cli, memory_server):
        """Neither on a terminal nor where the output may end up on one later."""
        task_id = hand_in(memory_server, payload=HOSTILE, queue="hostile", delay_seconds=3600)
        request = {"url": HOSTILE, "headers": {"X": "y"}}
        requested = hand_in(memory_server, payload=request, queue="hostile", delay_seconds=3600)
        for command in (
            ("list", "--queue", "hostile"),
            ("list", "--queue", "hostile", "--json"),
            ("export", "--queue", "hostile"),
            ("show", task_id),
            ("show", requested),
            ("show", requested, "--json"),
        ):
            with cli.terminal(*command, columns=300) as terminal:
                assert terminal.end() == 0
            for shown in (terminal.raw, cli.ok(*command).out):
                assert "\x1b[31m[red]" not in shown
                assert "[red]" in shown
                assert not {"\u202e", "\x9b", "\x07"} & set(shown), command


class TestIds:
    """The first digits of an id are enough, if no other task has them."""

    def test_the_first_digits(self, cli_of_each, service):
        task_id = hand_in(service, payload="x:", delay_seconds=3600)
        for given in (task_id[:-1], task_id.replace("-", "")[:31], task_id.upper()):
            assert cli_of_each.ok("show", given, "--json").documents[0]["id"] == task_id
        assert cli_of_each.ok("cancel", task_id[:-1]).rows == [[task_id, "CANCELED"]]
        assert (
            cli_of_each.ok("open", task_id[:-1], "--print").out
            == f"{service.url}/ui/tasks/{task_id}\n"
        )
        assert cli_of_each.ok("delete", task_id[:-1]).rows == [[task_id, "deleted"]]
        assert cli_of_each.run("show", task_id[:-1]).code == 4

    def test_digits_of_several(self, cli_of_each, service):
        """They are listed, and nothing is done, with other ids of the command neither."""
        array = [{"payload": f"x:{n}", "delay_seconds": 3600} for n in range(12)]
        ids = [task["id"] for task in service.post(json.dumps(array).encode()).json]
        shared = next(n for n in range(36) if len({one[: n + 1] for one in ids}) > 1)
        assert shared >= 8, "the ids of an array have the same time"
        ended = cli_of_each.run("cancel", ids[0][:shared], ids[1])
        assert (ended.code, ended.out) == (2, "")
        assert service.show(ids[1])["status"] == "PENDING"
        listed = [line.split()[0] for line in ended.err.splitlines()]
        assert listed[-2:] == ["...", "taskflow:"]
        assert len(listed) == 12
        assert set(listed[:10]) <= set(ids)

    @pytest.mark.parametrize("given", ["01a20c5", "01a20c5g", "--------", "x", "01a20c58-" * 5])
    def test_what_is_none(self, cli, given):
        assert "nor its first 8 or more digits" in cli.run("show", "--", given).complaint


class TestEvents:
    def test_of_all(self, cli_of_each, service):
        """As they happen; the id of an event goes on after it."""
        queue = f"events-{service.is_in_memory}"
        follow = ("events", "--queue", queue, "--tag", "a=1", "--limit", "3", "--json")
        with cli_of_each.started(*follow) as process:
            wanted = []
            while process.poll() is None:
                wanted.append(hand_in(service, payload="x:", queue=queue, tags={"a": 1}))
                hand_in(service, payload="x:", queue=queue)
                service.wait(wanted[-1])
            documents = [json.loads(line) for line in process.stdout]
        assert process.returncode == 0
        assert len(documents) == 3
        assert {one["task_id"] for one in documents} <= set(wanted)
        rest = ("events", "--queue", queue, "--after", documents[0]["id"], "-n", "1")
        [row] = cli_of_each.ok(*rest).rows
        failed = (*rest, "--status", "failed")
        assert cli_of_each.ok(*failed).rows[0][3:5] == ["FAILED", queue]
        assert int(row[0]) > documents[0]["id"]

    def test_of_one(self, cli_of_each, service):
        """Until it has finished."""
        task_id = hand_in(service, payload="x:")
        service.wait(task_id)
        [row] = cli_of_each.ok("events", task_id).rows
        assert row[2:4] == [task_id, "FAILED"]
        assert cli_of_each.run("events", task_id, "--queue", "a").code == 2

    def test_on_a_terminal(self, cli, memory_server):
        task_id = hand_in(memory_server, payload="x:")
        memory_server.wait(task_id)
        with cli.terminal("events", task_id, columns=200) as terminal:
            assert terminal.end() == 0
        assert f"{task_id}  " in terminal.text
        assert "FAILED  attempt 1  invalid url" in terminal.text


class TestOpen:
    def test_the_dashboard(self, cli, memory_server):
        """The browser that BROWSER names gets its address."""
        opened = cli.folder / "opened"
        browser = cli.folder / "browser"
        browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
        browser.chmod(0o755)
        address = f"{memory_server.url}/ui"
        assert cli.ok("open", BROWSER=str(browser)).out == f"{address}\n"
        wait_until(opened.exists)
        wait_until(lambda: opened.read_text() == address)


class TestExport:
    def test_to_a_file_and_to_a_pipe(self, cli_of_each, service):
        tasks = [{"payload": f"x{n}", "queue": "out", "delay_seconds": 3600} for n in range(250)]
        ids = [task["id"] for task in service.post(json.dumps(tasks).encode()).json]
        lines = cli_of_each.ok("export", "--queue", "out", "--fields", "id,payload").documents
        assert [line["id"] for line in lines] == ids[::-1]
        assert list(lines[0]) == ["id", "payload"]
        ended = cli_of_each.run("export", "--queue", "out", "-o", "out.ndjson")
        assert (ended.code, ended.err) == (0, "out.ndjson: 250 tasks\n")
        written = (cli_of_each.folder / "out.ndjson").read_text().splitlines()
        assert [json.loads(line)["id"] for line in written] == ids[::-1]
        assert len(cli_of_each.ok("export", "--queue", "out", "-n", "7").lines) == 7

    def test_no_such_field(self, cli):
        ended = cli.run("export", "--fields", "id,colour")
        assert ended.code == 2
        assert ended.complaint.startswith("fields must be one of id, payload")

    def test_a_file_that_cannot_be_written(self, cli):
        ended = cli.run("export", "-o", "no/such/folder")
        assert ended.code == 1
        assert ended.complaint == "no/such/folder cannot be written: No such file or directory"

    def test_a_reader_that_leaves(self, cli, memory_server):
        for n in range(40):
            hand_in(memory_server, payload="x" * 50_000, queue="large", delay_seconds=3600 + n)
        with cli.started("export", "--queue", "large") as process:
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(30) == 141
            assert process.stderr.read() == b""

    def test_interrupted_with_a_blocked_reader(self, cli, memory_server):
        """The first Ctrl+C waits for the reader, the second one does not."""
        for n in range(40):
            hand_in(memory_server, payload="x" * 50_000, queue="unread", delay_seconds=3600 + n)
        with cli.started("export", "--queue", "unread") as process:
            process.stdout.read(1)

            def is_over() -> bool:
                process.send_signal(signal.SIGINT)
                return process.poll() is not None

            wait_until(is_over)
            # The last of them may come when Python is about to leave.
            assert process.returncode in (130, -signal.SIGINT)

    def test_a_disk_that_is_full(self, cli, memory_server):
        hand_in(memory_server, payload="x", queue="full", delay_seconds=3600)
        ended = cli.run("export", "--queue", "full", "-o", "/dev/full")
        assert (ended.code, ended.complaint) == (
            1,
            "/dev/full cannot be written: No space left on device",
        )


class TestShow:
    def test_a_page(self, cli_of_each, service, target):
        task_id = hand_in(
            service, payload={"url": target.url + "/json"}, tags={"customer": 42}, priority=3
        )
        service.wait(task_id)
        page = dict(line.split("  ", 1) for line in cli_of_each.ok("show", task_id).lines)
        page = {name.strip(): value.strip() for name, value in page.items()}
        assert (page["id"], page["status"]) == (task_id, "COMPLETED")
        assert page["payload"] == f'{{"url":"{target.url}/json"}}'
        assert page["result"].startswith("200 OK, application/json")
        assert (page["tags"], page["priority"], page["attempt"]) == ("customer=42", "3", "1 of 1")
        assert "ago" in page["finished"]

    def test_attempts(self, cli, memory_server, target):
        task_id = hand_in(memory_server, payload=target.url + "/404")
        memory_server.wait(task_id)
        rows = cli.ok("show", task_id, "--attempts").rows
        assert rows[-1][:2] == ["1", "FAILED"]
        assert rows[-1][4] == "404"
        [task, attempt] = cli.ok("show", task_id, "--attempts", "--json").documents
        assert (task["id"], attempt["number"]) == (task_id, 1)

    def test_the_response_of_a_failed_attempt(self, cli, memory_server, target):
        """Status, header and body are shown, of a failed task also without ``--attempts``."""
        task_id = hand_in(memory_server, payload=target.url + "/404")
        memory_server.wait(task_id)
        for options in ([], ["--attempts"]):
            lines = cli.ok("show", task_id, *options).lines
            about = lines.index(
                f"response to attempt 1: 404 Not Found, text/plain, 13 B, from {target.url}/404"
            )
            assert "  content-type: text/plain" in lines[about:]
            assert "  no such thing" in lines[about:]
        [_, attempt] = cli.ok("show", task_id, "--attempts", "--json").documents
        assert attempt["response"]["body"] == "no such thing"
        [task] = cli.ok("show", task_id, "--json").documents
        assert task["result"] is None

    def test_a_result_as_it_came(self, cli, memory_server, target):
        task_id = hand_in(memory_server, payload=target.url + "/binary")
        memory_server.wait(task_id)
        with cli.started("show", task_id, "--result") as process:
            assert process.communicate()[0] == b"\x89PNG\x00\xff"
        with cli.terminal("show", task_id, "--result") as terminal:
            assert terminal.end() == 0
        assert terminal.text == "\N{REPLACEMENT CHARACTER}PNG\\x00\N{REPLACEMENT CHARACTER}\n"

    def test_watching_it_to_its_end(self, cli_of_each, service, held):
        task_id = hand_in(service, payload=held.url + "/held")
        held.wait_for("/held")
        with cli_of_each.started("show", task_id, "--watch") as process:
            first = process.stdout.readline().decode()
            assert "RUNNING" in first
            held.release()
            rest = process.stdout.read().decode()
            assert process.wait(20) == 0
        assert "COMPLETED" in rest.splitlines()[0]
        assert f"id        {task_id}" in rest
        events = cli_of_each.ok("show", task_id, "--watch", "--json").documents
        assert [event["status"] for event in events] == ["COMPLETED"]

    def test_no_result_yet(self, cli, memory_server):
        task_id = hand_in(memory_server, payload="x", delay_seconds=3600)
        ended = cli.run("show", task_id, "--result")
        assert (ended.code, ended.out) == (4, "")
        assert "has no result" in ended.complaint

    def test_no_such_task(self, cli):
        ended = cli.run("show", "00000000-0000-0000-0000-000000000000")
        assert (ended.code, ended.complaint) == (4, "No task has this id.")
        ended = cli.run("show", "nonsense")
        assert ended.code == 2
        assert "nonsense" in ended.complaint


def test_gzip_of_an_export_is_whole(cli, memory_server):
    """As the help says it can be used: through a shell's pipe."""
    import subprocess
    import sys

    hand_in(memory_server, payload="x", queue="zipped", delay_seconds=3600)
    output = subprocess.run(
        f"{sys.executable} -m taskflow export --queue zipped | gzip",
        shell=True,
        capture_output=True,
        check=True,
        timeout=30,
        env=cli.environ,
        cwd=cli.folder,
    )
    assert json.loads(gzip.decompress(output.stdout))["queue"] == "zipped"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:alert(1)", "ftp://a", "a:8080"])
def test_open_accepts_addresses_of_services_only(tmp_path, url):
    """A browser would open a file, or run a script."""
    cli = CommandLine(tmp_path, url=None, BROWSER="false")
    for arguments in (("--url", url), ("--url", url, "--print")):
        complaint = cli.run("open", *arguments)
        assert complaint.code == ExitStatus.USAGE
        assert "is not the address of a service" in complaint.complaint
