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
-- Add some recorded changes to the counts, without waiting for locks, and in the same order on
-- all nodes. Returns the number of changes, and the counts that are zero now.
WITH taken AS MATERIALIZED (
    DELETE FROM taskflow_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM taskflow_changes LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING queue, status, at, change
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
)
SELECT (SELECT count(*) FROM taken),
       coalesce(array_agg(queue), '{}'), coalesce(array_agg(status), '{}')
FROM counted WHERE count = 0

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
