"""Hypercorn, made safe to run for long: the one place that knows its insides.

Three of its names are replaced, at start-up and not at import (``serving/connection.py`` has what
stands in for two of them):

- ``TCPServer`` in ``hypercorn.trio.run``, because one connection with an exception ends them
  all, and a client that does not read its answer holds up the shutdown for ever (measured
  with Hypercorn 0.18, to which the project is pinned);
- ``raise_shutdown`` there, because under the ``hypercorn`` command nothing else tells the app
  that the shutdown has begun before all connections are closed, or lets it begin one;
- ``H11Protocol`` in ``hypercorn.protocol``, because whoever asks for HTTP/2 or a WebSocket on a
  plain connection would get it.

Its options are set whoever made its configuration, so that the same bounds hold everywhere.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from multiprocessing.synchronize import SemLock
from typing import Any, Final

import hypercorn.logging
import hypercorn.protocol
import hypercorn.trio
import hypercorn.trio.run
import psutil
import trio
from hypercorn.config import Config, Sockets
from hypercorn.utils import ShutdownError, wrap_app

from taskflow import telemetry
from taskflow.model.errors import CannotListen
from taskflow.serving.connection import HEAD_SECONDS, Bounds, ContainedServer, Http1, Places
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings

# Requests in flight may go on so long at shutdown, or as long as fetches may if that is less.
LONGEST_GRACE_SECONDS: Final = 3.0
# A connection takes so many requests, and is closed in order.
MOST_REQUESTS: Final = 1000
# Of a head that comes in pieces; one that comes at once is measured in api/edge.py.
MAX_HEAD_BYTES: Final = 16 * 2**10
# Hypercorn cuts the service off if it does not end: that is only for what cannot happen.
SHUTDOWN_SLACK_SECONDS: Final = 5.0


def adopt_hypercorn(shutdown: Shutdown, settings: Settings) -> None:
    """Have Hypercorn contain and bound connections, and begin its shutdown together with ours.

    Whichever of the two is told to end first tells the other.
    """
    most = _most_connections(settings)
    bounds = Bounds(Places(most), Places(most // 4), settings.request_seconds)

    def contained_server(app: Any, config: Config, *rest: Any) -> ContainedServer:
        # The hypercorn command makes its own configuration; here it can be seen. It is read
        # again when the shutdown begins.
        _configure(config, settings)
        return ContainedServer(bounds, app, config, *rest)

    async def raise_shutdown_of_either(trigger: Callable[..., Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:

            async def wait_for(begun: Callable[..., Awaitable[None]]) -> None:
                await begun()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for, trigger)
            nursery.start_soon(wait_for, shutdown.is_begun.wait)
        shutdown.begin()
        raise ShutdownError

    run: Any = hypercorn.trio.run
    run.TCPServer = contained_server
    run.raise_shutdown = raise_shutdown_of_either
    protocol: Any = hypercorn.protocol
    protocol.H11Protocol = Http1
    # In HTTP/2 a client could hold back its answers for ever by flow control.
    Config.alpn_protocols = ["http/1.1"]
    accepting = logging.getLogger("trio.serve_listeners")
    accepting.handlers = [_AcceptLog()]
    accepting.propagate = False


def _configure(config: Config, settings: Settings) -> None:
    """Set what Hypercorn has options for, whoever made the configuration."""
    grace_seconds = min(LONGEST_GRACE_SECONDS, settings.drain_deadline_seconds + 0.5)
    shutdown_seconds = settings.drain_deadline_seconds + SHUTDOWN_SLACK_SECONDS
    config.graceful_timeout = min(config.graceful_timeout, grace_seconds)
    config.shutdown_timeout = max(config.shutdown_timeout, shutdown_seconds)
    config.keep_alive_timeout = settings.keep_alive_seconds
    config.ssl_handshake_timeout = HEAD_SECONDS
    config.keep_alive_max_requests = MOST_REQUESTS
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    if not isinstance(config.log, _Log):
        config._log = _Log(config)  # noqa: SLF001 - it has made its own by now


def _most_connections(settings: Settings) -> int:
    """As many as are wanted, but fetches and the database need files too."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return settings.max_connections
    return min(settings.max_connections, files // 2)


@contextlib.asynccontextmanager
async def shutdown_of_orphan(shutdown: Shutdown) -> AsyncIterator[None]:
    """Begin the shutdown, too, when Hypercorn's main process has died.

    After a kill -9 of that one, its workers would serve for ever and keep the port, with
    nobody to tell them to end.
    """

    async def wait_for_death() -> None:
        if (main := multiprocessing.parent_process()) is not None:
            await trio.lowlevel.wait_readable(main.sentinel)
            shutdown.begin()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_death)
        yield
        nursery.cancel_scope.cancel()


