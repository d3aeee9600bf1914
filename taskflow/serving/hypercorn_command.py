"""The process tree of the ``hypercorn`` command: a main process that starts worker processes.

Called from its worker processes; under ``taskflow serve`` there is no main process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from multiprocessing.synchronize import SemLock
from typing import Any

import hypercorn.trio.run
import psutil
import trio

from taskflow.serving.shutdown import Shutdown


def main_pid() -> int | None:
    """Return the pid of the main process; ``None`` if there is none."""
    main = multiprocessing.parent_process()
    return None if main is None else main.pid


def is_main_ending() -> bool:
    """Return whether the main process is shutting down or has died."""
    main, me = multiprocessing.parent_process(), multiprocessing.current_process()
    if main is None or not main.is_alive():
        return True
    shutdown_event = getattr(me, "_kwargs", {}).get("shutdown_event")
    return shutdown_event is not None and bool(shutdown_event.is_set())


@contextlib.asynccontextmanager
async def shutdown_with_main(shutdown: Shutdown) -> AsyncIterator[None]:
    """Start the shutdown when the main process dies.

    After ``kill -9`` of the main process its workers would otherwise serve, and keep the port, for
    ever.
    """

    async def wait_for_death() -> None:
        if (main := multiprocessing.parent_process()) is not None:
            await trio.lowlevel.wait_readable(main.sentinel)
            shutdown.start()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_death)
        yield
        nursery.cancel_scope.cancel()


def exit_with_failure() -> None:
    """End this worker, the other workers and the command, with a failure status.

    Hypercorn 0.18 exits with status 0 although a worker failed (the last assignment of
    ``exitcode`` in ``hypercorn/run.py``), so supervisors would not restart it. Hence the main
    process is ended by a signal, and the other workers, which would be orphans, are terminated.
    Does nothing outside of the ``hypercorn`` command.
    """
    me: Any = multiprocessing.current_process()
    main = multiprocessing.parent_process()
    if main is None or getattr(me, "_target", None) is not hypercorn.trio.run.trio_worker:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(main.pid)
        for worker in process.children():
            if worker.pid != me.pid:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.terminate()
        _remove_semaphores(me._kwargs["shutdown_event"])  # noqa: SLF001 - there is no other way
        process.send_signal(signal.SIGUSR1)
    os._exit(1)


def _remove_semaphores(event: Any) -> None:
    """Do what the main process does at its normal exit; otherwise Python warns of a leak."""
    for lock in (event._flag, *vars(event._cond).values()):  # noqa: SLF001 - as above
        if semaphore := getattr(lock, "_semlock", None):
            # Another worker that fails at the same moment may have removed it.
            with contextlib.suppress(FileNotFoundError):
                SemLock._cleanup(semaphore.name)  # type: ignore[attr-defined]  # noqa: SLF001
