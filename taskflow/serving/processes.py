"""The main process of ``taskflow serve --processes``: it listens, and runs the processes.

Processes that accept from one socket share it unevenly (of 16 connections, one of two got 12),
and so does the kernel with ``SO_REUSEPORT``. So the main process accepts, and passes each
connection to the process that has the fewest.

A process that exits is restarted, with a growing pause: its tasks are rescued, the others go on,
and one task that exhausts the memory of a process does not end the service. If the first process
cannot start, the command ends with its exit status: its error is one for the user.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from taskflow import telemetry
from taskflow.serving.process_channel import (
    CLOSED,
    CONNECTION,
    ENDING,
    FORCE_SHUTDOWN,
    HANG_UP,
    READY,
    SHUT_DOWN,
)
from taskflow.serving.server import Accept
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings
from taskflow.telemetry import Event

MIN_RESTART_SECONDS: Final = 0.5
MAX_RESTART_SECONDS: Final = 30.0
# A process that ran at least this long is restarted after the minimum pause.
STABLE_SECONDS: Final = 60.0
# Time beyond the drain deadline after which the processes are killed at shutdown.
KILL_SLACK_SECONDS: Final = 30.0
# Interval at which a connection is offered again that no process could take.
RETRY_SECONDS: Final = 0.05
_READ_BYTES: Final = 4096


class _Process:
    """A process that was started, and its channel."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.channel.settimeout(0.0)
        self.connections = 0
        self.is_ready = False

    def send(self, message: bytes) -> None:
        """Send a message, unless the process has ended."""
        with contextlib.suppress(OSError):
            self.channel.send(message)

    async def receive(self) -> bytes:
        """Return the next reports, empty when the process has ended."""
        await trio.lowlevel.wait_readable(self.channel)
        with contextlib.suppress(ConnectionError):
            return self.channel.recv(_READ_BYTES)
        return b""

    def pass_on(self, connection: socket.socket) -> bool:
        """Pass a connection; returns whether that was possible."""
        try:
            socket.send_fds(self.channel, [CONNECTION], [connection.fileno()])
        except OSError:  # it has ended, or does not read
            return False
        self.connections += 1
        return True


