-- Periodic jobs: expiry, retention and count folding.

-- name: expire_if_over
-- SKIP LOCKED: a task that is being claimed at this moment was in time. As in cancel_if_open, no
-- more tasks than the budget allows.
WITH locked AS MATERIALIZED (
    SELECT id, expires_at,
           CASE WHEN taskflow_field(options, 'callback_url') IS NULL THEN 0 ELSE size_bytes END AS copied_bytes
    FROM taskflow_tasks
    WHERE status = 'PENDING' AND expires_at <= now()
    ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), portion AS (
    SELECT id, sum(copied_bytes) OVER (ORDER BY expires_at, id) - copied_bytes AS bytes_before
    FROM locked
), over AS MATERIALIZED (
    SELECT id FROM portion WHERE bytes_before < %(budget_bytes)s
)
UPDATE taskflow_tasks AS t
SET status = 'FAILED', error_type = 'expired', error = %(error)s, finished_at = now(),
    delete_at = taskflow_delete_at(retention_seconds)
FROM over WHERE t.id = over.id
RETURNING t.id,
-- insert: frees

-- name: next_expiry
-- Seconds until the next PENDING task expires.
SELECT extract(epoch FROM taskflow_bounded(expires_at) - now())::float8 FROM taskflow_tasks
WHERE status = 'PENDING' AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1

-- part: has_no_open_children
      AND (has_children IS NULL OR NOT EXISTS (
          SELECT FROM taskflow_edges AS e JOIN taskflow_tasks AS c ON c.id = e.child_id
          WHERE e.parent_id = taskflow_tasks.id AND c.finished_at IS NULL OFFSET 0
      ))

-- name: delete_if_finished_before
-- A few at a time, the oldest first. A task that holds its order key is kept, and so is one whose
-- children have not finished: they may need its result. Ids grow with the time of creation, and no task finishes
-- before it was created: so the index on (status, id) finds them.
WITH old AS (
    SELECT id, size_bytes FROM taskflow_tasks
    WHERE status = %(status)s AND retention_seconds IS NULL
      AND (status <> 'FAILED' OR on_failure IS NULL)
-- insert: has_no_open_children
      AND finished_at < now() - make_interval(secs => %(age_seconds)s)
      AND id < taskflow_least_id(now() - make_interval(secs => %(age_seconds)s))
    ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), few AS (
    SELECT id, sum(size_bytes) OVER (ORDER BY id) - size_bytes AS bytes_before FROM old
), deleted AS (
    DELETE FROM taskflow_tasks
    WHERE id IN (SELECT id FROM few WHERE bytes_before < %(budget_bytes)s)
    RETURNING id
)
SELECT count(*) FROM deleted

-- name: delete_if_kept_long_enough
-- Tasks with a retention of their own.
WITH old AS (
    SELECT id, delete_at, size_bytes FROM taskflow_tasks
    WHERE delete_at <= now() AND finished_at IS NOT NULL
      AND (status <> 'FAILED' OR on_failure IS NULL)
-- insert: has_no_open_children
    ORDER BY delete_at, id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), few AS (
    SELECT id, sum(size_bytes) OVER (ORDER BY delete_at, id) - size_bytes AS bytes_before FROM old
), deleted AS (
    DELETE FROM taskflow_tasks
    WHERE id IN (SELECT id FROM few WHERE bytes_before < %(budget_bytes)s)
    RETURNING id
)
SELECT count(*) FROM deleted

