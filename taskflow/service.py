"""The composition root: which parts run, and the only module that names concrete stores.

All entry points share ``open_service``. Its nesting, from the inside out, is the order of shutdown:
the engine ends, the fetcher closes its connections, the store closes, and the embedded PostgreSQL
stops.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio
from quart_trio import QuartTrio

from taskflow import telemetry
from taskflow.api.access.key_reload import ReloadedKeys
from taskflow.api.access.rejected_keys import RejectedKeys
from taskflow.api.access.request_head import is_loopback_bind
from taskflow.api.access.sessions import Sessions
from taskflow.api.app import UNTRACED_PATHS, create_app, create_metrics_app
from taskflow.api.live.feed import Feed
from taskflow.api.metrics import gauge_sampler
from taskflow.api.request_spans import trace_requests
from taskflow.cell_service import cells_to_run, migrate_cells, open_cells
from taskflow.engine import identity
from taskflow.engine.alerts import AlertEvaluation
from taskflow.engine.cell_engines import CellEngines
from taskflow.engine.configured_secrets import read_keyring, read_signer
from taskflow.engine.context import EngineContext
from taskflow.engine.node import Engine
from taskflow.fetch.connection_pool import Dial
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.metrics import Metrics
from taskflow.metrics.sharing import shared
from taskflow.model.audit import NewEntry
from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.errors import SettingsError
from taskflow.model.keyring import Keyring
from taskflow.model.masking import Masking
from taskflow.serving.process_channel import MainProcess, followed_main_process
from taskflow.serving.process_tuning import tune_process, usable_cpus
from taskflow.serving.processes import Processes
from taskflow.serving.server import Accept, listening, serve_http
from taskflow.serving.shutdown import Shutdown, cancel_slow_start, shutdown_on_signals
from taskflow.settings import Settings, load
from taskflow.store.base.partial_reads import partial_reads
from taskflow.store.base.store import TaskStore
from taskflow.store.embedded.shared_server import default_data_dir, embedded_postgres
from taskflow.store.encrypted import encrypted_store
from taskflow.store.memory.store import MemoryStore
from taskflow.store.postgres.address import DatabaseAddress
from taskflow.store.postgres.database import open_database
from taskflow.store.postgres.key_rotation import KeyRotation, Rotated
from taskflow.store.postgres.migrate import Migrated, migrate_database
from taskflow.store.postgres.store import open_postgres
from taskflow.telemetry import Event
from taskflow.tracing import open_tracing
from taskflow.version import __version__

MEMORY_URL: Final = "memory://"
_POSTGRES_URLS: Final = ("postgresql://", "postgres://")


def configured_settings(overrides: Mapping[str, str] | None = None) -> Settings:
    """Read the settings, configure the log, and warn of variables that look misspelled.

    Args:
        overrides: Variables from the command line, which take precedence over the environment.

    Raises:
        SettingsError: A value is not valid.
    """
    settings, warnings = load(overrides=overrides)
    telemetry.configure(settings.log_level, settings.log_format)
    for warning in warnings:
        telemetry.emit(Event.SETTING_UNKNOWN, reason=warning)
    return settings


async def serve(
    settings: Settings,
    command: Sequence[str] = (),
    *,
    has_api: bool = True,
) -> int:
    """Serve HTTP and run tasks until a signal, as ``taskflow serve`` does.

    Args:
        settings: All settings.
        command: Arguments for the interpreter that start one of several processes.
        has_api: Whether to serve the API; if not, ``/metrics`` only.

    Returns:
        The exit status.

    Raises:
        TaskFlowError: The service could not start.
        ExceptionGroup: A part failed; nothing is left running.
    """
    check_bind(settings)
    number = _process_count(settings)
    # First of all: a process that cannot listen must not run tasks either.
    with listening(settings) as (urls, accept):

        def report_started() -> None:
            for url in urls:
                telemetry.emit(Event.LISTENING, url=url)

        async with shutdown_on_signals(
            signal.SIGTERM, signal.SIGINT, has_hang_up=bool(settings.api_keys_file)
        ) as shutdown:
            if number == 1:
                await _serve(settings, shutdown, accept, report_started, has_api=has_api)
                status = 0
            else:
                processes = Processes(command, settings, shutdown)
                status = await processes.serve(number, accept, report_started)
    telemetry.emit(Event.STOPPED)
    return status


async def serve_for_main_process(settings: Settings, channel: int) -> None:
    """Be one of the processes that ``serve`` runs.

    Args:
        settings: All settings.
        channel: The file descriptor of the socket to the main process.

    Raises:
        TaskFlowError: The service could not start.
        ExceptionGroup: A part failed; nothing is left running.
    """
    async with (
        # The main process forces a shutdown; a signal may come from it and from a terminal.
        shutdown_on_signals(has_hang_up=bool(settings.api_keys_file)) as shutdown,
        followed_main_process(channel, shutdown) as main,
    ):
        await _serve(settings, shutdown, main.serve_connections, main=main)
    telemetry.emit(Event.STOPPED)


async def _serve(
    settings: Settings,
    shutdown: Shutdown,
    accept: Accept,
    report_started: Callable[[], None] = lambda: None,
    *,
    main: MainProcess | None = None,
    has_api: bool = True,
) -> None:
    metrics = Metrics()
    async with (
        cancel_slow_start(shutdown) as has_started,
        metrics_sharing(
            metrics, main.pid if main else None, lambda: main is None or main.is_ending
        ) as share,
        open_service(settings, shutdown, metrics, has_api=has_api) as app,
    ):
        has_started.set()
        share()
        tune_process()
        await serve_http(app, settings, shutdown, accept, report_started)


@contextlib.asynccontextmanager
async def metrics_sharing(
    metrics: Metrics, main_pid: int | None, is_main_ending: Callable[[], bool]
) -> AsyncIterator[Callable[[], None]]:
    """Share metrics with the other processes of a main process during the block.

    Yields the function that starts it, to be called when the service is open: only then are all
    series known. It ends after the service, which counts until its end.

    Args:
        metrics: The metrics of this process.
        main_pid: The main process; ``None`` if there is none, and nothing is shared.
        is_main_ending: Returns whether the main process is shutting down or has died.
    """
    async with trio.open_nursery() as nursery:
        with contextlib.ExitStack() as stack:

            def start() -> None:
                if main_pid is None:
                    return
                try:
                    stack.enter_context(shared(metrics.registry, main_pid, is_main_ending))
                except OSError as error:
                    telemetry.emit(Event.METRICS_NOT_SHARED, reason=str(error))
                else:
                    nursery.start_soon(metrics.sample_periodically)

            yield start
            nursery.cancel_scope.cancel()


def _process_count(settings: Settings) -> int:
    """Return the number of processes; the memory store is one process's own.

    Raises:
        SettingsError: There cannot be several.
    """
    if settings.processes == "auto":
        return 1 if settings.database_url == MEMORY_URL else usable_cpus()
    number = int(settings.processes)
    if number > 1 and settings.database_url == MEMORY_URL:
        raise SettingsError(
            f"{MEMORY_URL} is the memory of one process, so TASKFLOW_PROCESSES must be 1: use "
            "PostgreSQL for more"
        )
    return number


def is_postgres_url(url: str) -> bool:
    """Return whether a ``DATABASE_URL`` names an external PostgreSQL server."""
    return url.startswith(_POSTGRES_URLS)


def check_bind(settings: Settings) -> None:
    """Reject an address other than loopback without API keys, unless explicitly allowed.

    Raises:
        SettingsError: Other machines could reach the service.
    """
    if settings.has_keys or is_loopback_bind(settings.bind):
        return
    if not settings.allow_anonymous:
        raise SettingsError(
            f"without API keys TaskFlow serves on the loopback address only, not on "
            f"{settings.bind}: set TASKFLOW_API_KEYS or TASKFLOW_API_KEYS_FILE, or "
            "TASKFLOW_ALLOW_ANONYMOUS=1 to give every client full access"
        )
    telemetry.emit(Event.ANONYMOUS_ALLOWED, bind=settings.bind)


async def work(settings: Settings) -> None:
    """Run tasks until a signal without the API, as ``taskflow worker`` does.

    Serves ``/metrics`` if ``metrics_bind`` is set.

    Raises:
        TaskFlowError: The worker could not start.
        ExceptionGroup: A part failed; nothing is left running.
    """
    if settings.metrics_bind:
        settings = msgspec.structs.replace(settings, bind=settings.metrics_bind, processes="1")
        await serve(settings, has_api=False)
        return
    async with (
        shutdown_on_signals(signal.SIGTERM, signal.SIGINT) as shutdown,
        cancel_slow_start(shutdown) as has_started,
        open_service(settings, shutdown),
    ):
        has_started.set()
        tune_process()
        await shutdown.is_started.wait()
    telemetry.emit(Event.STOPPED)


async def migrate(settings: Settings) -> list[Migrated]:
    """Apply the migrations that each database lacks; the memory store has none.

    Raises:
        TaskFlowError: A migration failed.
    """
    if settings.cells_file:
        return await migrate_cells(settings)
    async with _open_conninfo(settings) as conninfo:
        if conninfo is None:
            return []
        return [
            await migrate_database(
                conninfo,
                timeout_seconds=settings.database_timeout_seconds,
                pooler=settings.database_pooler,
            )
        ]


async def rotate_keys(settings: Settings, report: Callable[[Rotated], None]) -> Rotated:
    """Encrypt data again with the first encryption key, if another key encrypts it.

    Args:
        settings: All settings.
        report: Called with the progress.

    Raises:
        SettingsError: There are no keys, or the tasks are in memory.
        StoreError: The database is unavailable or unusable; rotated rows stay rotated.
    """
    encryption = Encryption(_rotation_keyring(settings))
    async with _open_conninfo(settings) as conninfo:
        assert conninfo is not None
        timeout_seconds, pooler = settings.database_timeout_seconds, settings.database_pooler
        address = DatabaseAddress(conninfo)
        migrated = await migrate_database(address, timeout_seconds=timeout_seconds, pooler=pooler)
        async with open_database(
            address,
            connections=1,
            timeout_seconds=timeout_seconds,
            pooler=pooler,
            schemas=migrated.schemas,
            server_version=migrated.server_version,
            is_distributed=migrated.is_distributed,
        ) as database:
            return await KeyRotation(database, encryption, report).run()


async def rotate_signing_keys(settings: Settings, *, user: str, is_leaked: bool) -> NewEntry:
    """Make new keys that sign ID tokens, and return the entry in the audit log.

    Args:
        settings: All settings.
        user: The user of the machine, for the audit log.
        is_leaked: True to sign with them at once, and to withdraw all others.

    Raises:
        SettingsError: There are no encryption keys, no signing keys, or the tasks are in memory.
        StoreError: The database is unavailable or unusable.
    """
    keyring = _rotation_keyring(settings)
    async with open_store(settings) as store:
        entry = await identity.rotate_signing_keys(
            store.signing_keys, keyring, user=user, is_leaked=is_leaked
        )
    if entry is None:
        raise SettingsError(
            "there are no keys of ID tokens yet: the first node with TASKFLOW_PUBLIC_URL makes them"
        )
    return entry


def _rotation_keyring(settings: Settings) -> Keyring:
    """Return the encryption keys.

    Raises:
        SettingsError: There are none, or the tasks are in memory.
    """
    keyring = read_keyring(settings)
    if not keyring:
        raise SettingsError("there are no keys: set TASKFLOW_ENCRYPTION_KEYS, the new key first")
    if settings.database_url == MEMORY_URL:
        raise SettingsError(f"{MEMORY_URL} is the memory of the service: there is no database")
    if settings.cells_file:
        raise SettingsError(
            "run this for each cell: with the URL of the cell as DATABASE_URL, and "
            "TASKFLOW_CELLS_FILE unset"
        )
    return keyring


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings,
    shutdown: Shutdown,
    metrics: Metrics | None = None,
    *,
    has_api: bool = True,
    dial: Dial | None = None,
) -> AsyncIterator[QuartTrio]:
    """Run tasks in the background, and yield the ASGI app to serve.

    At the end of the block everything shuts down in order. If the engine fails, the block is
    cancelled and the exception raised: an API without workers must not stay up.

    Args:
        settings: All settings.
        shutdown: Shuts the engine down when it starts; started at the end of the block in any
            case.
        metrics: Counts what happens.
        has_api: Whether the app is the API; if not, it serves ``/metrics`` only.
        dial: Connects to targets in place of the network.
    """
    reloaded = ReloadedKeys(settings)
    keys = reloaded.keys
    signer = read_signer(settings)
    keyring = read_keyring(settings)
    encryption = Encryption(keyring, settings.encrypt, Masking(settings.masked_headers))
    telemetry.emit(Event.STARTING, version=__version__)
    metrics = metrics or Metrics()
    engines = CellEngines(cells_to_run(settings)) if settings.cells_file else None
    async with (
        open_tracing(settings) as tracing,
        open_store(settings, encryption, engines) as store,
        open_fetcher(settings, metrics=metrics, dial=dial) as fetcher,
    ):
        context = EngineContext(
            store=store,
            fetcher=fetcher,
            settings=settings,
            signer=signer,
            keyring=keyring,
            encryption=encryption,
            metrics=metrics,
            tracing=tracing,
        )
        engine = Engine(context) if engines is None else engines.of(context)
        metrics.samplers.append(gauge_sampler(engine, store, fetcher, settings))
        feed = Feed(store, settings.poll_seconds)
        rejected_keys = RejectedKeys(store.audit.record)
        if has_api:
            sessions = Sessions(keys, await store.shared_secret("sessions")) if keys else None
            app = create_app(
                store,
                settings,
                lambda: engine.statistics().is_running,
                keys,
                feed,
                sessions,
                metrics=metrics,
                keyring=keyring,
                rejected_keys=rejected_keys,
                has_parts=engines is not None,
            )
            trace_requests(app, UNTRACED_PATHS, tracing)
        else:
            app = create_metrics_app(store, settings, keys, metrics, rejected_keys)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(telemetry.report_repeats)
            nursery.start_soon(rejected_keys.run)
            nursery.start_soon(_shut_down_in_order, engine, feed, shutdown, settings)
            nursery.start_soon(reloaded.follow, shutdown.hang_up)
            nursery.start_soon(AlertEvaluation(store, settings, metrics).run)
            async with trio.open_nursery() as running:
                running.start_soon(engine.run)
                with contextlib.nullcontext() if engines is None else partial_reads():
                    running.start_soon(feed.run)
                yield app
                shutdown.start()
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def open_store(
    settings: Settings,
    encryption: Encryption = NO_ENCRYPTION,
    engines: CellEngines | None = None,
) -> AsyncIterator[TaskStore]:
    """Open the store that ``DATABASE_URL`` names, or the stores of the cells.

    Args:
        settings: All settings.
        encryption: Encrypts and decrypts payloads and results.
        engines: Run the tasks of the cells, if there are cells.

    Raises:
        SettingsError: The URL is not valid.
        StoreError: The store is unavailable or unusable.
    """
    async with contextlib.AsyncExitStack() as stack:
        store: TaskStore
        if settings.cells_file:
            cells = open_cells(settings, encryption, engines or CellEngines(()))
            store = await stack.enter_async_context(cells)
        elif (conninfo := await stack.enter_async_context(_open_conninfo(settings))) is None:
            store = MemoryStore(
                max_per_host=settings.max_per_host,
                masking=Masking(settings.masked_headers),
                encryption=encryption,
            )
        else:
            store = await stack.enter_async_context(open_postgres(conninfo, settings, encryption))
        statistics = store.statistics()
        telemetry.emit(
            Event.STORE_OPENED,
            kind=statistics.kind,
            place=statistics.place,
            version=statistics.version,
        )
        yield encrypted_store(store, encryption)


@contextlib.asynccontextmanager
async def _open_conninfo(settings: Settings) -> AsyncIterator[str | None]:
    """Yield the database to connect to, embedded or external; ``None`` for the memory store."""
    url = settings.database_url
    if url == MEMORY_URL:
        yield None
    elif is_postgres_url(url):
        yield url
    elif not url:
        data_dir = Path(settings.data_dir) if settings.data_dir else default_data_dir()
        async with embedded_postgres(data_dir) as server:
            yield server.conninfo
    else:
        raise SettingsError(
            "DATABASE_URL must be postgresql://..., or memory://, or empty for a PostgreSQL "
            "that TaskFlow runs itself"
        )


async def _shut_down_in_order(
    engine: Engine | CellEngines, feed: Feed, shutdown: Shutdown, settings: Settings
) -> None:
    await shutdown.is_started.wait()
    feed.end()  # answers waiting clients, which can ask another node
    engine.shut_down(drain_seconds=settings.drain_deadline_seconds)
    await shutdown.is_forced.wait()
    engine.shut_down(drain_seconds=0.0)
