"""``taskflow submit``."""

from __future__ import annotations

import gzip
import os
import re
import threading
import uuid

import pytest

from taskflow.cli.remote.submit import MAX_WAITS
from tests.cli.command import CommandLine, interrupt
from tests.service.processes import running
from tests.service.targets import Target as HeldTarget

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def held():
    """A web server that keeps those waiting who ask for ``/held``."""
    with HeldTarget() as target:
        yield target


class TestUrls:
    def test_ids_and_outcomes(self, cli_of_each, target, service):
        ids = cli_of_each.ok("submit", target.url + "/json", target.url + "/404").lines
        assert len(ids) == 2
        assert all(ID.fullmatch(one) for one in ids)
        assert service.wait(ids[0])["status"] == "COMPLETED"
        ended = cli_of_each.run("submit", target.url + "/json", target.url + "/404", "--wait")
        assert ended.code == 1
        assert sorted(row[1:3] for row in ended.rows) == [
            ["COMPLETED", "200"],
            ["FAILED", "http_status"],
        ]
        assert cli_of_each.ok("submit", target.url + "/json", "-w").rows[0][1] == "COMPLETED"

    def test_keys(self, cli_of_each, service):
        """A second submission prints the id of the first task."""
        key, url = uuid.uuid4().hex, "http://127.0.0.1:9/"
        unique = ("--unique-key", key, "--delay", "1h", "--unique-while", "running")
        unique += ("--unique-while", "PENDING")
        first = cli_of_each.ok("submit", url, *unique).lines
        [task] = cli_of_each.ok(
            "submit", url, *unique, "--on-conflict", "replace", "--json"
        ).documents
        assert ([task["id"]], task["existing"]) == (first, "replaced")
        assert task["unique"]["while"] == ["RUNNING", "PENDING"]
        rejected = cli_of_each.run("submit", url, *unique, "--on-conflict", "reject")
        assert rejected.code == 1
        assert f"the task {first[0]} has this unique key" in rejected.err
        debounce = ("--debounce-key", key, "--debounce-delay", "1h", "--debounce-max-wait", "2h")
        ids = {cli_of_each.ok("submit", url, *debounce).lines[0] for _ in range(3)}
        assert len(ids) == 1
        shown = service.show(ids.pop())
        assert shown["debounced"] == 2
        assert shown["debounce"]["max_wait_seconds"] == 7200
        text = cli_of_each.ok("show", shown["id"]).out
        assert f"debounce key  {key}" in text

    def test_parents(self, cli_of_each, service):
        """A task with parents waits for them, and is among their children."""
        url = "http://127.0.0.1:9/"
        parents = cli_of_each.ok("submit", url, url, "--delay", "1h").lines
        after = ("--after", parents[0], "--after", parents[1], "--on-parent-failure", "run")
        [child] = cli_of_each.ok("submit", url, *after).lines
        text = cli_of_each.ok("show", child).out
        assert f"after              {' '.join(sorted(parents))}" in text
        assert "on parent failure  run" in text
        assert "2 parents have not finished" in text
        [row] = cli_of_each.ok("list", "--parent", parents[0]).rows
        assert (row[0], row[-1]) == (child, "2 parents have not finished")
        assert service.show(child)["on_parent_failure"] == "run"

    def test_completion(self, cli_of_each, service):
        """A task says how it is completed after a 202."""
        url = "http://127.0.0.1:9/"
        options = ("--completion", "POLL", "--within", "90m", "--delay", "1h")
        [task_id] = cli_of_each.ok("submit", url, *options).lines
        assert service.show(task_id)["completion"] == {"mode": "poll", "within_seconds": 5400}
        shown = [line.split() for line in cli_of_each.ok("show", task_id).out.splitlines()]
        assert ["completion", "poll", "within", "1", "h", "30", "min"] in shown
        refused = cli_of_each.run("submit", url, "--completion", "poll")
        assert (refused.code, "completion must be an object" in refused.err) == (1, True)

    @pytest.mark.parametrize(
        ("options", "needed"),
        [
            (("--on-conflict", "return"), "--on-conflict needs --unique-key"),
            (("--unique-while", "pending"), "--unique-while needs --unique-key"),
            (("--debounce-delay", "5s"), "--debounce-delay needs --debounce-key"),
            (("--within", "1h"), "--within needs --completion"),
        ],
    )
    def test_options_of_keys_without_a_key(self, cli, options, needed):
        refused = cli.run("submit", "http://127.0.0.1:9/", *options)
        assert (refused.code, needed in refused.err) == (2, True)

    def test_all_options(self, cli, target, memory_server):
        [task] = cli.ok(
            *("submit", target.url + "/x", "--json", "--queue", "said", "--priority", 7),
            *("--delay", "2h", "--max-attempts", 3, "--tag", "customer=42", "--tag", "paid=true"),
            *("--tag", "name=a=b", "--callback-url", target.url, "--retention", "7d", "--sign"),
            *("-X", "put", "-H", "X-Shop: 7", "-d", '{"a": 1.50}', "--fetch-timeout", "20s"),
        ).documents
        shown = memory_server.show(task["id"])
        assert shown["payload"] == {
            "url": target.url + "/x",
            "method": "PUT",
            "headers": {"X-Shop": "7"},
            "body": {"a": 1.5},
            "timeout_seconds": 20.0,
        }
        assert (shown["queue"], shown["priority"], shown["max_attempts"]) == ("said", 7, 3)
        assert shown["tags"] == {"customer": 42, "paid": True, "name": "a=b"}
        assert (shown["callback_url"], shown["retention_seconds"]) == (target.url, 604_800)
        assert (shown["sign"], shown["run_at"] > shown["created_at"]) == (True, True)

    def test_bodies(self, cli, target, memory_server):
        (cli.folder / "body.txt").write_text("from a file")
        for data, body in (
            ("plain", "plain"),
            ("{not json", "{not json"),
            ("@body.txt", "from a file"),
        ):
            [task_id] = cli.ok("submit", target.url, "-d", data).lines
            assert memory_server.show(task_id)["payload"]["body"] == body
        [task_id] = cli.ok("submit", target.url, "-d", "[1]", "-H", "Content-Type: text/x").lines
        assert memory_server.show(task_id)["payload"]["body"] == "[1]"

    def test_the_same_command_twice(self, cli, target):
        command = ("submit", target.url, target.url, "--idempotency-key", "order-4711")
        assert cli.ok(*command).lines == cli.ok(*command).lines

    @pytest.mark.parametrize(
        ("url", "advice"),
        [
            ("example.invalid", "did you mean https://example.invalid?"),
            ("localhost:9/x", "did you mean http://localhost:9/x?"),
            ("", "it is empty"),
            ("ftp://example.invalid/", "the scheme must be http or https, not ftp"),
        ],
    )
    def test_what_is_no_url_is_submitted_with_a_warning(self, cli, url, advice):
        """The API accepts any payload, so the task is there; but it fails."""
        ended = cli.run("submit", url, "http://example.invalid/", "--delay", "1h")
        assert ended.code == 0
        assert len(ended.rows) == 2
        assert ended.complaint.startswith(f"warning: {url!r} is not a URL, so its task fails; ")
        assert ended.complaint.endswith(advice)

    def test_a_rejected_task(self, cli, target):
        ended = cli.run("submit", target.url, "--priority", 1000)
        assert ended.code == 1
        assert ended.complaint == "URL 1: priority must be a whole number from -100 to 100"


