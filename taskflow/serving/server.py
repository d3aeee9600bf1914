"""The HTTP server: Hypercorn with limits on every connection and one common shutdown.

Under ``taskflow serve`` connections are accepted here. The ``hypercorn`` command accepts them
itself, and Hypercorn 0.18, to which the project is pinned, has no options for some of this. So two
of its names are replaced there (``patch_hypercorn``):

- ``hypercorn.trio.run.TCPServer`` by ``serving/connection.py``: an exception in one connection
  ended all of them, a client that reads no response delayed the shutdown for ever, and a client
  could switch a connection to HTTP/2 or WebSockets.
- ``hypercorn.trio.run.raise_shutdown``: under the ``hypercorn`` command the app would hear of a
  shutdown only after all connections were closed, and could not start one.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import hypercorn.logging
import hypercorn.trio
import hypercorn.trio.run
import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import ShutdownError, repr_socket_addr, wrap_app

from taskflow import telemetry
from taskflow.model.errors import CannotListen
from taskflow.serving.connection import (
    HEAD_TIMEOUT_SECONDS,
    Connection,
    ConnectionLimit,
    ConnectionLimits,
)
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings

# Time for requests in progress at shutdown, unless fetches have less.
MAX_GRACE_SECONDS: Final = 3.0
# Number of requests after which a connection is closed in order.
MAX_REQUESTS_PER_CONNECTION: Final = 1000
# Hypercorn cancels the service this long after it should have ended.
SHUTDOWN_SLACK_SECONDS: Final = 5.0


class Accept(Protocol):
    """Accepts connections until it is canceled, as ``trio.serve_listeners`` does."""

    async def __call__(
        self,
        handler: Callable[[trio.SocketStream], Awaitable[object]],
        *,
        handler_nursery: trio.Nursery,
    ) -> None:
        """Start the handler for each connection in the nursery, which it may outlive."""


class Listening(NamedTuple):
    """An address that clients can connect to.

    Attributes:
        urls: The URLs of the service.
        accept: Accepts connections.
    """

    urls: list[str]
    accept: Accept


async def serve_http(
    app: Any,
    settings: Settings,
    shutdown: Shutdown,
    accept: Accept,
    report_started: Callable[[], None],
) -> None:
    """Serve the app until the shutdown; requests in flight may finish then.

    Args:
        app: The ASGI app.
        settings: For the limits.
        shutdown: Ends accepting, and closes connections without a request in progress.
        accept: Accepts connections.
        report_started: Called when connections are accepted.
    """
    config = _new_config(settings)
    context = WorkerContext(None)
    asgi_app = wrap_app(app, config.wsgi_max_body_size, "asgi")
    serve: Any = partial(
        Connection, _connection_limits(settings), asgi_app, config, context, ConnectionState({})
    )
    async with trio.open_nursery() as nursery:
        lifespan = Lifespan(asgi_app, config, LifespanState({}))
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(partial(accept, serve, handler_nursery=connections))
                report_started()
                await shutdown.is_started.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
        await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[Listening]:
    """Listen on ``settings.bind``; clients that connect wait until they are served.

    Raises:
        CannotListen: The address cannot be used.
    """
    config = _new_config(settings)
    try:
        sockets = config.create_sockets().insecure_sockets
        for one in sockets:
            one.listen(config.backlog)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(f"cannot listen on {settings.bind}: {reason}") from None
    _log_accept_errors()
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
    try:
        yield Listening(
            [f"http://{repr_socket_addr(one.family, one.getsockname())}" for one in sockets],
            partial(trio.serve_listeners, listeners=listeners),
        )
    finally:
        for one in sockets:
            one.close()


def patch_hypercorn(shutdown: Shutdown, settings: Settings) -> None:
    """Replace parts of Hypercorn in this process; see the docstring of the module.

    Args:
        shutdown: Starts when Hypercorn's shutdown starts, and the other way round.
        settings: For the limits.
    """
    limits = _connection_limits(settings)

    def new_connection(app: Any, config: Config, *rest: Any) -> Connection:
        # The hypercorn command creates the configuration itself; this is the first place with
        # access to it. It is read again when the shutdown starts.
        _configure(config, settings)
        return Connection(limits, app, config, *rest)

    run: Any = hypercorn.trio.run
    run.TCPServer = new_connection
    run.raise_shutdown = partial(_raise_at_shutdown, shutdown)
    # With HTTP/2, flow control would let a client delay its responses without limit.
    Config.alpn_protocols = ["http/1.1"]
    _log_accept_errors()


def _log_accept_errors() -> None:
    accept_log = logging.getLogger("trio.serve_listeners")
    accept_log.handlers = [_AcceptLog()]
    accept_log.propagate = False


def _connection_limits(settings: Settings) -> ConnectionLimits:
    limit = settings.max_connections
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files != resource.RLIM_INFINITY:
        limit = min(limit, open_files // 2)  # fetches and the database need files, too
    return ConnectionLimits(
        serving=ConnectionLimit(limit),
        rejecting=ConnectionLimit(limit // 4),
        send_seconds=settings.request_seconds,
    )


async def _raise_at_shutdown(shutdown: Shutdown, trigger: Callable[..., Awaitable[None]]) -> None:
    """Wait for our shutdown or Hypercorn's, and start both."""
    async with trio.open_nursery() as nursery:

        async def wait(started: Callable[..., Awaitable[None]]) -> None:
            await started()
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait, trigger)
        nursery.start_soon(wait, shutdown.is_started.wait)
    shutdown.start()
    raise ShutdownError


def _new_config(settings: Settings) -> Config:
    config = Config()
    config.bind = [settings.bind]
    config.logger_class = _HypercornLog
    _configure(config, settings)
    return config


def _configure(config: Config, settings: Settings) -> None:
    grace_seconds = min(MAX_GRACE_SECONDS, settings.drain_deadline_seconds + 0.5)
    shutdown_seconds = settings.drain_deadline_seconds + SHUTDOWN_SLACK_SECONDS
    config.graceful_timeout = min(config.graceful_timeout, grace_seconds)
    config.shutdown_timeout = max(config.shutdown_timeout, shutdown_seconds)
    config.keep_alive_timeout = settings.keep_alive_seconds
    config.ssl_handshake_timeout = HEAD_TIMEOUT_SECONDS
    config.keep_alive_max_requests = MAX_REQUESTS_PER_CONNECTION
    config.include_server_header = False
    if not isinstance(config.log, _HypercornLog):
        config._log = _HypercornLog(config)  # noqa: SLF001 - it has made its own by now


class _HypercornLog(hypercorn.logging.Logger):
    """Logs Hypercorn's exceptions as events, and nothing else."""

    async def exception(self, message: str, *_args: Any, **_kwargs: Any) -> None:
        error = sys.exception()
        telemetry.emit_throttled(telemetry.Event.REQUEST_ERROR, error=error, reason=message)

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        pass


class _AcceptLog(logging.Handler):
    """Logs trio's errors on accepting connections: ten per second without free files."""

    def emit(self, record: logging.LogRecord) -> None:
        telemetry.emit_throttled(telemetry.Event.ACCEPT_FAILED, reason=record.getMessage())
