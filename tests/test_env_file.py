"""``.env`` that cannot be read, or says what is no setting: one line, for every command alike."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from taskflow.env_file import MAX_BYTES, read_env_file
from taskflow.model.errors import SettingsError
from tests.cli.command import CommandLine
from tests.service.processes import HYPERCORN, clean_environ

SECRET = "hunter2"
UNPRIVILEGED_UID = 65534


def folder(path):
    path.mkdir()


def dangling(path):
    path.symlink_to("nowhere")


def loop(path):
    path.symlink_to(path.name)


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)
        one.bind(path.name)


def huge(path):
    path.write_bytes(b"#" * (MAX_BYTES + 1))


KINDS = [
    (folder, "is a folder"),
    (dangling, "is a link to a file that does not exist"),
    (loop, "cannot be read"),
    (pipe, "is a named pipe"),
    (device, "is a device"),
    (unix_socket, "is a device or a socket"),
    (huge, "is larger than 1 MiB"),
]
TEXTS = [
    (b"DATABASE_URL: memory://hunter2", 1),
    (b"A=1\n\n# comment\n\n  DATABASE_URL: memory://hunter2\nB=2\n", 5),
    (b"A=1\r\nDATABASE_URL:postgresql://me:hunter2@x/y?a=b\r\n", 2),
    (b"DATABASE_URL memory://hunter2", 1),
    (b"A=1\nDATABASE_URL", 2),
    (b"export DATABASE_URL", 1),
    (b"=hunter2", 1),
    (b'A=1\n{"DATABASE_URL": "hunter2"}\n', 2),
    (b"A=1\n- DATABASE_URL=hunter2\n", 2),
    (b"[taskflow]\nA=hunter2\n", 1),
    (b"<<<<<<< HEAD\nA=hunter2\n", 1),
    (b"set A=hunter2", 1),
    (b"$env:A=hunter2", 1),
    (b'A=1\nB="hunter2\nC=3\n', 2),
    (b"A=1\nB='hunter2\nC=3\n", 2),
    (b'A="hunter2" more\n', 1),
    (b'A=1\nB="x\nC="y"\n', 2),
    (b"A=1\nB=caf\xe9hunter2\n", 2),
    (b"\xef\xbb\xbfA=1\n\xff\n", 2),
    (b"A=1\nB=\0hunter2\n", 2),
    (b"A=1\ndatabase_url=memory://hunter2\n", 2),
    (b"A=1\n\nTASKFLOW-API-KEYS=hunter2\n", 3),
    (b"export Taskflow_Workers=hunter2\n", 1),
    (b"taskflow.url=hunter2\n", 1),
    ("A=hunter2\n".encode("utf-16"), None),
    ("A=hunter2\n".encode("utf-16-le"), 1),
]


@pytest.mark.parametrize(("make", "words"), KINDS)
def test_paths_that_are_not_files(tmp_path, monkeypatch, make, words):
    """It does not block, and is not mistaken for a missing file."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / ".env")
    with pytest.raises(SettingsError, match=words) as caught:
        read_env_file(tmp_path / ".env")
    assert str(caught.value).startswith(str(tmp_path / ".env"))


@pytest.mark.parametrize(("text", "line"), TEXTS)
def test_invalid_lines(tmp_path, text, line):
    """The error names the file and the line, without its content."""
    (tmp_path / ".env").write_bytes(text)
    with pytest.raises(SettingsError) as caught:
        read_env_file(tmp_path / ".env")
    output = str(caught.value).removeprefix(str(tmp_path / ".env"))
    assert output.startswith(f", line {line}: " if line else " is UTF-16")
    assert SECRET not in output
    assert "\n" not in output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", {}),
        (b"\xef\xbb\xbfA=1", {"A": "1"}),
        (b"\n# comment\n\nA=1 # comment\n", {"A": "1"}),
        (b"export A=1\r\nexport  B = 2\r\n", {"A": "1", "B": "2"}),
        (b"A=\nB=''\nC=# not a comment", {"A": "", "B": "", "C": "# not a comment"}),
        (b"A='x y'\nB=\"x\\ny\"\nC=x=y", {"A": "x y", "B": "x\ny", "C": "x=y"}),
        (b"A=1\nA=2\n", {"A": "2"}),
        (b"A=1\nB=${A}2\n", {"A": "1", "B": "12"}),
        (b'A="x\ny"\n', {"A": "x\ny"}),
        ("A=żółw\n".encode(), {"A": "żółw"}),
    ],
)
def test_what_is(tmp_path, text, expected):
    """As python-dotenv has it; of a name that is there twice the last one counts."""
    (tmp_path / ".env").write_bytes(text)
    assert read_env_file(tmp_path / ".env") == expected


def test_a_missing_file(tmp_path):
    """The file is optional, and may be a symbolic link."""
    assert read_env_file(tmp_path / ".env") == {}
    (tmp_path / "settings").write_text("A=1")
    (tmp_path / ".env").symlink_to("settings")
    assert read_env_file(tmp_path / ".env") == {"A": "1"}


def test_a_file_that_may_not_be_read(tmp_path):
    """By another user, as whom this is run where the tests run as root."""
    (tmp_path / ".env").write_text("A=1")
    (tmp_path / ".env").chmod(0)
    code = (
        "import os, pathlib; from taskflow.env_file import read_env_file\n"
        f"os.chdir({str(tmp_path)!r})\n"
        f"os.getuid() or os.setuid({UNPRIVILEGED_UID})\n"
        "try: read_env_file(pathlib.Path('.env'))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "SettingsError .env cannot be read: Permission denied\n"


COMMANDS = {
    "serve": ["serve"],
    "worker": ["worker"],
    "migrate": ["migrate"],
    "list": ["list"],
    "submit": ["submit", "http://127.0.0.1:1/"],
    "bench": ["bench"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command(tmp_path, name):
    """One line and exit status 2: nothing starts with other settings than were meant."""
    (tmp_path / ".env").write_text("A=1\nDATABASE_URL: memory://hunter2\n")
    ended = CommandLine(tmp_path, url=None).run(*COMMANDS[name])
    assert (ended.code, ended.out) == (2, "")
    assert ended.complaint == ".env, line 2: not a setting; write NAME=value"


def test_the_doctor(tmp_path):
    """It says so among the other findings."""
    (tmp_path / ".env").mkdir()
    ended = CommandLine(tmp_path, url=None).run("doctor", "--json", DATABASE_URL="memory://")
    assert ended.code == 1
    assert ended.err == ""
    [reported] = [one for one in ended.documents if one["state"] == "failed"]
    assert reported["detail"] == ".env is a folder: it must be a regular file"


def test_hypercorn(tmp_path):
    """The app for Hypercorn says the same line, and the server ends."""
    (tmp_path / ".env").symlink_to("nowhere")
    process = subprocess.Popen(
        [sys.executable, *HYPERCORN, "-b", "127.0.0.1:0"],
        cwd=tmp_path,
        env=clean_environ(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, output = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert process.returncode != 0
    assert "taskflow: .env is a link to a file that does not exist" in output
    assert "Traceback" not in output
