-- Failures, which group FAILED tasks by their cause (grouped_failures.py). Written under the lock of hold_rollups.

-- name: read_failed
-- The FAILED ones among these tasks, with their causes.
SELECT wanted.id, coalesce(hot.queue, cold.queue), coalesce(hot.authority, cold.authority),
       coalesce(hot.error_type, cold.error_type), coalesce(hot.status_code, cold.status_code),
       left(coalesce(hot.error, cold.error, ''), %(max_characters)s),
       taskflow_bounded(coalesce(hot.finished_at, cold.finished_at, now()))
FROM (SELECT DISTINCT unnest(%(ids)b::uuid[]) AS id) AS wanted
LEFT JOIN LATERAL (
    SELECT t.queue, t.authority, t.error_type, t.status_code, t.error, t.finished_at, t.status FROM taskflow_tasks AS t
    WHERE t.id = wanted.id OFFSET 0
) AS hot ON true
LEFT JOIN LATERAL (
    SELECT t.queue, t.authority, t.error_type, t.status_code, t.error, t.finished_at, t.status FROM taskflow_archive AS t
    WHERE hot.status IS NULL AND t.id = wanted.id OFFSET 0
) AS cold ON true
WHERE coalesce(hot.status, cold.status) = 'FAILED'

-- name: leave_failures
-- Remove tasks from their failures.
DELETE FROM taskflow_failed_tasks WHERE task_id = ANY (%(ids)b::uuid[]) RETURNING failure_id

-- name: join_failures
INSERT INTO taskflow_failed_tasks (task_id, failure_id)
SELECT * FROM unnest(%(ids)b::uuid[], %(failures)b::uuid[])
ON CONFLICT (task_id) DO NOTHING

-- name: read_failures
SELECT id, queue, host, error_type, status_code, message, failing, occurrences,
       taskflow_bounded(first_at), taskflow_bounded(last_at), hours, per_hour
FROM taskflow_failures WHERE id = ANY (%(ids)b::uuid[])

-- name: count_failures
SELECT count(*) FROM taskflow_failures

-- name: write_failures
-- Whole rows, which were read under the lock.
INSERT INTO taskflow_failures (id, queue, host, error_type, status_code, message, failing, occurrences,
                               first_at, last_at, hours, per_hour)
SELECT id, queue, host, error_type, status_code, message, failing, occurrences, first_at, last_at, hours, per_hour
FROM json_to_recordset(%(rows)s::json) AS r (
    id uuid, queue text, host text, error_type text, status_code integer, message text, failing bigint,
    occurrences bigint, first_at timestamptz, last_at timestamptz, hours integer[], per_hour bigint[]
)
ON CONFLICT (id) DO UPDATE
SET failing = excluded.failing, occurrences = excluded.occurrences, first_at = excluded.first_at,
    last_at = excluded.last_at, hours = excluded.hours, per_hour = excluded.per_hour

-- name: first_failures
-- The number of failures is limited, so all of them are read.
WITH listed AS MATERIALIZED (
    SELECT * FROM taskflow_failures
    WHERE (%(failure_id)s::uuid IS NULL OR id = %(failure_id)s)
      AND (%(is_open)s::boolean IS NULL OR (failing > 0) = %(is_open)s)
      AND queue = coalesce(%(queue)s, queue) AND host = coalesce(%(host)s, host)
      AND (%(error_type)s::text IS NULL OR error_type = %(error_type)s)
      AND (%(since)s::timestamptz IS NULL OR last_at >= %(since)s)
      AND (%(is_scoped)s::boolean IS NOT TRUE
           OR queue = ANY (%(scope_names)b::text[]) OR queue ^@ ANY (%(scope_prefixes)b::text[]))
    ORDER BY last_at DESC, id DESC LIMIT %(limit)s
)
SELECT f.id, f.queue, f.host, f.error_type, f.status_code, f.message, f.failing, f.occurrences,
       taskflow_bounded(f.first_at), taskflow_bounded(f.last_at), f.hours, f.per_hour, now(),
       ARRAY(
           SELECT t.task_id FROM taskflow_failed_tasks AS t WHERE t.failure_id = f.id
           ORDER BY t.failure_id DESC, t.task_id DESC LIMIT %(examples)s
       )
FROM listed AS f ORDER BY last_at DESC, id DESC

-- name: failed_tasks_after
SELECT task_id FROM taskflow_failed_tasks WHERE task_id > %(after)s ORDER BY task_id LIMIT %(limit)s

-- name: delete_resolved_failures
DELETE FROM taskflow_failures WHERE id IN (
    SELECT id FROM taskflow_failures
    WHERE failing <= 0 AND last_at < now() - make_interval(secs => %(kept_seconds)s)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING id
