"""What the service counts and measures, and how Prometheus is told.

``catalogue`` has every name, label, bucket and help text; ``recorder`` is what the other parts tell
things to; ``board`` keeps the numbers, ``sharing`` between the processes of one Hypercorn, too;
``exposition`` writes them out.
"""

from taskflow.metrics.recorder import Metrics

__all__ = ["Metrics"]
