"""Starts ``python -m taskflow`` by forking a process that has imported it already.

An interpreter that imports TaskFlow takes most of a second of CPU, and the tests start more than a
thousand. One process for each run of pytest, the template, imports everything once, starts no
thread, and forks for each start. What comes of it is a process of its own, a child of the one that
runs the tests, with the arguments, environment, working directory and files that it was given.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
ARGUMENTS = [sys.executable, "-m", "taskflow"]
_PR_SET_CHILD_SUBREAPER = 36
# An interpreter reads these when it starts: a process with others of them is started anew.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
_MAX_MESSAGE_BYTES = 2**20
_MAX_TEMPLATES = 3


class Popen(subprocess.Popen):
    """``subprocess.Popen``, which forks the template where that makes no difference.

    A ``preexec_fn`` together with ``start_new_session`` has to be one that makes the standard input
    the controlling terminal.
    """

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *rest: Any) -> None:
        names = (
            *("close_fds", "pass_fds", "cwd", "env", "startupinfo", "creationflags", "shell"),
            *("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"),
            *("restore_signals", "gid", "gids", "uid", "umask", "start_new_session"),
        )
        given = dict(zip(names, rest, strict=False))
        has_session = bool(given["start_new_session"])
        template = None if preexec_fn and not has_session else _template_for(args, given["env"])
        if template is None:
            super()._execute_child(args, executable, preexec_fn, *rest)
            return
        files = [given["p2cread"], given["c2pwrite"], given["errwrite"]]
        files = [number if file == -1 else file for number, file in enumerate(files)]
        wanted = {
            "arguments": [os.fspath(argument) for argument in args[len(ARGUMENTS) :]],
            "cwd": os.fspath(given["cwd"] or Path.cwd()),
            "environ": dict(given["env"]),
            "files": [0, 1, 2, *given["pass_fds"]],
            "has_terminal": preexec_fn is not None,
            "has_session": has_session,
        }
        try:
            self.pid = template.start(wanted, [*files, *given["pass_fds"]])
            self._child_created = True
        finally:
            self._close_pipe_fds(*(given[name] for name in names[7:13]))


def run(
    arguments: Any, *, stdin: bytes | None = None, timeout: float, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """``subprocess.run`` with both outputs captured."""
    pipe = subprocess.PIPE
    with Popen(
        arguments,
        stdin=subprocess.DEVNULL if stdin is None else pipe,
        stdout=pipe,
        stderr=pipe,
        **options,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def _template_for(arguments: Any, environ: Any) -> Template | None:
    is_ours = isinstance(arguments, list) and arguments[: len(ARGUMENTS)] == ARGUMENTS
    if not is_ours or environ is None or not sys.platform.startswith("linux"):
        return None
    # Another version, or a library such as libfaketime that has to be loaded first.
    if environ.get("PYTHONPATH") != str(REPOSITORY) or "LD_PRELOAD" in environ:
        return None
    return _template(_start_environ(environ))


def _start_environ(environ: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in environ.items() if item[0].startswith(_READ_AT_START)))


_templates: dict[tuple[tuple[str, str], ...], Template] = {}
_lock = threading.Lock()


def _template(start_environ: tuple[tuple[str, str], ...]) -> Template | None:
    """The template for an environment; only the first of them get one."""
    with _lock:
        if start_environ not in _templates and len(_templates) < _MAX_TEMPLATES:
            _templates[start_environ] = Template(dict(start_environ))
        return _templates.get(start_environ)


class Template:
    """The process that is forked."""

    def __init__(self, start_environ: dict[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            cwd="/",
            env={**plain, **start_environ, "PYTHONPATH": str(REPOSITORY)},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._owner = os.getpid()
        atexit.register(self._close)

    def start(self, wanted: dict[str, Any], files: list[int]) -> int:
        """Start a process with these files; return its id. It is a child of the caller."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
        with _lock:
            _adopt(is_wanted=True)
            try:
                self._ours.sendmsg([json.dumps(wanted).encode()], ancillary)
                return int(self._ours.recv(64))
            finally:
                _adopt(is_wanted=False)

    def _close(self) -> None:
        if os.getpid() == self._owner:
            self._ours.close()
            self._process.wait()


def _adopt(*, is_wanted: bool) -> None:
    """Become the parent of orphans below this process, or leave them to init."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_wanted), 0, 0, 0)


def _serve(requests: socket.socket) -> None:
    """Fork for each request, until the other end is closed."""
    _import_all()
    while True:
        text, files, _, _ = socket.recv_fds(requests, _MAX_MESSAGE_BYTES, 16)
        if not text:
            os._exit(0)
        answering, answered = os.pipe()
        if (between := os.fork()) == 0:
            # Its child is an orphan when it ends, and so goes to the process that runs the tests.
            pid = os.fork()
            if pid == 0:
                os.close(answering)
                os.close(answered)
                requests.close()
                _become(json.loads(text), files)
            os.write(answered, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)
        requests.send(os.read(answering, 64))
        for file in (answering, answered, *files):
            os.close(file)


def _import_all() -> None:
    import importlib
    import pkgutil

    import taskflow

    for module in pkgutil.walk_packages(taskflow.__path__, "taskflow."):
        if module.name not in ("taskflow.__main__", "taskflow.tracing.otel"):
            importlib.import_module(module.name)
    gc.freeze()


def _become(wanted: dict[str, Any], files: list[int]) -> None:
    """Run ``python -m taskflow`` in this process, as an interpreter of its own would."""
    try:
        _take(files, wanted["files"])
        if wanted["has_session"]:
            os.setsid()
        if wanted["has_terminal"]:
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.chdir(wanted["cwd"])
        os.environ.clear()
        os.environ.update(wanted["environ"])
        encoding = sys.stdout.encoding  # of the template, which has the same PYTHON* variables
        sys.stdin, sys.stdout, sys.stderr = (_stream(number, encoding) for number in range(3))
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
        time.tzset()
        sys.path[0] = str(Path.cwd())
        sys.argv = ["-m", *wanted["arguments"]]
        code = _run_main()
    except BaseException:  # noqa: BLE001 - none of it may get into the template
        traceback.print_exc()
        code = 1
    _exit(code)


def _run_main() -> int:
    try:
        runpy.run_module("taskflow", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 0


def _exit(code: int) -> None:
    """End as an interpreter does: threads are waited for, handlers run, streams are flushed."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or 120
    os._exit(code & 255)


def _take(files: list[int], numbers: list[int]) -> None:
    """Give files that were received the numbers that they are wanted at."""
    high = [os.dup2(file, 200 + place) for place, file in enumerate(files)]
    for file in files:
        os.close(file)
    for file, number in zip(high, numbers, strict=True):
        os.dup2(file, number, inheritable=True)
        os.close(file)


def _stream(number: int, encoding: str) -> Any:
    """Return a standard stream as the interpreter opens it."""
    is_input, is_error = number == 0, number == 2
    is_terminal = os.isatty(number)
    return open(
        number, "r" if is_input else "w", encoding=encoding, closefd=False,
        errors="backslashreplace" if is_error else "strict",
        buffering=1 if is_terminal or is_error else -1,
    )  # fmt: skip


if __name__ == "__main__":
    sys.path[0] = str(REPOSITORY)
    _serve(socket.socket(fileno=int(sys.argv[1])))
