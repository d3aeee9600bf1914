"""The files for Docker Compose: one command, safe as they are."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import yaml

from taskflow.settings import catalogue
from taskflow.store.embedded.account import account_for, make_folder
from taskflow.store.embedded.binaries import locate_binaries, reachable_binaries
from tests.deploy.dockerfile import stages
from tests.deploy.shutdown import fits
from tests.folders import open_folder
from tests.replicas import primary_in
from tests.service.processes import REPOSITORY, running, wait_until

HA = REPOSITORY / "docs" / "deploy" / "ha"
FILES = {"one server": REPOSITORY / "compose.yaml", "three servers": HA / "compose.yaml"}
COMPOSE = {name: yaml.safe_load(file.read_text("utf-8")) for name, file in FILES.items()}
SERVICES = COMPOSE["one server"]["services"]
LAST = stages()[-1]
# What has TaskFlow in it, and the servers that it uses.
OURS = {"one server": ("taskflow", "worker"), "three servers": ("taskflow1", "taskflow2")}
DATABASES = {
    "one server": ("postgres",),
    "three servers": ("postgres1", "postgres2", "postgres3"),
}
PUBLISHED = {
    "one server": ["127.0.0.1:8080:8080"],
    "three servers": ["127.0.0.1:8081:8080", "127.0.0.1:8082:8080"],
}
NODES = [(name, service) for name, services in OURS.items() for service in services]


@pytest.mark.parametrize("name", FILES)
def test_only_this_machine_is_served(name):
    """Nothing is published but the service, and that on the loopback address."""
    services = COMPOSE[name]["services"]
    published = [port for one in services.values() for port in one.get("ports", ())]
    assert published == PUBLISHED[name]
    assert COMPOSE[name]["networks"]["database"] == {"internal": True}
    others = services.keys() - {*OURS[name], "credentials"}
    assert {tuple(services[other]["networks"]) for other in others} == {("database",)}
    assert services["credentials"]["network_mode"] == "none"


@pytest.mark.parametrize(("name", "node"), NODES)
def test_nodes_may_do_little_and_end_in_order(name, node):
    """They write nothing, get no privileges, and have the time that a shutdown takes."""
    service = COMPOSE[name]["services"][node]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert fits(int(service["stop_grace_period"].removesuffix("s")))
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["restart"] == "unless-stopped"
    known = {setting.variable for setting in catalogue()}
    assert set(service["environment"]) <= known


def test_the_worker_only_works():
    """What the image is given in place of ``serve``; it cannot be asked how it is."""
    assert LAST.words("CMD") == ["serve"]
    assert SERVICES["worker"]["command"] == ["worker"]
    assert SERVICES["worker"]["healthcheck"] == {"disable": True}


@pytest.mark.parametrize(("name", "node"), NODES)
def test_there_is_no_password_in_it(name, node):
    """It is in a file, for PostgreSQL and for libpq; the URL has all servers."""
    assert not re.search(r"PASSWORD(?!_FILE)", FILES[name].read_text("utf-8"))
    url = urlsplit(COMPOSE[name]["services"][node]["environment"]["DATABASE_URL"])
    assert (url.username, url.password) == ("taskflow", None)
    hosts = url.netloc.rpartition("@")[2].split(",")
    assert hosts == [f"{server}:5432" for server in DATABASES[name]]


class TestPatroni:
    """The three servers of docs/deploy/ha."""

    SERVICES = COMPOSE["three servers"]["services"]
    CONFIGURATION = yaml.safe_load((HA / "patroni.yml").read_text("utf-8"))

    def test_each_server_has_its_own_name_address_and_data(self):
        seen = set()
        for name in DATABASES["three servers"]:
            service = self.SERVICES[name]
            assert service["environment"] == {
                "PATRONI_NAME": name,
                "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"{name}:5432",
                "PATRONI_RESTAPI_CONNECT_ADDRESS": f"{name}:8008",
            }
            data, credentials = service["volumes"]
            assert (credentials, data.partition(":")[2]) == (
                "credentials:/run/credentials:ro",
                "/var/lib/postgresql",
            )
            seen.add(data)
        assert len(seen) == 3
        folder = self.CONFIGURATION["postgresql"]["data_dir"]
        assert folder.startswith("/var/lib/postgresql/")

    def test_each_etcd_knows_the_others(self):
        hosts = [host.partition(":")[0] for host in self.CONFIGURATION["etcd3"]["hosts"]]
        for host in hosts:
            environment = self.SERVICES[host]["environment"]
            assert environment["ETCD_NAME"] == host
            for name in ("ADVERTISE_CLIENT", "INITIAL_ADVERTISE_PEER"):
                assert urlsplit(environment[f"ETCD_{name}_URLS"]).hostname == host
            members = environment["ETCD_INITIAL_CLUSTER"].split(",")
            assert members == [f"{one}=http://{one}:2380" for one in hosts]

    def test_no_failover_loses_an_acknowledged_commit(self):
        stored = self.CONFIGURATION["bootstrap"]["dcs"]
        assert stored["synchronous_mode"] == "quorum"
        assert stored["synchronous_mode_strict"] is True
        assert stored["synchronous_node_count"] == 1
        parameters = stored["postgresql"]["parameters"]
        for name in ("synchronous_commit", "fsync", "full_page_writes"):
            assert parameters[name] == "on"  # a string: in YAML, on alone is true

    def test_every_login_needs_a_password(self):
        rules = [rule.split() for rule in self.CONFIGURATION["postgresql"]["pg_hba"]]
        assert {rule[-1] for rule in rules} == {"scram-sha-256"}
        assert {"taskflow", "replicator", "postgres"} == {rule[2] for rule in rules}

    def test_the_database_is_created(self, folder):
        """By the script, with the password of the file, on a real server."""
        make_folder(folder / "credentials")
        (folder / "credentials" / "password").write_text('it\'s "s3cret"\n')
        script = (HA / "create-database.sh").read_text("utf-8")
        script = script.replace("/run/credentials", str(folder / "credentials"))
        with primary_in(folder, user="postgres") as server:
            programs = locate_binaries().program("psql").parent
            path = f"{programs}:/usr/bin:/bin"
            command = ["sh", "-c", script, "create-database.sh", server.conninfo]
            subprocess.run(command, check=True, env={"PATH": path}, capture_output=True)
            with psycopg.connect(server.conninfo) as connection:
                query = "SELECT pg_has_role('taskflow', 'pg_monitor', 'MEMBER')"
                assert connection.execute(query).fetchone() == (True,)
            with psycopg.connect(server.conninfo_of("taskflow")) as connection:
                assert connection.info.parameter_status("server_encoding") == "UTF8"

    def test_the_passwords_are_made_once(self, folder):
        """For the servers, and for TaskFlow, which reads the last one."""
        files = make_credentials(folder, "root", COMPOSE["three servers"]["services"])
        passwords = {name: (folder / name).read_text() for name in ("superuser", "replication")}
        passwords["taskflow"] = files["password"].read_text()
        assert len(set(passwords.values())) == 3
        expected = f"*:*:taskflow:taskflow:{passwords['taskflow']}"
        assert files["pgpass"].read_text() == expected


class TestHaproxy:
    TEXT = (HA / "haproxy.cfg").read_text("utf-8")

    def test_it_sends_clients_to_the_server_that_has_the_lock(self):
        servers = re.findall(r"^    server (\S+) (\S+)$", self.TEXT, re.MULTILINE)
        assert servers == [(name, f"{name}:5432") for name in DATABASES["three servers"]]
        [port] = re.findall(r"check port (\d+)", self.TEXT)
        assert TestPatroni.CONFIGURATION["restapi"]["listen"].endswith(f":{port}")
        assert "httpchk OPTIONS /primary" in self.TEXT
        assert "on-marked-down shutdown-sessions" in self.TEXT

    def test_only_this_machine_is_served(self):
        assert re.findall(r"bind (\S+)", self.TEXT) == ["127.0.0.1:5000"]


def test_cloudnativepg_confirms_commits_on_a_standby():
    cluster = yaml.safe_load((HA / "cloudnativepg.yaml").read_text("utf-8"))
    spec = cluster["spec"]
    assert spec["instances"] == 3
    synchronous = spec["postgresql"]["synchronous"]
    assert (synchronous["number"], synchronous["dataDurability"]) == (1, "required")
    assert spec["postgresql"]["parameters"]["synchronous_commit"] == "on"
    guide = (REPOSITORY / "docs" / "how-to" / "high-availability.md").read_text("utf-8")
    assert f"name: {cluster['metadata']['name']}-app, key: uri" in guide


@pytest.fixture
def folder():
    with open_folder() as folder:
        yield folder


def make_credentials(folder: Path, user: str, services=SERVICES) -> dict[str, Path]:
    """Run what the service ``credentials`` runs, in another folder and for other users."""
    [script] = services["credentials"]["command"]
    assert f"chown {LAST.uid} pgpass.new" in script
    script = script.replace("/run/credentials", str(folder)).replace("$$", "$")
    script = script.replace(f"chown {LAST.uid}", "chown $(id -u)").replace(
        "chown postgres", f"chown {user}"
    )
    subprocess.run([*services["credentials"]["entrypoint"], script], check=True)
    return {name: folder / name for name in ("password", "pgpass")}


def test_the_password_lets_taskflow_in(folder, tmp_path):
    """Made once, for nobody else to read; PostgreSQL takes it, and libpq finds it."""
    account = account_for(folder / "pgdata")
    shutil.chown(folder, account.uid, account.gid)
    files = make_credentials(folder, str(account.uid))
    output = [file.read_text() for file in files.values()]
    assert [file.stat().st_mode & 0o777 for file in files.values()] == [0o600, 0o600]
    assert len(output[0].strip()) == 32
    make_credentials(folder, str(account.uid))
    assert [file.read_text() for file in files.values()] == output

    with PasswordServer(folder, account, files["password"]) as port:
        url = SERVICES["taskflow"]["environment"]["DATABASE_URL"]
        [passfile] = parse_qs(urlsplit(url).query)["passfile"]
        url = url.replace(passfile, str(files["pgpass"])).replace(":5432", f":{port}")
        here = url + "&hostaddr=127.0.0.1"
        with psycopg.connect(here, dbname="postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE taskflow")
        with running("serve", tmp_path, DATABASE_URL=here) as node:
            assert node.ask("GET", "/readyz").status == 200
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(here.replace(str(files["pgpass"]), "/nowhere"))


class PasswordServer:
    """A PostgreSQL that listens on the loopback address, and wants the password."""

    def __init__(self, folder: Path, account, password: Path) -> None:
        self._account = account
        self._data = folder / "pgdata"
        self._binaries = reachable_binaries(locate_binaries(), account, folder)
        self._run("initdb", "-A", "scram-sha-256", "-U", "taskflow", f"--pwfile={password}", "-N")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]

    def __enter__(self) -> int:
        self._process = subprocess.Popen(
            [
                self._binaries.program("postgres"),
                *("-D", self._data, "-p", str(self._port), "-h", "127.0.0.1", "-k", self._data),
            ],
            stderr=subprocess.DEVNULL,
            **self._account.process_arguments(),
        )
        ready = self._data / "postmaster.pid"
        wait_until(lambda: ready.exists() and "ready" in ready.read_text())
        return self._port

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries.program(program), "-D", self._data, *arguments],
            check=True,
            capture_output=True,
            **self._account.process_arguments(),
        )