class TestLines:
    def test_a_file(self, cli_of_each, target):
        (cli_of_each.folder / "urls.txt").write_text(
            f"{target.url}/json\n\n# no comment\r\n"
            f'{{"payload": "{target.url}/text", "queue": "own", "priority": 3}}\r\n'
            '{"payload": null}\n{nonsense\n' + target.url + "/json"  # and no line end
        )
        ended = cli_of_each.run("submit", "-f", "urls.txt", "--queue", "all", "--json")
        assert ended.code == 1
        assert [(task["queue"], task["priority"]) for task in ended.documents] == [
            ("all", 0),
            ("own", 3),
            ("all", 0),
        ]
        refused = ended.err.splitlines()
        assert [line.partition(": ")[2][:7] for line in refused] == ["line 6:", "line 5:"]

    def test_together(self, cli_of_each):
        """All lines are one array, in which tasks name each other; a fault rejects all of them."""
        lines = '{"payload": "x:", "after": ["a"]}\n{"payload": "x:", "name": "a"}\n'
        (cli_of_each.folder / "graph.ndjson").write_text(lines)
        key = uuid.uuid4().hex
        command = ("submit", "-f", "graph.ndjson", "--together", "--idempotency-key", key, "--json")
        child, parent = cli_of_each.ok(*command).documents
        assert child["after"] == [parent["id"]]
        assert [task["id"] for task in cli_of_each.ok(*command).documents] == [
            child["id"],
            parent["id"],
        ]
        (cli_of_each.folder / "graph.ndjson").write_text(
            lines + '{"payload": "x:", "after": ["b"]}'
        )
        refused = cli_of_each.run("submit", "-f", "graph.ndjson", "--together")
        assert refused.code == 2
        assert "no task of the array has the name 'b'" in refused.complaint
        (cli_of_each.folder / "graph.ndjson").write_text("{")
        assert cli_of_each.run("submit", "-f", "graph.ndjson", "--together").code == 2
        assert cli_of_each.run("submit", "x:", "--together").code == 2

    def test_a_pipe_that_is_slow_is_not_waited_for(self, cli, memory_server):
        with cli.started("submit", "-") as process:
            for text in (b"http://a.invalid/\nhttp://b.invalid/\n", b"http://c.invalid/\n"):
                process.stdin.write(text)
                process.stdin.flush()
                for _ in text.splitlines():
                    assert memory_server.show(process.stdout.readline().decode().strip())
            process.stdin.close()
            assert process.wait(20) == 0

    def test_many(self, cli, memory_server):
        """More than are sent in one request, and more than are read at once."""
        lines = "".join(f"http://many.invalid/{'x' * 40}{n}\n" for n in range(6000))
        ended = cli.ok("submit", "-", "--queue", "many", "--delay", "1d", stdin=lines)
        assert len(set(ended.lines)) == 6000
        [row] = cli.ok("stats", "--queue", "many").rows
        assert row[:3] == ["many", "6000", "0"]

    @pytest.mark.long
    def test_memory_does_not_grow_with_them(self, cli):
        """Twenty times as many lines take no more of it."""
        most_kib = []
        for count in (1_000, 20_000):
            (cli.folder / "urls.txt").write_text("http://memory.invalid/\n" * count)
            command = ("submit", "-f", "urls.txt", "--delay", "1d", "--queue", "memory")
            with cli.started(*command) as process:
                threading.Thread(target=process.stdout.read).start()
                _, code, used = os.wait4(process.pid, 0)
                process.returncode = code
            assert code == 0
            most_kib.append(used.ru_maxrss)
        assert most_kib[1] < most_kib[0] + 5 * 2**10

    def test_waiting_for_many(self, cli_of_each, target):
        """More than the command waits for at once."""
        count = 2 * MAX_WAITS + 1
        lines = f"{target.url}/json\n" * count
        ended = cli_of_each.ok("submit", "-", "--wait", stdin=lines)
        assert [row[1:3] for row in ended.rows] == [["COMPLETED", "200"]] * count
        assert len({row[0] for row in ended.rows}) == count

    def test_exported_tasks_can_be_resubmitted(self, cli, target):
        cli.ok("submit", target.url, "--queue", "exported", "--delay", "1d", "--tag", "a=b")
        exported = cli.ok("export", "--queue", "exported", "--fields", "payload,queue,tags").out
        [task] = cli.ok("submit", "-", "--json", stdin=exported).documents
        assert (task["payload"], task["queue"], task["tags"]) == (
            target.url,
            "exported",
            {"a": "b"},
        )

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_utf_16(self, cli, encoding):
        """One error, and no task, for a file and for a pipe."""
        text = "http://a.invalid/\r\n" * 3
        (cli.folder / "some urls.txt").write_bytes(text.encode(encoding))
        ended = cli.run("submit", "-f", "some urls.txt")
        assert (ended.code, ended.out) == (2, "")
        name = encoding.upper()[:6]
        assert ended.complaint.startswith(f"some urls.txt is {name} text; convert it first: iconv")
        assert ended.complaint.endswith("-t UTF-8 'some urls.txt' | taskflow submit -")
        piped = cli.run("submit", "-", stdin=text.encode(encoding))
        assert (piped.code, piped.out) == (2, "")
        assert piped.complaint.startswith(f"standard input is {name} text; ")

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (gzip.compress(b"http://a.invalid/"), " is gzip data; convert it first: zcat urls.txt"),
            (b"PK\x03\x04" + bytes(50), " is a zip archive or an Excel workbook; save it as"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), " is an Excel workbook; save it"),
            (
                "http://a.invalid/\nhttp://é.invalid/".encode("latin-1"),
                ", line 2: not UTF-8 text",
            ),
            (b"http://a.invalid/\nhttp://b.invalid/\x00\n", ", line 2: not UTF-8 text (b"),
            (b"\n\n\xc3", ", line 3: not UTF-8 text (byte 0xc3)"),
        ],
    )
    def test_invalid_text(self, cli, data, told):
        """One error, and no task of what came before in the same piece."""
        (cli.folder / "urls.txt").write_bytes(data)
        ended = cli.run("submit", "-f", "urls.txt")
        assert (ended.code, ended.out) == (2, "")
        assert ended.complaint.startswith(f"urls.txt{told}")
        assert "\n" not in ended.complaint

    def test_a_byte_order_mark(self, cli, memory_server):
        """It is not part of the first line, even if it arrives alone."""
        mark = b"\xef\xbb\xbf"
        for line in (b"http://a.invalid/", b'{"payload": "http://a.invalid/"}', b"# none"):
            data = mark + line + b"\r\nhttp://a.invalid/\r\n"
            (cli.folder / "urls.txt").write_bytes(data)
            ids = cli.ok("submit", "-f", "urls.txt", "--delay", "1d").lines
            assert len(ids) == 2 - line.startswith(b"#")
            assert {memory_server.show(one)["payload"] for one in ids} == {"http://a.invalid/"}
        with cli.started("submit", "-", "--delay", "1d") as process:
            for piece in (mark, b"http://a.invalid/\n"):
                process.stdin.write(piece)
                process.stdin.flush()
            assert memory_server.show(process.stdout.readline().decode().strip())
            process.stdin.close()
            assert process.wait(20) == 0

    def test_control_characters(self, cli):
        """Lines that end with only a carriage return are rejected."""
        ended = cli.run("submit", "-", stdin=b"http://a.invalid/\rhttp://b.invalid/\r")
        assert (ended.code, ended.out) == (1, "")
        assert ended.complaint.startswith("line 1: the line contains control characters")

    def test_a_file_that_is_not_there(self, cli):
        ended = cli.run("submit", "-f", "no-such-file")
        assert (ended.code, ended.complaint) == (
            2,
            "no-such-file cannot be read: No such file or directory",
        )


