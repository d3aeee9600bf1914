"""The limits of a queue in words."""

from __future__ import annotations

import itertools

from taskflow.model.queue_limits import HostLimits, QueueSettings, Rate
from taskflow.model.queues import limits_text

CONCURRENCY = [(None, ""), (1, "1 at once"), (3, "3 at once")]
RATES = [
    (None, ""),
    (Rate(5), "5/s"),
    (Rate(5, burst=10), "5/s (burst 10)"),
    (Rate(0.5, burst=2), "0.5/s (burst 2)"),
    (Rate(100_000, burst=100_000), "100000/s (burst 100000)"),
]


def per_host(text: str) -> str:
    return text and f"{text} per host"


def test_each_limit_has_its_value_unit_and_scope():
    """In every combination; a pause is no limit."""
    for is_paused, most, rate, host_most, host_rate in itertools.product(
        (True, False), CONCURRENCY, RATES, CONCURRENCY, RATES
    ):
        settings = QueueSettings(
            paused=is_paused,
            max_concurrency=most[0],
            rate=rate[0],
            per_host=HostLimits(max_concurrency=host_most[0], rate=host_rate[0]),
        )
        parts = [most[1], rate[1], per_host(host_most[1]), per_host(host_rate[1])]
        assert limits_text(settings) == ", ".join(filter(None, parts)), settings


def test_a_queue_without_limits_has_no_text():
    assert limits_text(QueueSettings()) == ""
