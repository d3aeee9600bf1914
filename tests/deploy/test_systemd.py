"""The systemd unit: systemd takes it as it is, and finds it safe."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.deploy.shutdown import fits
from tests.service.processes import REPOSITORY

UNIT = REPOSITORY / "docs" / "deploy" / "taskflow.service"
COMMAND = "/opt/taskflow/bin/taskflow"
# Out of 100, by systemd's own count; the service of a distribution has about 90.
MAX_EXPOSED = "20"


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def value(name: str) -> str:
    """What the unit sets, once."""
    [found] = re.findall(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    return found


def test_systemd_understands_it(tmp_path):
    """Every line, when there is a program; nothing is passed over with a warning."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace(COMMAND, sys.executable))
    ended = analyze("verify", "--recursive-errors=no", unit)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    unit.write_text(unit.read_text("utf-8").replace("ProtectSystem", "ProtectSystems"))
    assert "ProtectSystems" in analyze("verify", "--recursive-errors=no", unit).stderr


def test_it_may_do_little():
    """By systemd's own measure."""
    ended = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSED}", UNIT)
    assert ended.returncode == 0, ended.stdout


def test_systemd_stops_it_in_order():
    """The signal goes to TaskFlow, which has the time that it takes; bad settings are final."""
    assert (value("KillMode"), value("Restart")) == ("mixed", "on-failure")
    assert fits(int(value("TimeoutStopSec")))
    assert value("RestartPreventExitStatus") == "2"
    assert value("ExecStart") == f"{COMMAND} serve"
