"""Traces: OpenTelemetry spans from the ``POST`` to the written outcome, if tracing is enabled.

``interface.py`` is what other parts use, and does nothing. ``otel.py`` implements it, and is
imported only if tracing is enabled.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import trio

from taskflow.model.errors import SettingsError
from taskflow.settings import Settings
from taskflow.telemetry import Event, emit
from taskflow.tracing.interface import (
    NO_TRACE,
    NO_TRACING,
    AddTrace,
    AttemptTrace,
    RequestTrace,
    Tracing,
)
from taskflow.version import install_command

__all__ = [
    "NO_TRACE",
    "NO_TRACING",
    "AddTrace",
    "AttemptTrace",
    "RequestTrace",
    "Tracing",
    "open_tracing",
]
if TYPE_CHECKING:
    from taskflow.tracing.otel import OtelTracing
# Time for the collector to accept the last spans at shutdown.
FLUSH_TIMEOUT_SECONDS: Final = 0.5


@contextlib.asynccontextmanager
async def open_tracing(settings: Settings) -> AsyncIterator[Tracing]:
    """Trace within the block if the settings enable it, and send the remaining spans at its end.

    Raises:
        SettingsError: OpenTelemetry is not installed, or does not accept its settings.
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
        # Imported here, because OpenTelemetry is optional.
        from taskflow.tracing import otel  # noqa: PLC0415
    except ModuleNotFoundError:
        raise SettingsError(
            "tracing is enabled (TASKFLOW_TRACES=on or OTEL_*), but OpenTelemetry is not "
            f"installed: run {install_command('otel')}, or set TASKFLOW_TRACES=off"
        ) from None
    try:
        return otel.start()
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"tracing cannot start with these OTEL_* variables: {error}; correct them, or set "
            "TASKFLOW_TRACES=off"
        ) from None


async def _end(tracing: OtelTracing) -> None:
    with trio.move_on_after(FLUSH_TIMEOUT_SECONDS, shield=True) as flushing:
        # The process does not wait for the thread if it takes longer.
        await trio.to_thread.run_sync(
            tracing.close, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
    tracing.silence()
    if flushing.cancelled_caught:
        emit(Event.SPANS_LOST, reason="the collector did not accept the last spans in time")