def hypercorn_main() -> int | None:
    """The process that started this one and others to serve together; ``None`` if none did."""
    main = multiprocessing.parent_process()
    return None if main is None else main.pid


def is_hypercorn_ending() -> bool:
    """Whether the main process starts no others, for it is ending or has died."""
    main, me = multiprocessing.parent_process(), multiprocessing.current_process()
    if main is None or not main.is_alive():
        return True
    ending = getattr(me, "_kwargs", {}).get("shutdown_event")
    return ending is not None and bool(ending.is_set())


def fail_hypercorn() -> None:
    """End a worker process of the ``hypercorn`` command, and the command with it, as failed.

    Hypercorn 0.18 forgets that a worker failed and ends with 0 (the last line of ``run`` in
    ``hypercorn/run.py`` that assigns ``exitcode``): supervisors would take that for a wish.
    So its main process is ended by a signal; the other workers, which nobody would look
    after any more, are told to end in order. Elsewhere this does nothing.
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
    """Do for Hypercorn's main process what it would do at its exit; else Python complains."""
    for lock in (event._flag, *vars(event._cond).values()):  # noqa: SLF001 - as above
        if semaphore := getattr(lock, "_semlock", None):
            # Another worker that fails at the same moment may have removed it.
            with contextlib.suppress(FileNotFoundError):
                SemLock._cleanup(semaphore.name)  # type: ignore[attr-defined]  # noqa: SLF001


@contextlib.contextmanager
def bound_sockets(settings: Settings) -> Iterator[Sockets]:
    """Listen on ``settings.bind``; clients wait until they are served.

    Raises:
        CannotListen: The address cannot be had.
    """
    config = _config(settings)
    try:
        sockets = config.create_sockets()
        for listener in sockets.insecure_sockets:
            listener.listen(config.backlog)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(f"cannot listen on {settings.bind}: {reason}") from None
    try:
        yield sockets
    finally:
        for listener in sockets.insecure_sockets:
            listener.close()


async def serve_http(
    app: Any,
    settings: Settings,
    shutdown: Shutdown,
    *,
    sockets: Sockets | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the app until the shutdown, on ``settings.bind`` unless there are sockets already.

    Reports as started with the URLs it listens on.

    Raises:
        CannotListen: The address cannot be had.
    """
    adopt_hypercorn(shutdown, settings)
    config = _config(settings)
    with contextlib.ExitStack() as stack:
        await hypercorn.trio.run.worker_serve(
            wrap_app(app, config.wsgi_max_body_size, "asgi"),
            config,
            sockets=sockets or stack.enter_context(bound_sockets(settings)),
            shutdown_trigger=shutdown.is_begun.wait,
            task_status=task_status,
        )


def _config(settings: Settings) -> Config:
    config = Config()
    config.bind = [settings.bind]
    config.logger_class = _Log
    _configure(config, settings)
    return config


class _Log(hypercorn.logging.Logger):
    """Hypercorn's words as events of ours: faults only, the rest we say ourselves."""

    async def exception(self, message: str, *_args: Any, **_kwargs: Any) -> None:
        telemetry.emit_throttled(
            telemetry.Event.REQUEST_ERROR, error=sys.exception(), reason=message
        )

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        pass


class _AcceptLog(logging.Handler):
    """What trio says ten times a second while there are no files left for new connections."""

    def emit(self, record: logging.LogRecord) -> None:
        telemetry.emit_throttled(telemetry.Event.ACCEPT_FAILED, reason=record.getMessage())
