"""Starts ``python -m taskflow`` and Hypercorn by forking a process that has imported them already.

An interpreter that imports TaskFlow takes most of a second of CPU, and the tests start more than a
thousand. One process for each run of pytest, the template, imports everything once, starts no
thread, and forks for each start. What comes of it is a process of its own, a child of the one that
runs the tests, with the arguments, environment, working directory and files that it was given.

A main process starts its own processes in the same way: ``serve --processes`` from a fork of itself
that it makes first, Hypercorn by forking itself, which has one thread.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import multiprocessing.util
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
ARGUMENTS = [sys.executable, "-m", "taskflow"]
MODULES = ("taskflow", "hypercorn")
TEMPLATE_NAME = "template"
_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
# An interpreter reads these when it starts: a process with others of them is started anew,
# except for those that a fork applies itself.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
_APPLIED_BY_FORK = (
    *("PYTHONPATH", "PYTHONWARNINGS", "PYTHONTZPATH"),
    *("PYTHONUNBUFFERED", "PYTHONIOENCODING"),
)
_CERTIFICATES = {"SSL_CERT_FILE", "SSL_CERT_DIR"}
_MAX_MESSAGE_BYTES = 2**20
_INPUT: Any = sys.__stdin__  # of the template: with the encoding of its locale
_spawn = multiprocessing.util.spawnv_passfds
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Popen(subprocess.Popen):
    """``subprocess.Popen``, which forks the template where that makes no difference.

    Args:
        arguments: As there.
        closed: The standard streams that the process starts without, as after ``>&-`` in a shell.
        options: As there.

    A ``preexec_fn`` together with ``start_new_session`` has to be one that makes the standard input
    the controlling terminal.
    """

    def __init__(self, arguments: Any, *, closed: Sequence[int] = (), **options: Any) -> None:
        self._closed = closed
        super().__init__(arguments, **options)

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
            assert not self._closed
            super()._execute_child(args, executable, preexec_fn, *rest)
            return
        start = args.index("-m") + 1
        files = [given["p2cread"], given["c2pwrite"], given["errwrite"]]
        files = [number if file == -1 else file for number, file in enumerate(files)]
        wanted = {
            "module": args[start],
            "arguments": [os.fspath(argument) for argument in args[start + 1 :]],
            "cwd": os.fspath(given["cwd"] or Path.cwd()),
            "environ": dict(os.environ if given["env"] is None else given["env"]),
            "files": [0, 1, 2, *given["pass_fds"]],
            "closed": self._closed,
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
    """``subprocess.run`` with both outputs captured, unless they go elsewhere."""
    pipe = subprocess.PIPE
    files = {"stdin": subprocess.DEVNULL if stdin is None else pipe, "stdout": pipe, "stderr": pipe}
    with Popen(arguments, **{**files, **options}) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def _template_for(arguments: Any, environ: Any) -> Template | None:
    if not _is_ours(arguments):
        return None
    if _own:
        return _own[0]
    if environ is None or not sys.platform.startswith("linux"):
        return None
    # Another version, or a library such as libfaketime that has to be loaded first.
    if not environ.get("PYTHONPATH", "").endswith(str(REPOSITORY)):
        return None
    if _start_environ(environ) != _start_environ(os.environ):
        return None
    return _template()


def _is_ours(arguments: Any) -> bool:
    if not isinstance(arguments, list) or arguments[0] != sys.executable:
        return False
    arguments = [argument for argument in arguments[1:3] if argument != "-P"] + arguments[3:]
    return arguments[0] == "-m" and arguments[1] in MODULES


def _start_environ(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_READ_AT_START) and name not in _APPLIED_BY_FORK
    }


_templates: list[Template] = []
_own: list[Template] = []  # of a process that starts processes of its own
_lock = threading.Lock()


def _template() -> Template:
    with _lock:
        if not _templates:
            _templates.append(Template())
        return _templates[0]


class Template:
    """The process that is forked."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            cwd="/",
            stdin=subprocess.DEVNULL,
            env={**plain, **_start_environ(os.environ), "PYTHONPATH": str(REPOSITORY)},
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


class OwnTemplate(Template):
    """A fork of this process, made before it runs anything; it ends with this process."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            self._ours.close()
            for number in _SIGNALS:  # those to the whole terminal
                signal.signal(number, signal.SIG_IGN)
            _name_process(TEMPLATE_NAME)
            _serve(theirs)
        theirs.close()


def _adopt(*, is_wanted: bool) -> None:
    """Become the parent of orphans below this process, or leave them to init."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_wanted), 0, 0, 0)