-- name: delete_expired_keys
DELETE FROM taskflow_idempotency_keys
WHERE key IN (
    SELECT key FROM taskflow_idempotency_keys
    WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
RETURNING key

-- name: fold_changes
-- Add some recorded changes to the counts, in the same order on all nodes. The transaction holds the lock of
-- hold_rollups, so the changes need no locks of their own. Returns the number of changes, and whether there are more because these have enough tasks; the counts that
-- are zero now; as JSON, how many tasks finished by minute, and their times by host, for the roll-ups; and
-- the tasks that failed, and the tasks that may have left FAILED.
WITH found AS MATERIALIZED (
    SELECT ctid AS place, coalesce(cardinality(ids), 0) AS tasks FROM taskflow_changes LIMIT %(limit)s
), few AS MATERIALIZED (
    SELECT place FROM (
        SELECT place, sum(tasks) OVER (ORDER BY place) - tasks AS tasks_before FROM found
    ) AS summed
    WHERE tasks_before < %(max_tasks)s
), taken AS MATERIALIZED (
    DELETE FROM taskflow_changes WHERE ctid = ANY (ARRAY(SELECT place FROM few))
    RETURNING queue, status, at, change, ids
), counted AS (
    INSERT INTO taskflow_counts AS c (queue, status, count)
    SELECT queue, status, least(greatest(sum(change), -9e18), 9e18)::bigint FROM taken
    GROUP BY queue, status HAVING sum(change) <> 0 ORDER BY queue, status
    ON CONFLICT (queue, status) DO UPDATE SET count = least(greatest(c.count::numeric + excluded.count, -9e18), 9e18)
    RETURNING queue, status, count
), finished AS (
    INSERT INTO taskflow_endings AS e (minute, queue, status, count)
    SELECT minute, queue, status, least(sum(change), 9e18)::bigint
    FROM (SELECT queue, status, change, date_trunc('minute', at) AS minute FROM taken) AS changed
    WHERE change > 0 AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
      AND minute >= now() - make_interval(secs => %(kept_seconds)s)
    GROUP BY minute, queue, status ORDER BY minute, queue, status
    ON CONFLICT (minute, queue, status) DO UPDATE SET count = least(greatest(e.count::numeric + excluded.count, -9e18), 9e18)
), recent AS MATERIALIZED (
    SELECT extract(epoch FROM date_trunc('minute', at))::bigint AS minute, queue, status, change, ids FROM taken
    WHERE change > 0 AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
      AND at BETWEEN now() - interval '1 day' AND now() + interval '1 hour'
), by_minute AS (
    SELECT minute, queue, status, least(sum(change), 9e18)::bigint AS count FROM recent GROUP BY minute, queue, status
), measured AS (
    SELECT one.minute, one.queue, one.status, coalesce(hot.authority, cold.authority) AS host,
           coalesce(hot.wait, cold.wait) AS wait, coalesce(hot.run, cold.run) AS run, count(*) AS count
    FROM (SELECT minute, queue, status, unnest(ids) AS id FROM recent) AS one
    LEFT JOIN LATERAL (
-- insert: times_of
        FROM taskflow_tasks AS t WHERE t.id = one.id OFFSET 0
    ) AS hot ON true
    LEFT JOIN LATERAL (
-- insert: times_of
        FROM taskflow_archive AS t WHERE hot.authority IS NULL AND t.id = one.id OFFSET 0
    ) AS cold ON true
    WHERE coalesce(hot.authority, cold.authority) IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM few) < (SELECT count(*) FROM found),
       coalesce(array_agg(queue), '{}'), coalesce(array_agg(status), '{}'),
       (SELECT coalesce(json_agg(json_build_array(minute, queue, status, count)), '[]')::text FROM by_minute),
       (SELECT coalesce(json_agg(json_build_array(minute, queue, status, host, wait, run, count)), '[]')::text
        FROM measured),
       ARRAY(SELECT DISTINCT id FROM taken CROSS JOIN LATERAL unnest(ids) AS one (id)
             WHERE status = 'FAILED' AND change >= 0),
       ARRAY(SELECT DISTINCT id FROM taken CROSS JOIN LATERAL unnest(ids) AS one (id)
             WHERE status = 'FAILED' AND change < 0)
FROM counted WHERE count = 0

-- part: times_of
-- Of a task that has not been started again since. One that failed without another attempt, because it expired or a
-- parent failed, started before it was due, or never.
        SELECT t.authority,
               CASE WHEN t.status = one.status AND t.status IN ('COMPLETED', 'FAILED') AND t.started_at >= t.run_at
               THEN taskflow_time_bucket(
                   extract(epoch FROM taskflow_bounded(t.started_at) - taskflow_bounded(t.run_at))::float8
               ) END AS wait,
               CASE WHEN t.status = one.status AND t.status IN ('COMPLETED', 'FAILED') AND t.started_at >= t.run_at
               THEN taskflow_time_bucket(least(greatest(t.elapsed_ms, 0.001), 1e15) / 1000) END AS run

-- name: delete_empty_counts
-- Counts that are zero, so that queues can come and go, and the counts of minutes long past.
WITH empty AS (
    DELETE FROM taskflow_counts WHERE (queue, status) IN (
        SELECT c.queue, c.status FROM taskflow_counts AS c
        JOIN unnest(%(queues)b::text[], %(statuses)b::text[]) AS e (queue, status)
          ON (c.queue, c.status) = (e.queue, e.status)
        WHERE c.count = 0
        FOR UPDATE OF c SKIP LOCKED
    )
)
DELETE FROM taskflow_endings WHERE (minute, queue, status) IN (
    SELECT minute, queue, status FROM taskflow_endings
    WHERE minute < now() - make_interval(secs => %(kept_seconds)s)
    FOR UPDATE SKIP LOCKED
)
