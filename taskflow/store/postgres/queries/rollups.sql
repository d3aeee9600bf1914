-- Roll-ups of finished tasks and of the backlog (rollups.py).

-- name: hold_rollups
-- The right to fold changes, and to write roll-ups and failures: one transaction of this schema has it at a time.
-- Otherwise one could read that a task is FAILED, and add it to its failure after another one has processed that it is not.
SELECT pg_try_advisory_xact_lock(838665844, coalesce((SELECT tableoid::bigint & 2147483647 FROM taskflow_event_log LIMIT 1), 0)::integer)
FROM
-- insert: place_of_tables

-- name: read_rollups
SELECT r.period_seconds, r.at, r.queue, r.host, r.completed, r.failed, r.canceled,
       r.wait_buckets, r.wait_counts, r.run_buckets, r.run_counts, r.backlog
FROM unnest(%(periods)b::integer[], %(ats)b::timestamptz[], %(queues)b::text[], %(hosts)b::text[])
     AS wanted (period_seconds, at, queue, host)
JOIN taskflow_rollups AS r USING (period_seconds, at, queue, host)

-- name: count_rollups
-- The number of queues and of hosts in each period.
SELECT period_seconds, at, count(*) FILTER (WHERE queue <> ''), count(*) FILTER (WHERE host <> '')
FROM taskflow_rollups
WHERE (period_seconds, at) IN (
    SELECT * FROM unnest(%(periods)b::integer[], %(ats)b::timestamptz[])
)
GROUP BY period_seconds, at

-- name: write_rollups
-- Whole rows, which were read under the lock of hold_rollups.
INSERT INTO taskflow_rollups (period_seconds, at, queue, host, completed, failed, canceled,
                              wait_buckets, wait_counts, run_buckets, run_counts, backlog)
SELECT period_seconds, at, queue, host, completed, failed, canceled,
       wait_buckets, wait_counts, run_buckets, run_counts, backlog
FROM json_to_recordset(%(rows)s::json) AS r (
    period_seconds integer, at timestamptz, queue text, host text,
    completed bigint, failed bigint, canceled bigint,
    wait_buckets smallint[], wait_counts bigint[], run_buckets smallint[], run_counts bigint[], backlog bigint
)
ON CONFLICT (period_seconds, queue, host, at) DO UPDATE
SET completed = excluded.completed, failed = excluded.failed, canceled = excluded.canceled,
    wait_buckets = excluded.wait_buckets, wait_counts = excluded.wait_counts,
    run_buckets = excluded.run_buckets, run_counts = excluded.run_counts, backlog = excluded.backlog

-- name: series
-- The roll-ups of a span, added up to points. A queue without a due task is not sampled: its backlog is 0 where there is
-- a sample of all tasks.
WITH sampled AS MATERIALIZED (
    SELECT at FROM taskflow_rollups
    WHERE period_seconds = %(period_seconds)s AND queue = '' AND host = ''
      AND at BETWEEN %(since)s AND now() + interval '1 day' AND backlog IS NOT NULL
), wanted AS MATERIALIZED (
    SELECT at, completed, failed, canceled, wait_buckets, wait_counts, run_buckets, run_counts, backlog
    FROM taskflow_rollups
    WHERE period_seconds = %(period_seconds)s AND host = coalesce(%(host)s, '')
      AND at BETWEEN %(since)s AND now() + interval '1 day'
      AND queue = ANY (%(queues)b::text[])
), periods AS (
    SELECT at, sum(completed) AS completed, sum(failed) AS failed, sum(canceled) AS canceled, sum(backlog) AS backlog
    FROM wanted GROUP BY at
), points AS (
    SELECT extract(epoch FROM at)::bigint / %(bucket_seconds)s AS point, sum(completed) AS completed,
           sum(failed) AS failed, sum(canceled) AS canceled,
           max(coalesce(p.backlog, CASE WHEN %(host)s::text IS NULL AND s.at IS NOT NULL THEN 0 END)) AS backlog
    FROM periods AS p FULL JOIN sampled AS s USING (at) GROUP BY 1
), waits AS (
    SELECT point, array_agg(bucket) AS buckets, array_agg(count) AS counts FROM (
        SELECT extract(epoch FROM at)::bigint / %(bucket_seconds)s AS point, h.bucket, sum(h.count) AS count
        FROM wanted CROSS JOIN LATERAL unnest(wait_buckets, wait_counts) AS h (bucket, count) GROUP BY 1, 2
    ) AS summed GROUP BY point
), runs AS (
    SELECT point, array_agg(bucket) AS buckets, array_agg(count) AS counts FROM (
        SELECT extract(epoch FROM at)::bigint / %(bucket_seconds)s AS point, h.bucket, sum(h.count) AS count
        FROM wanted CROSS JOIN LATERAL unnest(run_buckets, run_counts) AS h (bucket, count) GROUP BY 1, 2
    ) AS summed GROUP BY point
)
SELECT point, least(greatest(completed, 0), 9e18)::bigint, least(greatest(failed, 0), 9e18)::bigint,
       least(greatest(canceled, 0), 9e18)::bigint, waits.buckets, waits.counts, runs.buckets, runs.counts,
       least(greatest(backlog, 0), 9e18)::bigint
FROM points LEFT JOIN waits USING (point) LEFT JOIN runs USING (point)

-- name: rollup_clock
SELECT now()
FROM
-- insert: place_of_tables

-- name: rolled_up_queues
-- The queues of a scope with roll-ups in a span.
SELECT DISTINCT queue FROM taskflow_rollups
WHERE period_seconds = %(period_seconds)s AND at >= %(since)s AND queue <> ''
  AND (queue = ANY (%(scope_names)b::text[]) OR queue ^@ ANY (%(scope_prefixes)b::text[]))
ORDER BY queue LIMIT %(limit)s

-- name: is_backlog_sampled
SELECT EXISTS (
    SELECT FROM taskflow_rollups
    WHERE period_seconds = 60 AND queue = '' AND host = '' AND at = date_trunc('minute', now())
      AND backlog IS NOT NULL
)

-- name: due_by_queue
-- Due tasks, up to a limit: priority after priority, so that tasks that are not due yet are not read.
SELECT queue, count(*) FROM (
    SELECT one.queue FROM taskflow_present_priorities AS p CROSS JOIN LATERAL (
        SELECT t.queue FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority = p.priority AND t.run_at <= now()
        ORDER BY t.run_at, t.id LIMIT %(limit)s
    ) AS one
    LIMIT %(limit)s
) AS due
GROUP BY queue

-- name: pending_by_queue
SELECT queue, least(sum(count), 9e18)::bigint FROM (
    SELECT queue, count FROM taskflow_counts WHERE status = 'PENDING'
    UNION ALL
    SELECT queue, change FROM taskflow_changes WHERE status = 'PENDING'
) AS parts
GROUP BY queue HAVING sum(count) > 0

-- name: delete_old_rollups
DELETE FROM taskflow_rollups WHERE (period_seconds, queue, host, at) IN (
    SELECT period_seconds, queue, host, at FROM taskflow_rollups
    WHERE period_seconds = %(period_seconds)s AND at < now() - make_interval(secs => %(kept_seconds)s)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING period_seconds
