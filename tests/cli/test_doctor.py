"""``taskflow doctor``."""

from __future__ import annotations

import contextlib
import json
import re
import socket

import psycopg
import pytest

from taskflow.model.keyring import new_encryption_key
from taskflow.settings import Settings
from taskflow.store.embedded.shared_server import find_server
from taskflow.store.postgres.inspection import DatabaseReport, examine_database
from taskflow.store.postgres.replication import Replication
from taskflow.version import __version__
from tests.api.live import LiveServer
from tests.cli.command import CommandLine
from tests.cli.conftest import KEY
from tests.folders import open_folder
from tests.replicas import make_synchronous, primary_in, standby_of, url_of_hosts
from tests.service.database import url_of
from tests.service.processes import running, wait_until
from tests.service.targets import ANSWER, SocketServer
from tests.store.test_pgbouncer import bouncer  # noqa: F401 - a fixture

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def doctor(folder, *arguments, url=None, **environ) -> tuple[int, dict[str, list[dict]]]:
    """Return its exit status and its findings by check, with the default network rules."""
    environ = {
        "DATABASE_URL": "memory://",
        "TASKFLOW_BIND": "127.0.0.1:0",
        "TASKFLOW_ALLOW_NETWORKS": "",
        "TASKFLOW_ALLOW_PORTS": "",
        **environ,
    }
    ended = CommandLine(folder, url=url).run("doctor", "--json", *arguments, **environ)
    assert ended.err == ""
    found: dict[str, list[dict]] = {}
    for finding in ended.documents:
        found.setdefault(finding["check"], []).append(finding)
    has_failed = any(f["state"] == "failed" for findings in found.values() for f in findings)
    assert ended.code == int(has_failed)
    return ended.code, found


def states(findings: list[dict]) -> list[str]:
    return [finding["state"] for finding in findings]


