"""Traces: OpenTelemetry spans from the ``POST`` to the written outcome, if tracing is enabled.

``interface.py`` is what other parts use, and does nothing. ``otel.py`` implements it, and is
imported only if tracing is enabled.
"""

from taskflow.tracing.interface import (
    NO_TRACE,
    NO_TRACING,
    AddTrace,
    AttemptTrace,
    RequestTrace,
    Tracing,
)
from taskflow.tracing.opening import open_tracing

__all__ = [
    "NO_TRACE",
    "NO_TRACING",
    "AddTrace",
    "AttemptTrace",
    "RequestTrace",
    "Tracing",
    "open_tracing",
]
