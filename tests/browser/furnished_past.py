"""The past of a furnished service: roll-ups of 90 days, trends of failures, runs of a schedule.

They are rows as the service writes them: nobody waits a week for a chart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from taskflow.model.rollups import HOUR_SECONDS, MINUTE_SECONDS

_MINUTES: Final = 25 * 60
_HOURS: Final = 90 * 24
_BROKEN_MINUTES: Final = "BETWEEN 21 AND 28"
"""The minutes ago in which many tasks failed."""

# A working day: quiet at night, with noise that is the same in each run. "ago" counts periods.
_ROLLUPS: Final = """
INSERT INTO taskflow_rollups (period_seconds, at, queue, host, completed, failed, canceled,
                              wait_buckets, wait_counts, run_buckets, run_counts, backlog)
SELECT %(period)s, at, queue, host, completed, failed, canceled,
       '{24,28,36}', ARRAY[completed * 6, completed * 3, completed + failed],
       '{22,26,31,41}', ARRAY[completed * 5, completed * 3, completed, failed + 1],
       CASE WHEN host = '' THEN (completed * (0.4 + slow))::bigint END
FROM (
    SELECT at, queue, host, slow,
           (share * %(scale)s * (1 - 0.4 * slow) * (140 + 60 * sin(ago / 9.0) - 50 * cos(hour)
                                    + (ago * 37 %% 23)))::bigint AS completed,
           (share * %(scale)s * (50 * slow + (ago * 7 %% 5) / 2))::bigint AS failed,
           (share * (ago %% 4))::bigint AS canceled
    FROM generate_series(1, %(periods)s) AS ago,
         LATERAL (SELECT date_trunc(%(unit)s, now())
                         - make_interval(secs => ago * %(period)s) AS at),
         LATERAL (SELECT extract(hour FROM at) * pi() / 12 AS hour,
                         (%(period)s = 60 AND ago {broken} OR %(period)s = 3600 AND ago %% 61 = 20)
                         ::int AS slow),
         (VALUES ('', '', 1.0), ('orders', '', 0.6), ('mail', '', 0.3),
                 ('', %(host)s, 0.7)) AS rows (queue, host, share)
) AS numbers
ON CONFLICT DO NOTHING
""".replace("{broken}", _BROKEN_MINUTES)

# The counts of the last hour, which the tables of queues show.
_COUNTS: Final = f"""
INSERT INTO taskflow_endings (minute, queue, status, count)
SELECT date_trunc('minute', now()) - make_interval(mins => n), queue, status,
       (share * CASE status WHEN 'COMPLETED' THEN 140 + 60 * sin(n / 9.0) + (n * 37 % 23)
        ELSE CASE WHEN n {_BROKEN_MINUTES} THEN 50 ELSE n * 7 % 5 / 2 END END)::int
FROM generate_series(1, 59) AS n, (VALUES ('orders', 0.6), ('mail', 0.3)) AS queues (queue, share),
     unnest(ARRAY['COMPLETED', 'FAILED']) AS status
ON CONFLICT DO NOTHING
"""

_TRENDS: Final = """
UPDATE taskflow_failures AS f
SET occurrences = f.occurrences + 180, first_at = now() - interval '6 days',
    hours = past.hours || f.hours, per_hour = past.per_hour || f.per_hour
FROM (
    SELECT array_agg(extract(epoch FROM now())::int / 3600 - ago ORDER BY ago DESC) AS hours,
           array_agg((1 + ago * 37 % 11)::bigint ORDER BY ago DESC) AS per_hour
    FROM generate_series(1, 23) AS ago WHERE ago % 5 <> 0
) AS past
"""

_RUNS: Final = """
INSERT INTO taskflow_schedule_runs (schedule, at, kind, task_id, count)
SELECT 'nightly-report', date_trunc('day', now()) + interval '2 hours' - make_interval(days => n),
       CASE n %% 9 WHEN 4 THEN 'skipped' WHEN 7 THEN 'missed' ELSE 'scheduled' END,
       CASE WHEN n %% 9 NOT IN (4, 7) THEN (%(tasks)s::uuid[])[1 + n %% cardinality(%(tasks)s)] END,
       1 + (n %% 9 = 7)::int * 2
FROM generate_series(1, 20) AS n
"""

_LAST_RUNS: Final = """
UPDATE taskflow_schedules SET last_fired_at = date_trunc('day', now()) - interval '22 hours',
                              last_task_id = (%(tasks)s::uuid[])[2]
WHERE name = 'nightly-report'
"""

_SECOND_NODE: Final = """
INSERT INTO taskflow_nodes (id, name, lease_seconds, started_at, expires_at, tz_version, version,
                            workers, settings)
SELECT gen_random_uuid(), 'worker-2', 86400, started_at - interval '3 days',
       now() + interval '1 day', tz_version, version, 32,
       (settings::jsonb
        || '{"TASKFLOW_WORKERS": "32", "TASKFLOW_RETENTION_SECONDS": "86400"}')::json
FROM taskflow_nodes LIMIT 1
"""

_OPEN_CIRCUIT: Final = """
INSERT INTO taskflow_hosts (host, held_until, times, why, opened_at)
VALUES (%(host)s, now() + interval '1 hour', 3, 'ConnectError: connection refused',
        now() - interval '40 minutes')
"""


def add_past(url: str, host: str, failing_host: str, tasks: Sequence[str]) -> None:
    """Add the past to the database of a service.

    Args:
        url: The database.
        host: The host of most tasks.
        failing_host: A host whose circuit breaker is open.
        tasks: Finished tasks, which the runs of the schedule had.
    """
    minutes = {"period": MINUTE_SECONDS, "periods": _MINUTES, "unit": "minute", "scale": 1}
    hours = {"period": HOUR_SECONDS, "periods": _HOURS, "unit": "hour", "scale": 60}
    statements: tuple[tuple[str, dict[str, Any]], ...] = (
        (_ROLLUPS, {**minutes, "host": host}),
        (_ROLLUPS, {**hours, "host": host}),
        (_COUNTS, {}),
        (_TRENDS, {}),
        (_RUNS, {"tasks": list(tasks)}),
        (_LAST_RUNS, {"tasks": list(tasks)}),
        (_SECOND_NODE, {}),
        (_OPEN_CIRCUIT, {"host": failing_host}),
    )
    with psycopg.connect(url, autocommit=True) as connection:
        for statement, values in statements:
            connection.execute(statement, values or None)