class TestHere:
    def test_no_problems(self, tmp_path):
        code, found = doctor(tmp_path)
        assert code == 0
        assert states(found.pop("database")) == ["warning"]  # in memory
        assert all(states(findings) == ["ok"] for findings in found.values()), found
        assert found.keys() >= {"settings", "python", "packages", "keys", "guard", "port"}

    def test_every_setting_that_cannot_be_used(self, tmp_path):
        bad = {"TASKFLOW_WORKERS": "x", "TASKFLOW_LOG_LEVEL": "loud", "TASKFLOW_WORKRES": "3"}
        code, found = doctor(tmp_path, **bad, TASKFLOW_HEARTBEAT_SECONDS="15")
        assert code == 1
        reported = [finding["detail"] for finding in found["settings"]]
        assert [line.partition("=")[0] for line in reported[:2]] == [
            "TASKFLOW_WORKERS",
            "TASKFLOW_LOG_LEVEL",
        ]
        assert reported[2].startswith("TASKFLOW_LEASE_SECONDS must be at least twice")
        assert "did you mean TASKFLOW_WORKERS?" in reported[3]
        assert states(found["settings"]) == ["failed"] * 3 + ["warning"]

    def test_a_dotenv_that_cannot_be_read(self, tmp_path):
        (tmp_path / ".env").write_bytes(b"\xff\xfe")
        code, found = doctor(tmp_path)
        assert (code, states(found["settings"])) == (1, ["failed"])
        assert found["settings"][0]["detail"] == ".env is UTF-16: save it as UTF-8"

    def test_settings_that_make_little_sense(self, tmp_path):
        odd = {"TASKFLOW_DRAIN_SECONDS": "1", "TASKFLOW_RETENTION_SECONDS": "60"}
        _, found = doctor(tmp_path, **odd)
        assert states(found["settings"]) == ["ok", "warning", "warning"]
        weeks = {"TASKFLOW_RETENTION_SECONDS": "864000"}
        for after in ("864000", "86400"):
            _, found = doctor(tmp_path, TASKFLOW_ARCHIVE_AFTER_SECONDS=after, **weeks)
            assert states(found["settings"]) == ["ok", "warning"]

    def test_keys_and_secrets(self, tmp_path):
        (tmp_path / "keys").write_text("ci:write:nonsense\n")
        (tmp_path / "keys").chmod(0o644)
        (tmp_path / ".env").write_text(f"TASKFLOW_WEBHOOK_SECRETS={SECRET}\n")
        (tmp_path / ".env").chmod(0o600)
        code, found = doctor(tmp_path, TASKFLOW_API_KEYS_FILE="keys")
        assert (code, states(found["keys"]), states(found["signatures"])) == (1, ["failed"], ["ok"])
        assert states(found["files"]) == ["warning", "ok"]
        assert "chmod 600 keys" in found["files"][0]["advice"]
        (tmp_path / ".env").chmod(0o644)
        _, found = doctor(tmp_path)
        assert "chmod 600 .env" in found["files"][0]["advice"]
        (tmp_path / ".env").write_text("TASKFLOW_WEBHOOK_SECRETS_FILE=\nTASKFLOW_WORKERS=2\n")
        _, found = doctor(tmp_path)
        assert "files" not in found  # nothing in it has to be kept from others
        _, found = doctor(tmp_path, TASKFLOW_API_KEYS="ci:short")
        assert states(found["keys"]) == ["warning"]
        _, found = doctor(tmp_path, TASKFLOW_BIND="0.0.0.0:0")
        assert states(found["keys"]) == ["failed"]
        (tmp_path / "encryption").write_text(f"{new_encryption_key()}\n")
        (tmp_path / "encryption").chmod(0o644)
        _, found = doctor(tmp_path, TASKFLOW_ENCRYPTION_KEYS_FILE="encryption")
        assert states(found["encryption"]) == ["ok"]
        assert "chmod 600 encryption" in found["files"][0]["advice"]
        code, found = doctor(tmp_path, TASKFLOW_ENCRYPTION_KEYS="short")
        assert (code, states(found["encryption"])) == (1, ["failed"])
        _, found = doctor(tmp_path, TASKFLOW_BIND="0.0.0.0:0", TASKFLOW_ALLOW_ANONYMOUS="1")
        assert states(found["keys"]) == ["warning"]

    def test_no_secret_is_shown(self, tmp_path):
        encryption_key = new_encryption_key()
        environ = {
            "TASKFLOW_API_KEYS": f"ci:{KEY}",
            "TASKFLOW_API_KEY": KEY,
            "TASKFLOW_WEBHOOK_SECRETS": SECRET,
            "TASKFLOW_ENCRYPTION_KEYS": encryption_key,
            "DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/tasks",
        }
        cli = CommandLine(tmp_path, url="http://me:hunter2@127.0.0.1:1")
        for arguments in (["doctor"], ["doctor", "--json"]):
            ended = cli.run(*arguments, **environ)
            assert ended.code == 1
            for secret in (KEY, SECRET[6:], encryption_key, "hunter2"):
                assert secret not in ended.out + ended.err
        broken = cli.run("doctor", **{**environ, "DATABASE_URL": "postgresql://me:hunter2@[x/y"})
        assert "hunter2" not in broken.out + broken.err

    def test_open_access(self, tmp_path):
        _, found = doctor(tmp_path, TASKFLOW_ALLOW_NETWORKS="127.0.0.0/8,169.254.169.254/32")
        assert states(found["guard"]) == ["warning", "warning", "ok"]
        code, found = doctor(tmp_path, TASKFLOW_DENY_HOSTS="exa_mple..com")
        assert (code, states(found["guard"])) == (1, ["failed"])

    def test_a_port_in_use(self, tmp_path, memory_server):
        # Hypercorn leaves the socket to the garbage collector, which Python would mention.
        quiet = {"PYTHONWARNINGS": ""}
        with socket.create_server(("127.0.0.1", 0)) as other:
            bind = f"127.0.0.1:{other.getsockname()[1]}"
            code, found = doctor(tmp_path, TASKFLOW_BIND=bind, **quiet)
        assert (code, states(found["port"])) == (1, ["failed"])
        bind = memory_server.url.removeprefix("http://")
        _, found = doctor(tmp_path, TASKFLOW_BIND=bind, **quiet)
        assert f"{bind} is used by TaskFlow {__version__}" in found["port"][0]["detail"]

    def test_files_that_may_be_open(self, tmp_path):
        _, found = doctor(tmp_path, TASKFLOW_MAX_CONNECTIONS="65536")
        assert states(found["open files"]) == ["warning"]

    def test_lines_for_people(self, tmp_path):
        with CommandLine(tmp_path, url=None, DATABASE_URL="mysql://x").terminal("doctor") as shown:
            assert shown.end() == 1
        [line] = [line for line in shown.text.splitlines() if " database " in line]
        assert line.startswith("failed")
        assert line.endswith("-> set it to postgresql://... or memory://, or leave it empty")