def _name_process(name: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _serve(requests: socket.socket) -> None:
    """Fork for each request, until the other end is closed."""
    while True:
        text, files, _, _ = socket.recv_fds(requests, _MAX_MESSAGE_BYTES, 16)
        if not text:
            os._exit(0)
        answering, answered = os.pipe()
        if (between := os.fork()) == 0:
            # Its child is an orphan when it ends, and so goes to the process that runs the tests.
            between = os.getpid()
            pid = os.fork()
            if pid == 0:
                while os.getppid() == between:
                    time.sleep(0.0001)
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
    import pkgutil

    import taskflow

    others = ("taskflow.__main__", "taskflow.tracing.otel", "taskflow.mcp_server.sdk.")
    for module in pkgutil.walk_packages(taskflow.__path__, "taskflow."):
        if not module.name.startswith(others):
            importlib.import_module(module.name)
    importlib.import_module("httpcore")
    importlib.import_module("hypercorn.run")
    _compile_rules()
    gc.freeze()


def _compile_rules() -> None:
    import trio

    from taskflow.api.app import create_app
    from taskflow.fetch.dialing import default_ssl_context
    from taskflow.model.masking import Masking
    from taskflow.settings import Settings
    from taskflow.settings.documentation import catalogue
    from taskflow.store.memory.store import MemoryStore
    from tests.routing import keep_rules

    async def create() -> None:
        store = MemoryStore(max_per_host=1, masking=Masking(()))
        create_app(store, Settings(), lambda: True, None)

    catalogue()
    keep_rules()
    trio.run(create)
    default_ssl_context()


def _become(wanted: dict[str, Any], files: list[int]) -> None:
    """Run the module in this process, as an interpreter of its own would."""
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _name_process("python")
        _take(files, wanted["files"])
        for number in wanted["closed"]:
            os.close(number)
        if wanted["has_session"]:
            os.setsid()
        if wanted["has_terminal"]:
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.chdir(wanted["cwd"])
        os.environ.clear()
        os.environ.update(wanted["environ"])
        _apply_warnings()
        _customize()
        sys.stdin, sys.stdout, sys.stderr = map(_stream, range(3))
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
        time.tzset()
        zoneinfo.reset_tzpath()
        _forget_authorities()
        sys.path[0] = str(Path.cwd())
        sys.argv = ["-m", *wanted["arguments"]]
        _fork_processes(sys.argv)
        code = _run_main(wanted["module"])
    except BaseException:  # noqa: BLE001 - none of it may get into the template
        traceback.print_exc()
        code = 1
    _exit(code)


def _forget_authorities() -> None:
    """Let this process read the certificate authorities again, if its environment names them."""
    from taskflow.fetch.dialing import default_ssl_context

    if not _CERTIFICATES.isdisjoint(os.environ):
        default_ssl_context.cache_clear()


def _fork_processes(arguments: list[str]) -> None:
    """Have the processes that this one starts forked, too."""
    multiprocessing.util.spawnv_passfds = _fork_spawned
    _own.clear()
    if "--processes" in arguments and "--channel" not in arguments:
        _own.append(OwnTemplate())
        subprocess.Popen = Popen


def _fork_spawned(program: Any, arguments: list[Any], files: Any) -> int:
    """Fork instead of starting an interpreter for a process of multiprocessing."""
    command = [os.fsdecode(argument) for argument in arguments]
    if not any("spawn_main" in argument for argument in command):
        return _spawn(program, arguments, files)
    if (pid := os.fork()) == 0:
        _exit(_run_spawned(command, files))
    return pid


def _run_spawned(arguments: list[str], files: Any) -> int:
    """Run its command with these files only, and with the signals that a new interpreter has."""
    for number in _SIGNALS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    kept = {0, 1, 2, *map(int, files)}
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)
    place = arguments.index("-c") + 1
    sys.argv = ["-c", *arguments[place + 1 :]]
    resource_tracker._resource_tracker._pid = None
    return _code_of(lambda: exec(arguments[place], {}))


def _run_main(module: str) -> int:
    return _code_of(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))


def _code_of(main: Callable[[], object]) -> int:
    try:
        main()
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
    except BaseException:  # noqa: BLE001 - none of it may get into the process that was forked
        traceback.print_exc()
        return 1
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


def _stream(number: int) -> io.TextIOWrapper | None:
    """Return a standard stream as the interpreter opens it."""
    try:
        os.fstat(number)
    except OSError:  # closed
        return None
    is_input, is_error = number == 0, number == 2
    is_buffered = is_input or not os.environ.get("PYTHONUNBUFFERED")
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    if not encoding:
        encoding, errors = _INPUT.encoding, errors or _INPUT.errors
    mode = "rb" if is_input else "wb"
    return io.TextIOWrapper(
        open(number, mode, buffering=-1 if is_buffered else 0, closefd=False),
        encoding,
        "backslashreplace" if is_error else errors or "strict",
        line_buffering=is_buffered and (is_error or os.isatty(number)),
        write_through=not is_buffered,
    )


def _customize() -> None:
    """Run the ``sitecustomize`` of a folder before this repository in PYTHONPATH."""
    if folders := os.environ["PYTHONPATH"].split(os.pathsep)[:-1]:
        sys.path[1:1] = folders
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")


def _apply_warnings() -> None:
    """Filter warnings by PYTHONWARNINGS, as the interpreter does at its start."""
    sys.warnoptions[:] = filter(None, os.environ.get("PYTHONWARNINGS", "").split(","))
    warnings._processoptions(sys.warnoptions)


if __name__ == "__main__":
    sys.path[0] = str(REPOSITORY)
    _import_all()
    _serve(socket.socket(fileno=int(sys.argv[1])))
