"""Begins and ends the traces of a process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import trio

from taskflow.model.errors import SettingsError
from taskflow.settings import Settings
from taskflow.telemetry import Event, emit
from taskflow.tracing.interface import NO_TRACING, Tracing
from taskflow.version import install_command

if TYPE_CHECKING:
    from taskflow.tracing.otel import OtelTracing

# A shutdown waits so long for the collector to take the last spans.
FLUSH_SECONDS: Final = 0.5


@contextlib.asynccontextmanager
async def open_tracing(settings: Settings) -> AsyncIterator[Tracing]:
    """Traces while the block runs, if the settings want any; what is left is sent at its end.

    Raises:
        SettingsError: They do, and OpenTelemetry is not installed, or refuses its own settings.
    """
    if not settings.is_tracing:
        yield NO_TRACING
        return
    tracing = _start()
    emit(Event.TRACING)
    try:
        yield tracing
    finally:
        await _end(tracing)


def _start() -> OtelTracing:
    try:
        # Only here: who wants none does not pay for it, and need not have it.
        from taskflow.tracing import otel  # noqa: PLC0415
    except ModuleNotFoundError:
        raise SettingsError(
            "traces are asked for (TASKFLOW_TRACES=on or OTEL_*), and OpenTelemetry is not "
            f"installed: run {install_command('otel')}, or set TASKFLOW_TRACES=off"
        ) from None
    try:
        return otel.start()
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"traces cannot be sent as the variables OTEL_* say: {error}; mend them, or set "
            "TASKFLOW_TRACES=off"
        ) from None


async def _end(tracing: OtelTracing) -> None:
    with trio.move_on_after(FLUSH_SECONDS, shield=True) as flushing:
        # The thread may outlive this, and the process need not wait for it.
        await trio.to_thread.run_sync(
            tracing.close, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
    tracing.hush()
    if flushing.cancelled_caught:
        emit(Event.SPANS_LOST, reason="the collector did not take the last ones in time")