class TestDatabase:
    def test_from_an_empty_one_to_one_in_use(self, tmp_path, database_url):
        url = url_of(database_url)
        code, found = doctor(tmp_path, DATABASE_URL=url)
        assert (code, states(found["migrations"])) == (0, ["warning"])
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT to_regclass('taskflow_tasks')").fetchone() == (None,)
        with LiveServer(database_url=url):
            code, found = doctor(tmp_path, DATABASE_URL=url)
        assert code == 0
        for check in ("database", "migrations", "clock", "connections", "pooler"):
            assert states(found[check]) == ["ok"], found
        assert "; 1 node is alive" in found["connections"][0]["detail"]
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("INSERT INTO taskflow_migrations (version, name) VALUES (9999, 'x')")
        code, found = doctor(tmp_path, DATABASE_URL=url)
        assert (code, states(found["migrations"])) == (1, ["failed"])

    def test_a_pooler_that_is_not_there(self, tmp_path, database_url):
        url = url_of(database_url)
        _, found = doctor(tmp_path, DATABASE_URL=url, TASKFLOW_DATABASE_POOLER="transaction")
        assert states(found["pooler"]) == ["warning"]

    def test_a_pooler_that_is(self, tmp_path, bouncer, database_url):  # noqa: F811
        name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
        url = url_of(psycopg.conninfo.make_conninfo(**bouncer, dbname=name))
        code, found = doctor(tmp_path, DATABASE_URL=url)
        assert code == 1
        assert "TASKFLOW_DATABASE_POOLER=transaction" in found["database"][0]["advice"]
        code, found = doctor(tmp_path, DATABASE_URL=url, TASKFLOW_DATABASE_POOLER="transaction")
        assert (code, states(found["pooler"])) == (0, ["ok"])

    def test_one_that_is_not_there(self, tmp_path):
        code, found = doctor(tmp_path, DATABASE_URL="postgresql://127.0.0.1:1/tasks")
        assert (code, states(found["database"])) == (1, ["failed"])

    def test_our_own_before_it_is_made_and_while_it_runs(self, tmp_path):
        """The doctor does not create, start or stop it."""
        with open_folder() as folder:
            data = folder / "data"
            own = {"DATABASE_URL": "", "TASKFLOW_DATA_DIR": str(data)}
            _, found = doctor(tmp_path, **own)
            assert "will create one in" in found["database"][0]["detail"]
            assert not data.exists()
            with running("worker", tmp_path, **own):
                code, found = doctor(tmp_path, **own)
                assert code == 0
                assert "PostgreSQL 18" in found["database"][0]["detail"]
                assert states(found["migrations"]) == ["ok"]
            server = find_server(data)
            assert server.has_data
            before = sorted(data.iterdir())
            doctor(tmp_path, **own)
            assert sorted(data.iterdir()) == before

    async def test_a_long_transaction_is_seen(self, database_url):
        with psycopg.connect(database_url) as connection:
            connection.execute("SELECT")
            report = await examine_database(database_url, timeout_seconds=5.0, pooler="none")
        assert report.longest_transaction_seconds > 0
        assert abs(report.clock_ahead_seconds) < 5

    @pytest.mark.parametrize(
        ("changed", "check", "state"),
        [
            ({"is_standby": True}, "database", "failed"),
            ({"version": "13.9"}, "database", "failed"),
            ({"is_durable": False}, "durability", "warning"),
            ({"has_full_pages": False}, "durability", "warning"),
            ({"is_synchronous": False}, "durability", "warning"),
            ({"hosts": 2}, "replication", "warning"),
            ({"replication": Replication(standbys=1)}, "replication", "warning"),
            ({"replication": Replication("on", "a", 1, ["a"])}, "replication", "ok"),
            ({"replication": Replication("remote_write", "a", 1, None)}, "replication", "ok"),
            ({"replication": Replication("local", "a", 1, ["a"])}, "replication", "warning"),
            ({"replication": Replication("on", "a", 0, [])}, "replication", "warning"),
            ({"replication": Replication("on", "a", 1, [])}, "replication", "warning"),
            ({"clock_ahead_seconds": -90.0}, "clock", "warning"),
            ({"connections_in_use": 99}, "connections", "warning"),
            ({"has_pooler": True}, "pooler", "failed"),
            ({"longest_transaction_seconds": 4000.0}, "transactions", "warning"),
            ({"tz_versions": ("2024a",)}, "time zones", "warning"),
            ({"archive_weeks": 2}, "archive", "ok"),
            ({"archive_weeks": 2, "can_archive": False}, "archive", "warning"),
        ],
    )
    def test_what_is_told_of_it(self, changed, check, state):
        """Reports that no server of the tests produces."""
        import msgspec

        from taskflow.cli.local.checks.database import findings_of

        report = DatabaseReport(
            place="x",
            version="18.4",
            is_standby=False,
            is_durable=True,
            has_pooler=False,
            clock_ahead_seconds=0.01,
            clock_error_seconds=0.01,
            pending=(),
            unknown=(),
            connections=100,
            connections_in_use=5,
            longest_transaction_seconds=None,
            size_bytes=7,
            nodes=1,
        )
        assert {one.state for one in findings_of(report, Settings())} == {"ok"}
        changed_report = msgspec.structs.replace(report, **changed)
        reported = {one.check: one.state for one in findings_of(changed_report, Settings())}
        assert reported[check] == state


