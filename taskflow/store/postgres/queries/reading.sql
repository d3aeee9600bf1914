-- What people look up: tasks, pages of them, their attempts.

-- name: read
SELECT id, payload::text, status, result::text, error, error_type, created_at, run_at,
       started_at, finished_at, queue, priority, attempt, max_attempts, rescues, tags::text,
       expires_at, retention_seconds, options::text, callback_id
FROM taskflow_tasks
WHERE id = ANY (%(ids)b::uuid[])
ORDER BY id DESC

-- name: read_some
-- The same without what is large, where nobody asks for it: it is not even unpacked then.
SELECT id, CASE WHEN %(has_payload)s THEN payload::text ELSE 'null' END, status,
       CASE WHEN %(has_result)s THEN result::text END, error, error_type, created_at, run_at,
       started_at, finished_at, queue, priority, attempt, max_attempts, rescues, tags::text,
       expires_at, retention_seconds, options::text, callback_id
FROM taskflow_tasks
WHERE id = ANY (%(ids)b::uuid[])
ORDER BY id DESC

-- name: page
-- Ids of a page by keyset, newest first, and whether there are more. The first always
-- comes; then as many as fit the budget. One more is looked for than is given back.
WITH newest AS (
    SELECT id, size_bytes FROM taskflow_tasks
    WHERE id < %(before)s
    ORDER BY id DESC LIMIT %(limit)s + 1
), page AS (
    SELECT id, row_number() OVER later AS place, count(*) OVER () AS found,
           sum(size_bytes) OVER later - size_bytes AS bytes_before
    FROM newest WINDOW later AS (ORDER BY id DESC)
)
SELECT array_agg(id ORDER BY id DESC), count(*) < max(found)
FROM page WHERE place <= %(limit)s AND bytes_before < %(budget_bytes)s

-- name: page_by_status
-- The same for the tasks of one status. Written as a range of the index on (status, id): for
-- a common status the planner would walk the primary key and throw rows away.
WITH newest AS (
    SELECT id, size_bytes FROM taskflow_tasks
    WHERE (status, id) < (%(status)s, %(before)s::uuid) AND status >= %(status)s
    ORDER BY status DESC, id DESC LIMIT %(limit)s + 1
), page AS (
    SELECT id, row_number() OVER later AS place, count(*) OVER () AS found,
           sum(size_bytes) OVER later - size_bytes AS bytes_before
    FROM newest WINDOW later AS (ORDER BY id DESC)
)
SELECT array_agg(id ORDER BY id DESC), count(*) < max(found)
FROM page WHERE place <= %(limit)s AND bytes_before < %(budget_bytes)s

-- name: attempts
-- The last attempt stands in the task's row until another move puts it with the others. Responses
-- are read of the last ones only, for each may have 100 KiB.
SELECT number, status, node, started_at, finished_at, elapsed_ms, status_code, error, error_type,
       CASE WHEN row_number() OVER (ORDER BY place DESC, id DESC) <= %(max_responses)s
            THEN response::text END
FROM (
    SELECT 0 AS place, id, number, status, node, started_at, finished_at, elapsed_ms,
           status_code, error, error_type, response
    FROM taskflow_attempts WHERE task_id = %(id)s
    UNION ALL
    SELECT 1, 0, attempt, status, node, coalesce(started_at, finished_at), finished_at,
           elapsed_ms, status_code,
           error, error_type, CASE WHEN status = 'FAILED' THEN response END
    FROM taskflow_tasks
    WHERE id = %(id)s AND attempt > 0
      AND (status = 'COMPLETED' OR status = 'FAILED' AND error_type NOT IN ('poison', 'expired'))
    UNION ALL
    SELECT 1, 0, attempt, status, node, coalesce(started_at, created_at), NULL, NULL, NULL,
           NULL, NULL, NULL
    FROM taskflow_tasks WHERE id = %(id)s AND status = 'RUNNING'
) AS a
ORDER BY place, id