class TestOnATerminal:
    def test_a_bar_and_ids_above_it(self, cli):
        (cli.folder / "urls.txt").write_text("http://a.invalid/\n" * 30)
        with cli.terminal("submit", "-f", "urls.txt", "--delay", "1d") as terminal:
            assert terminal.end() == 0
        assert "30 submitted" in terminal.text
        assert len(set(ID.findall(terminal.text))) > 0
        assert len({match[0] for match in ID.finditer(terminal.text)}) == 30

    def test_ids_into_a_file_and_the_bar_on_the_terminal(self, cli):
        (cli.folder / "urls.txt").write_text("http://a.invalid/\n" * 30)
        ids = cli.folder / "ids.txt"
        with cli.terminal("submit", "-f", "urls.txt", "--delay", "1d", into=ids) as terminal:
            assert terminal.end() == 0
        assert "30 submitted" in terminal.text
        assert not ID.search(terminal.text)
        written = ids.read_text().splitlines()
        assert len(written) == 30
        assert all(ID.fullmatch(line) for line in written)

    def test_hostile_errors_do_not_act(self, cli):
        line = '{"payload": "x", "\\u001b[31m\\u202equeue": 1, "queeu": "y"}\n'
        (cli.folder / "urls.txt").write_text(line)
        with cli.terminal("submit", "-f", "urls.txt") as terminal:
            terminal.end()
        assert "\x1b[31m" not in terminal.raw.replace("\x1b[31m╸", "")
        assert "\u202e" not in terminal.raw