class TestReplication:
    """Where the loss of a server loses tasks that were accepted."""

    def test_from_asynchronous_to_synchronous(self, tmp_path):
        """A role that may not see the standbys learns how it may; names and settings are shown."""
        with open_folder() as folder, primary_in(folder) as primary, standby_of(primary) as standby:
            url = url_of_hosts("postgres", standby.port, primary.port)
            _, found = doctor(tmp_path, DATABASE_URL=url)
            assert states(found["database"]) == ["ok"]
            assert found["database"][0]["detail"].endswith(", host 2 of 2 in DATABASE_URL")
            [finding] = found["replication"]
            assert finding["state"] == "warning"
            assert finding["detail"].startswith("asynchronous, 1 standby connected")
            assert states(found["durability"]) == ["warning"]  # fsync is off in tests
            make_synchronous(primary, "ANY 1 (second, third)")
            _, found = doctor(tmp_path, DATABASE_URL=url)
            [finding] = found["replication"]
            assert finding["state"] == "ok"
            assert finding["detail"] == (
                "synchronous to second: synchronous_standby_names is ANY 1 (second, third), "
                "synchronous_commit is on"
            )
            with psycopg.connect(primary.conninfo, autocommit=True) as connection:
                connection.execute("CREATE ROLE other LOGIN")
            _, found = doctor(tmp_path, DATABASE_URL=url.replace("taskflow@", "other@"))
            [finding] = found["replication"]
            assert finding["state"] == "ok"
            assert "standbys unknown (GRANT pg_monitor TO this role" in finding["detail"]
            local = f"{url}?options=-csynchronous_commit%3Dlocal"
            _, found = doctor(tmp_path, DATABASE_URL=local)
            assert states(found["replication"]) == ["warning"]
            assert "synchronous_commit is local" in found["replication"][0]["detail"]

    def test_no_host_accepts_writes(self, tmp_path):
        with open_folder() as folder, primary_in(folder) as primary, standby_of(primary) as standby:
            url = url_of_hosts("postgres", standby.port, standby.port)
            code, found = doctor(tmp_path, DATABASE_URL=url)
            assert (code, states(found["database"])) == (1, ["failed"])
            assert "promote a standby" in found["database"][0]["detail"]


def test_the_time_zone_database(tmp_path):
    """The finding has the version that is used, and the other one."""
    (tmp_path / "tzdata.zi").write_text("# version 1999a\n")
    _, found = doctor(tmp_path, PYTHONTZPATH=str(tmp_path))
    [reported] = found["time zones"]
    assert reported["state"] == "ok"
    assert re.fullmatch(r"2\w+ from the package tzdata \(system: 1999a\)", reported["detail"])
    (tmp_path / "tzdata.zi").write_text("# version 2099a\n")
    _, found = doctor(tmp_path, PYTHONTZPATH=str(tmp_path))
    assert found["time zones"][0]["detail"].startswith("2099a from the system (package tzdata: 2")


def test_nodes_with_different_time_zones(tmp_path, database_url):
    """The database has the versions of its nodes; before the migration they are unknown."""
    url = url_of(database_url)
    assert CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=url).code == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at, tz_version)"
            " VALUES (gen_random_uuid(), 'other', 60, now() + interval '1 hour', '1999a')"
        )
        code, found = doctor(tmp_path, DATABASE_URL=url)
        assert (code, states(found["time zones"])) == (0, ["ok", "warning"])
        assert "nodes use different versions (1999a, 2" in found["time zones"][1]["detail"]
        assert "tzdata" in found["time zones"][1]["advice"]
        connection.execute("ALTER TABLE taskflow_nodes DROP COLUMN tz_version")
        code, found = doctor(tmp_path, DATABASE_URL=url)
        assert (code, states(found["time zones"])) == (0, ["ok"])
        assert "; 1 node is alive" in found["connections"][0]["detail"]


