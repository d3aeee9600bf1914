"""Traces: spans of OpenTelemetry from the POST to the write of an outcome, if they are asked for.

``base.py`` is what the rest of TaskFlow knows, and does nothing; ``otel.py`` does it, and is
imported only where traces are wanted.
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
