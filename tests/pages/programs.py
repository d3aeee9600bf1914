"""The programs of a page: TaskFlow, forked as ``tests/forking.py`` does it.

A program on the PATH of a page is ``program.py``, which sends its arguments, environment and files
to this process. To import TaskFlow anew would take up to a second of CPU for each command.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests import forking

CLIENT = Path(__file__).with_name("program.py")
_MAX_MESSAGE_BYTES = 2**20


@contextlib.contextmanager
def open_programs(address: Path) -> Iterator[None]:
    """Start what clients ask for at this address of a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(address))
        listening.listen()
        accepting = threading.Thread(target=_accept, args=[listening])
        accepting.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def write_program(path: Path, address: Path, module: str | None = None) -> None:
    """Write a program that runs this module, or a Python, which runs any."""
    client = shlex.join([sys.executable, "-I", "-S", str(CLIENT), str(address)])
    forked = f'exec {client} "$PWD" {module or ""} "$@"'
    modules = "|".join(f'"-m {name}"' for name in forking.MODULES)
    other = f'exec {shlex.quote(sys.executable)} "$@"'
    python = f'case "$1 $2" in {modules}) shift; {forked};; *) {other};; esac'
    path.write_text(f"#!/bin/sh\n{forked if module else python}\n", "utf-8")
    path.chmod(0o755)


def _accept(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # it was shut down
            return
        threading.Thread(target=_serve, args=[connection]).start()


def _serve(connection: socket.socket) -> None:
    """Start a process, pass signals on to it, and send how it ended."""
    with connection:
        text, files, *_ = socket.recv_fds(connection, _MAX_MESSAGE_BYTES, 3)
        wanted = json.loads(text)
        process = forking.Popen(
            [sys.executable, "-m", *wanted["arguments"]],
            **dict(zip(("stdin", "stdout", "stderr"), files, strict=True)),
            cwd=wanted["cwd"],
            env=wanted["environ"],
        )
        for file in files:
            os.close(file)
        waiting = threading.Thread(target=_send_end, args=[process, connection])
        waiting.start()
        with contextlib.suppress(ConnectionError):
            while signal := connection.recv(1):
                process.send_signal(signal[0])
        process.kill()  # if its client was
        waiting.join()


def _send_end(process: forking.Popen, connection: socket.socket) -> None:
    code = process.wait()
    with contextlib.suppress(ConnectionError):
        connection.send(b"%d" % code)