class Other(SocketServer):
    """A program that is no issuer."""

    def __init__(self, listener):
        super().__init__(listener)
        self.url = "http://{}:{}".format(*listener.getsockname())

    def serve(self, connection):
        connection.recv(65536)
        connection.sendall(ANSWER)


class TestPublicUrl:
    """The issuer of ID tokens."""

    def finding(self, folder, url, **environ) -> dict:
        _, found = doctor(folder, TASKFLOW_PUBLIC_URL=url, **environ)
        [finding] = found["public url"]
        return finding

    def test_this_service(self, tmp_path):
        """It answers as the issuer of its own URL only; the guard is for tasks, not for this."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            bind = "127.0.0.1:{1}".format(*free.getsockname())
        url = f"http://{bind.replace('127.0.0.1', 'localhost')}"
        with LiveServer(database_url="memory://", public_url=url, bind=bind):
            assert self.finding(tmp_path, url)["state"] == "ok"
            finding = self.finding(tmp_path, f"http://{bind}")
        assert (finding["state"], url in finding["detail"]) == ("failed", True)

    def test_another_program_or_none(self, tmp_path, memory_server):
        """What does not answer may not run yet; what answers otherwise is not this service."""
        for url, state, reason in (
            (f"{memory_server.url}/elsewhere", "failed", "404"),
            ("http://localhost:1", "warning", "connect error"),
        ):
            finding = self.finding(tmp_path, url)
            assert (finding["state"], reason in finding["detail"]) == (state, True)
        with Other(socket.create_server(("127.0.0.1", 0))) as other:
            finding = self.finding(tmp_path, other.url)
        assert (finding["state"], "no metadata" in finding["detail"]) == ("failed", True)

    def test_without_tls(self, tmp_path):
        """Targets require https; a name that does not exist is reported, too."""
        _, found = doctor(tmp_path, TASKFLOW_PUBLIC_URL="http://tasks.invalid")
        assert states(found["public url"]) == ["warning", "warning"]
        assert "https only" in found["public url"][1]["detail"]

    def test_none_although_a_credential_needs_it(self, tmp_path, database_url):
        """The database knows that ID tokens are issued."""
        url = url_of(database_url)
        assert CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=url).code == 0
        assert "public url" not in doctor(tmp_path, DATABASE_URL=url)[1]
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO taskflow_credentials (name, kind, hosts, sealed)"
                " VALUES ('own', 'oidc', '{a.example}', '')"
            )
        code, found = doctor(tmp_path, DATABASE_URL=url)
        assert (code, states(found["public url"])) == (1, ["failed"])
        assert "the credential own" in found["public url"][0]["detail"]


class TestService:
    def test_nodes_with_different_time_zones(self, tmp_path):
        """The service reports the versions of its nodes over HTTP, too."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(open_folder())
            own = {"DATABASE_URL": "", "TASKFLOW_DATA_DIR": str(folder / "data")}
            (tmp_path / "tzdata.zi").write_text("# version 2099a\n")
            server = stack.enter_context(running("serve", tmp_path, **own))
            newer = {**own, "PYTHONTZPATH": str(tmp_path)}
            stack.enter_context(running("worker", tmp_path, **newer))

            def is_reported() -> bool:  # the worker may not have registered yet
                _, found = doctor(tmp_path, url=f"http://127.0.0.1:{server.port}")
                zones = found["time zones"]
                return states(zones) == ["ok", "warning"] and ", 2099a)" in zones[1]["detail"]

            wait_until(is_reported)

    def test_a_healthy_service(self, tmp_path, memory_server):
        code, found = doctor(tmp_path, url=memory_server.url)
        assert code == 0
        for check in ("service", "key", "service clock", "nodes"):
            assert states(found[check]) == ["ok"]

    def test_its_key(self, tmp_path, locked_server):
        code, found = doctor(tmp_path, "--url", locked_server.url)
        assert (code, states(found["service"])) == (1, ["failed"])
        assert "TASKFLOW_API_KEY" in found["service"][0]["advice"]
        code, found = doctor(tmp_path, "--url", locked_server.url, TASKFLOW_API_KEY=KEY)
        assert (code, states(found["service"])) == (0, ["ok"])

    def test_a_service_that_is_missing_or_another(self, tmp_path):
        code, found = doctor(tmp_path, url="http://127.0.0.1:1")
        assert (code, states(found["service"])) == (1, ["failed"])
        code, found = doctor(tmp_path, url="nonsense")
        assert (code, states(found["service"])) == (1, ["failed"])

    def test_no_nodes(self):
        from taskflow.cli.local.checks.running_service import _of_nodes

        assert _of_nodes([]).state == "failed"


