"""``taskflow queues``, ``schedules``, ``stats``, ``nodes``, ``hosts`` and ``bench``."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
from urllib.parse import urlsplit

import httpx
import pytest

from taskflow.model.signature import new_secret
from taskflow.model.zones import zone_database
from taskflow.version import __version__
from tests.api.live import LiveServer
from tests.cli.command import CommandLine, interrupt
from tests.cli.test_finding import hand_in


class TestHeartbeats:
    def test_a_heartbeat(self, cli_of_each, service):
        """It is created, pinged by its URL, listed, changed, paused, rotated and deleted."""
        cli = cli_of_each
        put = ("heartbeats", "put", "nightly")
        assert "does not exist yet" in cli.run(*put, "--grace", "1h").complaint
        assert cli.run(*put, "--every", "1h", "--cron", "* * * * *").code == 2
        assert re.search("^state +new$", cli.ok(*put, "--every", "1h").out, re.MULTILINE)
        url = cli.ok("heartbeats", "url", "nightly").out.strip()
        ping = httpx.post(f"{service.url}{urlsplit(url).path}/7", content=b"disk full")
        assert ping.status_code == 204
        shown = cli.ok("heartbeats", "show", "nightly").out
        assert re.search("^state +down$", shown, re.MULTILINE)
        assert re.search("^exit code +7$", shown, re.MULTILINE)
        assert "fail (7)" in cli.ok("heartbeats", "history", "nightly").out
        [history] = cli.ok("heartbeats", "history", "nightly", "--json").documents
        assert history["pings"][0]["note"] == "disk full"
        changed = cli.ok(*put, "--cron", "30 2 * * *", "--timezone", "Europe/Berlin").out
        assert re.search(r"^expected +30 2 \* \* \* Europe/Berlin$", changed, re.MULTILINE)
        assert "paused" in cli.ok("heartbeats", "pause", "nightly").out
        assert "down" in cli.ok("heartbeats", "resume", "nightly").out
        assert url not in cli.ok("heartbeats", "rotate", "nightly").out
        assert ["nightly", "down"] in [row[:2] for row in cli.ok("heartbeats").rows]
        assert "nightly" in cli.ok("heartbeats", "delete", "nightly").out
        assert cli.run("heartbeats", "show", "nightly").code != 0


class TestGroups:
    def test_a_group(self, cli_of_each, tmp_path):
        """Tasks join it until it is closed; it completes when they are canceled."""
        create = ("groups", "create", "--name", "import", "--queue", "of-groups", "--tag", "a=1")
        group = cli_of_each.ok(*create, "--on-complete", "x:").out.strip()
        cli_of_each.ok("submit", "--group", group, "--delay", "1h", "http://x/", "http://y/")
        shown = cli_of_each.ok("groups", "show", group).out
        assert re.search("^finished +0 of 2$", shown, re.MULTILINE)
        assert re.search("^name +import$", shown, re.MULTILINE)
        assert len(cli_of_each.ok("list", "--group", group).rows) == 2
        assert "CLOSED" in cli_of_each.ok("groups", "close", group).out
        assert "CLOSED" in cli_of_each.run("submit", "--group", group, "z").complaint
        cli_of_each.ok("cancel", "--group", group, "--yes")
        [document] = cli_of_each.ok("groups", "show", group, "--json").documents
        assert (document["status"], document["counts"]["CANCELED"]) == ("COMPLETED", 2)
        completion = cli_of_each.ok("show", document["completion_task_id"]).out
        assert re.search(f"^completion of +{group}$", completion, re.MULTILINE)
        rows = cli_of_each.ok("groups", "list", "--queue", "of-groups").rows
        assert [group, "import", "COMPLETED"] in [row[:3] for row in rows]
        assert cli_of_each.ok("groups", "retry", group).code == 0

    def test_a_group_is_watched(self, cli_of_each):
        """Its events are printed until it has finished, and then the group itself."""
        [group] = cli_of_each.ok("groups", "create", "--open", "--json").documents
        cli_of_each.ok("submit", "--group", group["id"], "--delay", "2s", "http://127.0.0.1:9/")
        cli_of_each.ok("groups", "close", group["id"])
        watch = ("groups", "show", group["id"], "--watch")
        *events, last = cli_of_each.ok(*watch, "--json").documents
        assert {event["group"] for event in events} <= {group["id"]}
        assert (last["id"], last["status"]) == (group["id"], "COMPLETED")
        assert re.search("^finished +1 of 1$", cli_of_each.ok(*watch).out, re.MULTILINE)

    def test_an_array_as_a_group(self, cli_of_each, tmp_path):
        """With a template from a file; and it is canceled without a question only with --yes."""
        template = tmp_path / "task.json"
        template.write_text('{"payload": {"url": "x:", "method": "PUT"}, "delay_seconds": 60}')
        create = ("groups", "create", "--on-complete-file", template, "--on-failure", "cancel_rest")
        [group] = cli_of_each.ok(*create, "--open", "--json", "x:", "x:").documents
        assert group["on_complete"]["payload"]["method"] == "PUT"
        assert cli_of_each.run("groups", "cancel", group["id"]).code == 2
        assert "CANCELED" in cli_of_each.ok("groups", "cancel", group["id"], "--yes").out
        assert cli_of_each.run(*create, "--on-complete", "x:").code == 2
        assert cli_of_each.run("groups", "create", "--on-complete-file", "none").code == 2
        assert cli_of_each.run("groups", "show", "x").code == 2


class TestTopics:
    def test_a_topic(self, cli_of_each, tmp_path):
        """Its endpoints get its events; what failed is found, and sent again."""
        cli_of_each.ok("topics", "put", "orders", "--queue", "hooks")
        assert ["orders", "hooks", "0"] in [
            row[:3] for row in cli_of_each.ok("topics", "list").rows
        ]
        secret = tmp_path / "secret"
        secret.write_text(new_secret())
        put = ("endpoints", "put", "orders", "billing", "http://127.0.0.1:9/")
        more = ("--type", "invoice.*", "-H", "X-Tenant: 42", "--max-attempts", "1")
        shown = cli_of_each.ok(*put, *more, "--secret-file", secret).out
        for line in ("signing +own", "event types +invoice[.][*]", "header +X-Tenant: 42"):
            assert re.search(f"^{line}$", shown, re.MULTILINE)
        publish = ("topics", "publish", "orders", "invoice.paid", '{"n": 1}')
        [event] = cli_of_each.ok(*publish, "--json").documents
        assert cli_of_each.ok("topics", "publish", "orders", "other").out.split()[1] == "0"
        [task] = event["tasks"]
        deliveries = ("endpoints", "deliveries", "orders", "billing")
        while not (rows := cli_of_each.ok(*deliveries, "--status", "FAILED").rows):
            pass
        assert rows[0][:3] == [task, "FAILED", "invoice.paid"]
        recover = ("endpoints", "recover", "orders", "billing", "--since", "1h")
        assert cli_of_each.ok(*recover).out.startswith("1 ")
        assert len(cli_of_each.ok("endpoints", "test", "orders", "billing").out.split()) == 1
        assert cli_of_each.ok("endpoints", "rotate", "orders", "billing").out.startswith("whsec_")
        assert cli_of_each.ok(*put, "--disabled").code == 0
        assert cli_of_each.ok("endpoints", "list", "orders").rows[0][:2] == ["billing", "no"]
        assert cli_of_each.run("endpoints", "test", "orders", "billing").code == 1
        cli_of_each.ok("endpoints", "delete", "orders", "billing")
        assert cli_of_each.run("endpoints", "show", "orders", "billing").code == 4
        assert cli_of_each.run("topics", "delete", "orders").code == 2
        cli_of_each.ok("topics", "delete", "orders", "--yes")
        assert cli_of_each.run("topics", "publish", "orders", "x", "{").code == 2


class TestQueues:
    def test_queues_and_schedules_are_set(self, cli_of_each, service):
        put = cli_of_each.ok(
            *("queues", "put", "asked", "--max-concurrency", 3, "--rate", 5, "--burst", 10),
            *("--host-max-concurrency", 2, "--host-rate", 50, "--json"),
        ).documents
        assert put[0]["rate"] == {"per_second": 5.0, "burst": 10}
        assert put[0]["per_host"]["rate"] == {"per_second": 50.0, "burst": 5}
        assert "paused" in cli_of_each.ok("queues", "pause", "asked").out
        hand_in(service, payload="x", queue="asked")
        [row] = [row for row in cli_of_each.ok("queues").rows if row[0] == "asked"]
        assert row[1:4] == ["paused", "1", "0"]
        assert row[5] == "3 at once, 5/s (burst 10), 2 at once per host, 50/s (burst 5) per host"
        assert cli_of_each.ok("queues", "purge", "asked", "--yes").out == "1\n"
        assert "open" in cli_of_each.ok("queues", "resume", "asked").out
        cli_of_each.ok("queues", "put", "asked", "--no-limits")
        assert "limits     none" in cli_of_each.ok("queues", "show", "asked").out

    def test_only_named_settings_change(self, cli_of_each):
        """A pause and other limits are kept; the value none removes a limit."""
        put = ("queues", "put", "kept", "--json")
        cli_of_each.ok(*put, "--max-concurrency", 3, "--rate", 50, "--burst", 10, "--paused")
        cli_of_each.ok(*put, "--host-max-concurrency", 2)
        [changed] = cli_of_each.ok(*put, "--rate", 5).documents
        assert (changed["paused"], changed["max_concurrency"]) == (True, 3)
        assert changed["rate"] == {"per_second": 5.0, "burst": 10}
        [changed] = cli_of_each.ok(*put, "--host-rate", 1, "--rate", "none").documents
        assert changed["rate"] is None
        assert changed["per_host"] == {
            "max_concurrency": 2,
            "rate": {"per_second": 1.0, "burst": 1},
        }
        [changed] = cli_of_each.ok(*put, "--no-limits", "--rate", 7).documents
        assert (changed["rate"], changed["per_host"]) == ({"per_second": 7.0, "burst": 1}, None)
        assert (changed["paused"], changed["max_concurrency"]) == (True, None)
        [changed] = cli_of_each.ok(*put, "--sign").documents
        assert (changed["sign"], changed["rate"]["per_second"]) == (True, 7.0)
        assert re.search(
            "^signed +yes$", cli_of_each.ok("queues", "show", "kept").out, re.MULTILINE
        )
        [changed] = cli_of_each.ok(*put, "--unset", "sign").documents
        assert (changed["sign"], changed["rate"]["per_second"]) == (None, 7.0)
        [changed] = cli_of_each.ok(*put, "--resumed").documents
        assert (changed["paused"], changed["rate"]["per_second"]) == (False, 7.0)

    def test_every_nullable_setting_can_be_unset(self, cli):
        """What null resets in the API, an option does, too."""
        put = ("queues", "put", "unset", "--json")
        cli.ok(*put, "--max-concurrency", 3, "--rate", 5, "--host-rate", 5, "--sign")
        cli.ok(*put, "--egress-proxy", "direct")
        names = ("max-concurrency", "rate", "per-host", "sign", "credential", "egress-proxy")
        unset = [part for name in names for part in ("--unset", name)]
        [changed] = cli.ok(*put, *unset).documents
        assert {changed[name.replace("-", "_")] for name in names} == {None}
        both = cli.run("queues", "put", "unset", "--sign", "--unset", "sign")
        assert both.code == 2
        assert both.complaint.startswith("sign is given, and --unset names it")

    def test_the_proxy_of_a_queue(self, cli):
        """Its password is read from a file, and not shown."""
        put = ("queues", "put", "proxied")
        (cli.folder / "proxy.url").write_text("http://worker:s3cret@proxy.example:3128\n")
        shown = cli.ok(*put, "--egress-proxy", "@proxy.url").out
        assert re.search(r"^egress proxy +http://\*\*\*@proxy.example:3128$", shown, re.MULTILINE)
        assert "s3cret" not in shown
        assert "direct" in cli.ok(*put, "--egress-proxy", "direct").out
        assert "cannot be read" in cli.run(*put, "--egress-proxy", "@missing").complaint

    def test_invalid_values(self, cli):
        assert cli.run("queues", "show", "never-heard-of").code == 4
        assert cli.run("queues", "put", "x", "--rate", "-1").code == 2
        assert "rate must be" in cli.run("queues", "put", "x", "--burst", "3").complaint
        both = cli.run("queues", "put", "x", "--rate", "none", "--burst", "3")
        assert both.complaint.startswith("--burst needs a rate")
        assert (
            "neither a number nor none" in cli.run("queues", "put", "x", "--rate", "no").complaint
        )
        assert cli.run("queues", "put", "..").code == 2
        ended = cli.run("queues", "purge", "never-heard-of")
        assert (ended.code, ended.out) == (4, "")
        cli.ok("queues", "pause", "kept")
        assert cli.run("queues", "purge", "kept").code == 2

    def test_the_default_burst_is_the_same_as_in_the_api(self, cli, memory_server):
        for rate in (0.5, 5, 25, 99.9, 1000):
            [ours] = cli.ok(
                "queues", "put", "burst", "--no-limits", "--rate", rate, "--json"
            ).documents
            body = json.dumps({"rate": rate}).encode()
            theirs = memory_server.ask("PUT", "/queues/burst", body).json
            assert ours["rate"] == theirs["rate"]


class TestSchedules:
    def test_from_its_making_to_its_end(self, cli_of_each, service):
        cron = "30 6 * * MON-FRI"
        put = ("schedules", "put", "reports", "http://x.invalid/", "--cron", cron)
        made = cli_of_each.ok(*put, "--timezone", "Europe/Berlin", "--queue", "mail", "--json")
        assert made.documents[0]["task"] == {"payload": "http://x.invalid/", "queue": "mail"}
        [row] = cli_of_each.ok("schedules").rows
        assert row[:3] == ["reports", f"{cron} Europe/Berlin", "open"]
        [task_id] = cli_of_each.ok("schedules", "run", "reports").lines
        assert service.show(task_id)["schedule"] == "reports"
        service.wait(task_id)
        assert "FAILED" in cli_of_each.ok("schedules", "show", "reports").out
        assert cli_of_each.run(*put, "--new").code == 1
        (cli_of_each.folder / "task.json").write_text('{"payload": {"url": "http://y.invalid/"}}')
        cli_of_each.ok(
            "schedules", "put", "reports", "-f", "task.json", "--every", "90", "--paused"
        )
        ended = cli_of_each.run("schedules", "next", "reports", "--count", 2)
        assert [row[1][:3] for row in ended.rows] == ["in ", "in "]
        assert "reports is paused" in ended.err
        [runs] = cli_of_each.ok("schedules", "next", "reports", "--json").documents
        times = [dt.datetime.fromisoformat(text) for text in runs["times"]]
        assert (runs["paused"], len(times)) == (True, 5)
        assert {(later - one).seconds for one, later in itertools.pairwise(times)} == {90}
        completion = ("--completion", "poll", "--within", "1h")
        [changed] = cli_of_each.ok("schedules", "put", "reports", *completion, "--json").documents
        assert changed["task"]["completion"] == {"mode": "poll", "within_seconds": 3600}
        cli_of_each.ok("schedules", "put", "reports", "--overlap", "skip")
        shown = cli_of_each.ok("schedules", "show", "reports").out
        assert "every 1 min 30 s" in shown
        assert ["overlap", "skip"] in [line.split() for line in shown.splitlines()]
        assert cli_of_each.ok("schedules", "delete", "reports").rows == [["reports", "deleted"]]
        assert cli_of_each.run("schedules", "delete", "reports").code == 4

    def test_only_named_settings_change(self, cli_of_each):
        """The pause and the options of the task are kept; --every replaces --cron."""
        put = ("schedules", "put", "kept", "--json")
        when = ("--cron", "30 6 * * *", "--timezone", "Europe/Berlin", "--missed", "skip")
        cli_of_each.ok(*put, "http://x.invalid/", *when, "--paused", "--queue", "mail")
        [changed] = cli_of_each.ok(*put, "--cron", "0 7 * * *").documents
        assert (changed["paused"], changed["cron"], changed["missed"]) == (
            True,
            "0 7 * * *",
            "skip",
        )
        assert changed["task"] == {"payload": "http://x.invalid/", "queue": "mail"}
        [changed] = cli_of_each.ok(*put, "http://y.invalid/", "--priority", 5).documents
        assert changed["task"] == {"payload": "http://y.invalid/", "queue": "mail", "priority": 5}
        [changed] = cli_of_each.ok(*put, "--every", 90, "--queue", "other").documents
        assert (changed["every_seconds"], changed["cron"], changed["paused"]) == (90.0, None, True)
        assert changed["task"]["queue"] == "other"
        [changed] = cli_of_each.ok(*put, "--resumed").documents
        assert (changed["paused"], changed["every_seconds"]) == (False, 90.0)
        assert cli_of_each.run("schedules", "put", "kept").complaint.startswith(
            "give something to change"
        )
        lone = cli_of_each.run("schedules", "put", "kept", "--method", "PUT").complaint
        assert lone.startswith("--method, --header, --data and --fetch-timeout need the URL")

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["x", "http://x/", "--cron", "61 * * * *"], "cron has an invalid minute"),
            (["x", "http://x/"], "give --cron or --every"),
            (["x", "--every", "5"], "give a URL or --file"),
            (["x", "-f", "none.json", "--every", "5"], "none.json cannot be read"),
            (["x", "http://x/", "--every", "soon"], "Invalid value for '--every': 'soon' is no"),
        ],
    )
    def test_invalid_values(self, cli, arguments, complaint):
        ended = cli.run("schedules", "put", *arguments)
        assert ended.code == 2
        assert ended.complaint.startswith(complaint)


class TestStats:
    def test_a_table(self, cli_of_each, service):
        hand_in(service, payload="x", delay_seconds=3600, queue="counted")
        rows = {row[0]: row[1:] for row in cli_of_each.ok("stats").rows}
        assert rows["counted"][:5] == ["1", "0", "0", "0", "0"]
        assert int(rows["all"][0]) >= 1
        assert [row[0] for row in cli_of_each.ok("stats", "--queue", "counted").rows] == ["counted"]
        [document] = cli_of_each.ok("stats", "--json").documents
        assert document["complete"]

    def test_watched_by_a_program(self, cli):
        with cli.started("stats", "--watch", "--interval", "0.05") as process:
            looks = [process.stdout.readline().decode().split("\t") for _ in range(3)]
            ended = interrupt(process)
        assert all(len(look) == 8 for look in looks)
        assert (ended.code, ended.err) == (130, "")
        with cli.started("stats", "-w", "--interval", "0.05", "--json") as process:
            assert "queues" in json.loads(process.stdout.readline())

    def test_watched_on_a_terminal(self, cli, memory_server):
        with cli.terminal("stats", "--watch", "--interval", "0.05") as terminal:
            terminal.wait_for("Press Ctrl+C to stop")
            assert "finished in the last hour" in terminal.text
            hand_in(memory_server, payload="x", delay_seconds=3600, queue="seen-live")
            terminal.wait_for("seen-live")
            assert terminal.interrupt() == 130
        assert "Traceback" not in terminal.text


class TestNodesAndHosts:
    def test_both(self, cli_of_each, service, target):
        task_id = hand_in(service, payload=target.url + "/json")
        service.wait(task_id)
        [row] = cli_of_each.ok("nodes").rows
        assert row[1:3] == ["alive", __version__]
        assert row[-1] == zone_database().version
        assert cli_of_each.ok("nodes", "--json").documents[0]["alive"]
        hosts = [row[0] for row in cli_of_each.ok("hosts").rows]
        assert target.url.removeprefix("http://") in hosts
        assert cli_of_each.ok("hosts", "--json").documents


class TestBench:
    def test_it_measures_and_leaves_nothing(self, cli_of_each):
        [reported] = cli_of_each.ok("bench", "-n", 50, "-c", 4, "--json").documents
        assert (reported["submitted"], reported["completed"], reported["other_outcomes"]) == (
            50,
            50,
            {},
        )
        assert reported["submitted_per_second"] > 0
        for times in (
            reported["post_seconds"],
            reported["start_seconds"],
            reported["finish_seconds"],
        ):
            assert 0 <= times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
        assert (
            cli_of_each.ok("list", "--url-contains", "http://127.0.0.1", "-n", 1000).out.count(
                "bench-"
            )
            == 0
        )
        output = cli_of_each.ok("bench", "-n", 5).out
        assert "5 submitted, 5 COMPLETED" in output

    def test_a_service_that_does_not_fetch_from_here(self, tmp_path):
        with LiveServer(database_url="memory://", deny_hosts=("127.0.0.1",)) as server:
            ended = CommandLine(tmp_path, url=server.url).run("bench", "-n", 5)
        assert ended.code == 1
        assert "start it with TASKFLOW_ALLOW_NETWORKS=127.0.0.0/8" in ended.complaint

    def test_a_service_elsewhere_is_left_alone(self, tmp_path):
        cli = CommandLine(tmp_path, url="http://taskflow.example")
        ended = cli.run("bench")
        assert ended.code == 2
        assert "use --yes-load-it" in ended.complaint
        assert "needs a --target" in cli.run("bench", "--yes-load-it").complaint

    def test_not_all_in_time(self, cli, target):
        """After the time limit, the rest is canceled and deleted."""
        # Python may mention what httpx leaves to the garbage collector where it is interrupted.
        ended = cli.run(
            *(
                "bench",
                "-n",
                100_000,
                "-c",
                2,
                "--seconds",
                "0.3",
                "--target",
                target.url + "/json",
            ),
            PYTHONWARNINGS="",
        )
        assert ended.code == 1
        assert ended.complaint == "not all tasks finished within 300 ms"
        assert "bench-" not in cli.ok("list", "-n", 1000).out

    def test_interrupted(self, cli):
        with cli.terminal("bench", "-n", "100000") as terminal:
            terminal.wait_for("submitted")
            assert terminal.interrupt() == 130
        assert "bench-" not in cli.ok("list", "-n", 1000).out


class TestAudit:
    def test_the_audit_log(self, cli_of_each):
        """Newest first: time, action, target, number, key, address and detail, or JSON."""
        cli_of_each.ok("queues", "put", "logged", "--max-concurrency", 3)
        cli_of_each.ok("queues", "pause", "logged")
        found = ("audit", "--target-kind", "queue", "--target", "logged", "--since", "1h")
        rows = cli_of_each.ok(*found).rows
        assert [row[1:4] for row in rows] == [
            ["queue.pause", "logged", "1"],
            ["queue.change", "logged", "1"],
        ]
        change = {"changes": {"max_concurrency": {"before": None, "after": 3}}}
        assert json.loads(rows[1][6]) == change
        [entry] = cli_of_each.ok(*found, "--json", "-n", 1).documents
        assert (entry["action"], entry["target"]) == ("queue.pause", "logged")
        assert cli_of_each.ok(*found, "--actor", "nobody").out == ""
        assert cli_of_each.ok(*found, "--until", "1h").out == ""
