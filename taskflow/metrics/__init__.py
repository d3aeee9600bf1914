"""Metrics for Prometheus.

``catalogue`` declares all metrics; ``recorder`` is what other parts call; ``registry`` holds the
values, ``sharing`` shares them between the worker processes of Hypercorn, and ``exposition``
renders them.
"""

from taskflow.metrics.recorder import Metrics

__all__ = ["Metrics"]