def test_json_is_a_finding_a_line(tmp_path):
    ended = CommandLine(tmp_path, url=None).run("doctor", "--json", DATABASE_URL="memory://")
    assert list(json.loads(ended.lines[0])) == ["check", "state", "detail", "advice"]


class TestEgressProxy:
    """The proxy is asked for a target that does not exist; its password is never shown."""

    @staticmethod
    def findings(folder, url, **environ):
        _, found = doctor(folder, TASKFLOW_EGRESS_PROXY=url, **environ)
        return found["egress proxy"]

    @pytest.fixture
    def proxy(self):
        """A proxy that answers CONNECT with the status in ``answers``."""
        with Refusing() as server:
            yield server

    def test_it_answers(self, tmp_path, proxy):
        [finding] = self.findings(tmp_path, proxy.url.replace("//", "//me:hidden@"))
        assert finding["state"] == "ok"
        assert finding["detail"] == f"{proxy.url} answers"
        assert proxy.heads[0].startswith(b"CONNECT doctor.taskflow.invalid:443 ")

    def test_wrong_credentials(self, tmp_path, proxy):
        proxy.status = 407
        [finding] = self.findings(tmp_path, proxy.url.replace("//", "//me:hidden@"))
        assert finding["state"] == "failed"
        assert "credentials" in finding["detail"]
        assert "hidden" not in str(finding)

    def test_it_is_not_there(self, tmp_path):
        [finding] = self.findings(tmp_path, "http://me:hidden@127.0.0.1:1")
        assert finding["state"] == "failed"
        assert "Connection refused" in finding["detail"]
        assert "hidden" not in str(finding)

    @pytest.mark.parametrize(
        ("url", "rule", "state"),
        [
            ("ftp://hidden@a", "a", "failed"),
            ("http://a", "http://a", "failed"),
            ("", "a", "warning"),
        ],
    )
    def test_invalid(self, tmp_path, url, rule, state):
        [finding] = self.findings(tmp_path, url, TASKFLOW_EGRESS_NO_PROXY=rule)
        assert finding["state"] == state
        assert "TASKFLOW_EGRESS" in finding["detail"]
        assert "hidden" not in str(finding)

    def test_proxies_of_queues(self, tmp_path, proxy, database_url):
        """Each is checked once, whichever queues have it."""
        own = proxy.url.replace("//", "//me:hidden@")
        proxies = {"a": own, "b": own, "c": "http://me:hidden@127.0.0.1:1", "d": "direct"}
        proxies["e"] = "http://$encrypted:QUJD@proxy.example"
        url = url_of(database_url)
        assert CommandLine(tmp_path, url=None).run("migrate", DATABASE_URL=url).code == 0
        with psycopg.connect(database_url) as connection:
            for name, value in proxies.items():
                connection.execute(
                    "INSERT INTO taskflow_queues (name, settings, paused, is_limited) "
                    "VALUES (%s, %s::json, false, false)",
                    (name, json.dumps({"egress_proxy": value})),
                )
        _, found = doctor(tmp_path, DATABASE_URL=url)
        working, dead, changed = found["queue proxy"]
        assert states([working, dead, changed]) == ["ok", "failed", "failed"]
        assert changed["detail"].startswith("queue e: ")
        assert working["detail"] == f"2 queues, such as a: {proxy.url} answers"
        assert dead["detail"].startswith("queue c: http://127.0.0.1:1: ")
        assert len(proxy.heads) == 1
        assert "hidden" not in str(found)


class Refusing(SocketServer):
    """A proxy that connects to nothing."""

    def __init__(self) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.status = 502
        self.heads: list[bytes] = []

    def serve(self, connection: socket.socket) -> None:
        self.heads.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 %d No\r\n\r\n" % self.status)