class _FirstStart:
    """Reports once that a process is ready, or that no one waits for it any longer."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self.is_reported = False
        self._task_status = task_status

    def report(self) -> None:
        """Report, the first time only."""
        if not self.is_reported:
            self.is_reported = True
            self._task_status.started()


class _StartFailedError(Exception):
    """The first process has exited before it was ready."""


class Processes:
    """Runs processes and passes connections to them.

    Args:
        command: Arguments for the interpreter; the file descriptor of the channel of each process
            is appended.
        settings: For the time that a shutdown may take.
        shutdown: Ends all processes in order.
    """

    def __init__(self, command: Sequence[str], settings: Settings, shutdown: Shutdown) -> None:
        self._command = [sys.executable, *_safe_path_option(), *command]
        self._kill_after_seconds = settings.drain_deadline_seconds + KILL_SLACK_SECONDS
        self._shutdown = shutdown
        self._running: list[_Process] = []
        self._is_ready = trio.Event()  # a new one each time
        self._exit_status = 0

    async def serve(self, number: int, accept: Accept, report_started: Callable[[], None]) -> int:
        """Run processes until the shutdown, and pass them all connections.

        Args:
            number: The number of processes.
            accept: Accepts connections.
            report_started: Called when the processes are ready.

        Returns:
            The exit status for the command: the status of a process that failed to start or to shut
            down, otherwise 0.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._shut_down, nursery.cancel_scope)
                nursery.start_soon(self._pass_on_hang_ups)
                async with trio.open_nursery() as slots:
                    await self._start(slots, number)
                    nursery.start_soon(self._accept, accept)
                    report_started()
                nursery.cancel_scope.cancel()
        except* _StartFailedError:
            pass
        return self._exit_status

    async def _start(self, slots: trio.Nursery, number: int) -> None:
        # The first one alone, so that an invalid setting is reported once.
        await slots.start(partial(self._keep_running, must_start=True))
        async with trio.open_nursery() as starting:
            for _ in range(number - 1):
                starting.start_soon(slots.start, self._keep_running)

    async def _accept(self, accept: Accept) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(accept, self._serve_connection, handler_nursery=nursery))
            await self._shutdown.is_started.wait()
            nursery.cancel_scope.cancel()

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        """Pass a connection to the process that has the fewest."""
        connection: Any = stream.socket
        while not self._pass_on(connection):
            with trio.move_on_after(RETRY_SECONDS):
                await self._is_ready.wait()

    def _pass_on(self, connection: Any) -> bool:
        ready = [process for process in self._running if process.is_ready]
        ready.sort(key=lambda process: process.connections)
        return any(process.pass_on(connection) for process in ready)

    async def _shut_down(self, scope: trio.CancelScope) -> None:
        await self._shutdown.is_started.wait()
        scope.deadline = trio.current_time() + self._kill_after_seconds
        self._send_all(SHUT_DOWN)
        await self._shutdown.is_forced.wait()
        self._send_all(FORCE_SHUTDOWN)

    async def _pass_on_hang_ups(self) -> None:
        while True:
            await self._shutdown.hang_up.wait()
            self._send_all(HANG_UP)

    def _send_all(self, message: bytes) -> None:
        for process in self._running:
            process.send(message)

    async def _keep_running(
        self, *, must_start: bool = False, task_status: trio.TaskStatus[None]
    ) -> None:
        """Run a process, and another when it has exited, until the shutdown."""
        pause = MIN_RESTART_SECONDS
        first_start = _FirstStart(task_status)
        while not self._shutdown.is_started.is_set():
            started = trio.current_time()
            status = await self._run_process(first_start)
            if self._shutdown.is_started.is_set():
                self._exit_status = self._exit_status or status
                break
            if must_start and not first_start.is_reported:
                self._exit_status = status or 1
                raise _StartFailedError
            first_start.report()  # the others go on without it
            if trio.current_time() - started >= STABLE_SECONDS:
                pause = MIN_RESTART_SECONDS
            telemetry.emit(Event.PROCESS_EXITED, status=status, restart_in_seconds=pause)
            with trio.move_on_after(pause):
                await self._shutdown.is_started.wait()
            pause = min(pause * 2, MAX_RESTART_SECONDS)
        first_start.report()

    async def _run_process(self, first_start: _FirstStart) -> int:
        """Run a process until it exits, and return its exit status."""
        status = 1
        try:
            status = await self._run_with_channel(first_start)
        except* OSError as errors:  # no memory or file descriptor is left for it
            telemetry.emit(Event.PROCESS_NOT_STARTED, reason=str(errors.exceptions[0]))
        return status

    async def _run_with_channel(self, first_start: _FirstStart) -> int:
        with _channel() as (ours, theirs):
            process = _Process(ours)
            async with trio.open_nursery() as nursery:
                running = await nursery.start(
                    partial(
                        trio.run_process,
                        [*self._command, str(theirs.fileno())],
                        check=False,
                        deliver_cancel=_kill,
                        stdin=subprocess.DEVNULL,
                        pass_fds=[theirs.fileno()],
                    )
                )
                theirs.close()
                self._running.append(process)
                if self._shutdown.is_started.is_set():
                    process.send(SHUT_DOWN)
                try:
                    await self._read_reports(process, first_start)
                finally:
                    self._running.remove(process)
            return _exit_status(running.returncode)

    async def _read_reports(self, process: _Process, first_start: _FirstStart) -> None:
        """Read what a process reports, until it ends."""
        while reports := await process.receive():
            process.connections -= reports.count(CLOSED)
            if ENDING in reports:
                process.is_ready = False
            elif READY in reports:
                process.is_ready = True
                self._is_ready.set()
                self._is_ready = trio.Event()
                first_start.report()


@contextlib.contextmanager
def _channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


async def _kill(process: trio.Process) -> None:
    process.kill()


def _exit_status(returncode: int | None) -> int:
    """Return the exit status as a shell shows it: 128 and the number of a signal."""
    return 128 - returncode if returncode is not None and returncode < 0 else returncode or 0


def _safe_path_option() -> list[str]:
    # "-m" puts the working directory first in sys.path; only if it was there before.
    return [] if str(Path.cwd()) in sys.path or "" in sys.path else ["-P"]
