"""compose.yaml: one command, safe as it is."""

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
from taskflow.store.embedded.account import account_for
from taskflow.store.embedded.binaries import locate_binaries, reachable_binaries
from tests.deploy.dockerfile import stages
from tests.deploy.shutdown import fits
from tests.folders import open_folder
from tests.service.processes import REPOSITORY, running, wait_until

COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
OURS = ("taskflow", "worker")
LAST = stages()[-1]


def test_only_this_machine_is_served():
    """Nothing is published but the service, and that on the loopback address."""
    published = [port for one in SERVICES.values() for port in one.get("ports", ())]
    assert published == ["127.0.0.1:8080:8080"]
    assert COMPOSE["networks"]["database"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert SERVICES["credentials"]["network_mode"] == "none"


@pytest.mark.parametrize("name", OURS)
def test_nodes_may_do_little_and_end_in_order(name):
    """They write nothing, get no privileges, and have the time that a shutdown takes."""
    service = SERVICES[name]
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


def test_there_is_no_password_in_it():
    """It is in a file, for PostgreSQL and for libpq."""
    assert not re.search(r"PASSWORD(?!_FILE)", (REPOSITORY / "compose.yaml").read_text("utf-8"))
    for name in OURS:
        url = urlsplit(SERVICES[name]["environment"]["DATABASE_URL"])
        assert (url.hostname, url.username, url.password) == ("postgres", "taskflow", None)


@pytest.fixture
def folder():
    with open_folder() as folder:
        yield folder


def make_credentials(folder: Path, user: str) -> dict[str, Path]:
    """Run what the service ``credentials`` runs, in another folder and for other users."""
    [script] = SERVICES["credentials"]["command"]
    assert f"chown {LAST.uid} pgpass.new" in script
    script = script.replace("/run/credentials", str(folder)).replace("$$", "$")
    script = script.replace(f"chown {LAST.uid}", "chown $(id -u)").replace(
        "chown postgres", f"chown {user}"
    )
    subprocess.run([*SERVICES["credentials"]["entrypoint"], script], check=True)
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
