-- What time does to tasks.

-- name: expire_if_over
-- SKIP LOCKED: what is being claimed at this moment has begun in time. As for cancels, no more than
-- fit the budget.
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
RETURNING t.id

-- name: next_expiry
-- In how many seconds the next task that waits expires.
SELECT extract(epoch FROM taskflow_bounded(expires_at) - now())::float8 FROM taskflow_tasks
WHERE status = 'PENDING' AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1

-- name: delete_if_ended_before
-- A few at a time, those first that were created first. Ids grow with the time of creation, and
-- nothing ends before it was created: so the index on (status, id) finds them.
WITH old AS (
    SELECT id, size_bytes FROM taskflow_tasks
    WHERE status = %(status)s AND retention_seconds IS NULL
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
-- Those that say themselves how long they are kept.
WITH old AS (
    SELECT id, delete_at, size_bytes FROM taskflow_tasks
    WHERE delete_at <= now() AND finished_at IS NOT NULL
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
