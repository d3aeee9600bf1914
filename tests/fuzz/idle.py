"""TaskFlow's HTTP over a store, with nothing that would fetch what strangers made up."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from quart_trio import QuartTrio

from taskflow.api.access.api_keys import read_keys
from taskflow.api.app import create_app
from taskflow.api.document.examples import COMPLETED
from taskflow.engine.configured_secrets import read_keyring
from taskflow.model.outcome import ErrorType
from taskflow.model.task import DEFAULT_QUEUE, NewTask, TaskStatus
from taskflow.service import open_store
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings
from taskflow.store.base.claims import Retry, Settlement
from taskflow.store.base.store import TaskStore

HOUR_SECONDS = 3600.0


@contextlib.asynccontextmanager
async def open_idle_app(settings: Settings, shutdown: Shutdown) -> AsyncIterator[QuartTrio]:
    """The app that ``taskflow serve`` has, without an engine and without a fetcher."""
    async with idle_app(settings, fill) as app:
        yield app


@contextlib.asynccontextmanager
async def idle_app(
    settings: Settings, filled: Callable[[TaskStore], Awaitable[None]]
) -> AsyncIterator[QuartTrio]:
    """The same, over a store that this function fills."""
    async with open_store(settings) as store:
        await filled(store)
        keyring = read_keyring(settings)
        yield create_app(store, settings, lambda: True, read_keys(settings), keyring=keyring)


async def fill(store: TaskStore, queue: str = DEFAULT_QUEUE, payload: bytes = b'"a URL"') -> None:
    """Keep a task of every status, as no worker will make them."""
    node = await store.register("fuzz", HOUR_SECONDS)
    *_, called_off = await store.add([NewTask(msgspec.Raw(payload), queue)] * 5)
    done, failed, retried, _running = await store.claim(node, limit=4)
    error, error_type = "connect error: refused", ErrorType.CONNECT
    await store.settle(
        [
            Settlement(
                done.task_id, done.token, TaskStatus.COMPLETED, result=bytes(COMPLETED.result)
            ),
            Settlement(
                failed.task_id, failed.token, TaskStatus.FAILED, error=error, error_type=error_type
            ),
        ]
    )
    await store.schedule_retries(
        [
            Retry(
                retried.task_id,
                retried.token,
                HOUR_SECONDS,
                error,
                error_type,
                elapsed_seconds=0.0015,
            )
        ]
    )
    await store.cancel(called_off.id)