class TestInterrupted:
    def test_the_number_of_submitted_tasks_is_reported(self, cli):
        with cli.started("submit", "-") as process:
            process.stdin.write(b"http://a.invalid/\n" * 3)
            process.stdin.flush()
            for _ in range(3):
                process.stdout.readline()
            ended = interrupt(process)
        assert ended.code == 130
        assert ended.complaint == "interrupted: 3 submitted, processed up to line 3"

    def test_while_it_waits(self, cli, held):
        with cli.started("submit", held.url + "/held", "--wait") as process:
            held.wait_for("/held")
            ended = interrupt(process)
        assert (ended.code, ended.complaint) == (130, "interrupted: 1 submitted, 0 finished")

    def test_by_the_key_on_a_terminal(self, cli, held):
        with cli.terminal("submit", held.url + "/held", "--wait") as terminal:
            terminal.wait_for("1 submitted")
            assert terminal.interrupt() == 130
        assert "interrupted: 1 submitted" in terminal.text


def test_a_reader_that_leaves(cli):
    """As ``| head -n 1`` does: the command ends without an error message."""
    (cli.folder / "urls.txt").write_text("http://a.invalid/\n" * 20_000)
    with cli.started("submit", "-f", "urls.txt", "--delay", "1d") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr.read() == b""


def test_a_service_that_stops_meanwhile(tmp_path):
    """The error includes the progress."""
    with running("serve", tmp_path, DATABASE_URL="memory://") as service:
        cli = CommandLine(tmp_path, url=service.url)
        with cli.started("submit", "-", "--timeout", "0.5") as process:
            process.stdin.write(b"http://a.invalid/\n")
            process.stdin.flush()
            process.stdout.readline()
            service.kill()
            process.stdin.write(b"http://a.invalid/\n")
            _, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert err.decode().splitlines()[-1].endswith("(1 submitted, processed up to line 1)")
