-- Reading of tasks, their attempts and their counts.

-- part: task_columns
SELECT id, payload::text, status, result::text, error, error_type, created_at,
       CASE WHEN order_key IS NULL AND parents_left IS NULL OR run_at < taskflow_never() THEN run_at END,
       started_at, finished_at, queue, priority, attempt, max_attempts, rescues, tags::text,
       expires_at, retention_seconds, options::text, callback_id, debounced,
       order_key, on_failure,
       CASE WHEN node_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' THEN 'completion' ELSE waiting_for END, group_id

-- part: some_task_columns
-- The same without large fields that are not requested: these are not even decompressed.
SELECT id, CASE WHEN %(has_payload)s THEN payload::text ELSE 'null' END, status,
       CASE WHEN %(has_result)s THEN result::text END, error, error_type, created_at,
       CASE WHEN order_key IS NULL AND parents_left IS NULL OR run_at < taskflow_never() THEN run_at END,
       started_at, finished_at, queue, priority, attempt, max_attempts, rescues, tags::text,
       expires_at, retention_seconds, options::text, callback_id, debounced,
       order_key, on_failure,
       CASE WHEN node_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' THEN 'completion' ELSE waiting_for END, group_id

-- name: read
-- insert: task_columns
FROM taskflow_tasks
WHERE id = ANY (%(ids)b::uuid[])
ORDER BY id DESC

-- name: read_anywhere
-- Statements that end in _anywhere read the archive, too. They are executed for the tasks that the other one does not
-- find: so most requests do not pay for it.
-- insert: task_columns
FROM
-- insert: tasks_anywhere

-- name: read_some
-- insert: some_task_columns
FROM taskflow_tasks
WHERE id = ANY (%(ids)b::uuid[])
ORDER BY id DESC

-- name: read_some_anywhere
-- insert: some_task_columns
FROM
-- insert: tasks_anywhere

-- name: status_codes
SELECT id, status_code FROM taskflow_tasks WHERE id = ANY (%(ids)b::uuid[])

-- name: status_codes_anywhere
SELECT id, status_code FROM
-- insert: tasks_anywhere

-- part: newest_tasks
    SELECT id, size_bytes FROM taskflow_tasks
    WHERE id < %(before)s
    ORDER BY id DESC LIMIT %(limit)s + 1

-- part: newest_tasks_of_status
-- Written as a range of the index on (status, id): for a common status the planner would read the
-- primary key and discard rows.
    SELECT id, size_bytes FROM taskflow_tasks
    WHERE (status, id) < (%(status)s, %(before)s::uuid) AND status >= %(status)s
    ORDER BY status DESC, id DESC LIMIT %(limit)s + 1

-- part: page_of_newest
), page AS (
    SELECT id, row_number() OVER later AS place, count(*) OVER () AS found,
           sum(size_bytes) OVER later - size_bytes AS bytes_before
    FROM newest WINDOW later AS (ORDER BY id DESC)
)
SELECT array_agg(id ORDER BY id DESC), count(*) < max(found)

-- part: has_no_newer_archived
-- Whether no archived task belongs to the page: so the newest pages read one table.
       , NOT EXISTS (
           SELECT FROM taskflow_archive_periods AS p
           WHERE p.first_id < %(before)s AND coalesce(p.last_id, p.end_id) > coalesce(
               (SELECT id FROM newest ORDER BY id DESC OFFSET %(limit)s), '00000000-0000-0000-0000-000000000000'
           )
       )

-- part: end_of_page
FROM page WHERE place <= %(limit)s AND bytes_before < %(budget_bytes)s

-- part: archived_as_well
-- The archive is read as far as its tasks are newer than the last one of a full page.
), cold AS (
    SELECT id, size_bytes FROM taskflow_archive
    WHERE id < %(before)s AND id > coalesce(
        (SELECT id FROM hot ORDER BY id DESC OFFSET %(limit)s), '00000000-0000-0000-0000-000000000000'
    )

-- part: newest_of_both
    ORDER BY id DESC LIMIT %(limit)s + 1
), newest AS (
    SELECT * FROM hot UNION ALL SELECT * FROM cold ORDER BY id DESC LIMIT %(limit)s + 1

-- name: page
-- Ids of a page by keyset, newest first, and whether there are more. The first id is always
-- returned, and more as long as they fit the budget. One more is read than is returned.
WITH newest AS MATERIALIZED (
-- insert: newest_tasks
-- insert: page_of_newest
-- insert: has_no_newer_archived
-- insert: end_of_page

-- name: page_anywhere
WITH hot AS MATERIALIZED (
-- insert: newest_tasks
-- insert: archived_as_well
-- insert: newest_of_both
-- insert: page_of_newest
-- insert: end_of_page

-- name: page_by_status
-- The same for the tasks of one status.
WITH newest AS MATERIALIZED (
-- insert: newest_tasks_of_status
-- insert: page_of_newest
-- insert: has_no_newer_archived
-- insert: end_of_page

-- name: page_by_status_anywhere
WITH hot AS MATERIALIZED (
-- insert: newest_tasks_of_status
-- insert: archived_as_well
      AND status = %(status)s
-- insert: newest_of_both
-- insert: page_of_newest
-- insert: end_of_page

-- part: stored_attempts
SELECT number, status, node, started_at, finished_at, elapsed_ms, status_code, error, error_type,
       CASE WHEN row_number() OVER (ORDER BY place DESC, id DESC) <= %(max_responses)s
            THEN response::text END
FROM (
    SELECT 0 AS place, id, number, status, node, started_at, finished_at, elapsed_ms,
           status_code, error, error_type, response
    FROM taskflow_attempts WHERE task_id = %(id)s

-- part: last_finished_attempt
    UNION ALL
    SELECT 1, 0, attempt, status, node, coalesce(started_at, finished_at), finished_at,
           elapsed_ms, status_code,
           error, error_type, CASE WHEN status = 'FAILED' THEN response END

-- part: and_running_attempt
    WHERE id = %(id)s AND attempt > 0
      AND (status = 'COMPLETED' OR status = 'FAILED' AND error_type NOT IN ('poison', 'expired'))
    UNION ALL
    SELECT 1, 0, attempt, status, node, coalesce(started_at, created_at), NULL, NULL, NULL,
           NULL, NULL, NULL
    FROM taskflow_tasks WHERE id = %(id)s AND status = 'RUNNING'
) AS a
ORDER BY place, id

-- name: attempts
-- The last attempt is in the task's row until another move stores it with the others. Responses
-- are read for the last attempts only, because each may have 100 KiB.
-- insert: stored_attempts
-- insert: last_finished_attempt
    FROM taskflow_tasks
-- insert: and_running_attempt

-- name: attempts_anywhere
-- insert: stored_attempts
    UNION ALL
    SELECT 0 AS place, id, number, status, node, started_at, finished_at, elapsed_ms,
           status_code, error, error_type, response
    FROM taskflow_archive_attempts WHERE task_id = %(id)s
-- insert: last_finished_attempt
    FROM taskflow_all_tasks
-- insert: and_running_attempt

-- name: count_pending
-- In the order of the index of claims, which has no other tasks: a planner that expects most
-- tasks to be PENDING would otherwise read the table from its beginning.
SELECT count(*) FROM (
    SELECT FROM taskflow_tasks WHERE status = 'PENDING'
    ORDER BY priority DESC, run_at, id LIMIT %(limit)s
) AS waiting

-- name: count
-- Folded counts and changes that are not folded yet, by queue and status, and by status for all
-- queues (NULL); of finished tasks the last minute, five minutes and hour. One more
-- queue is read than is listed.
WITH parts AS (
    SELECT queue, status, count, 0 AS ended, NULL::timestamptz AS minute FROM taskflow_counts
    UNION ALL
    SELECT queue, status, 0, count, minute FROM taskflow_endings
    WHERE minute > now() - interval '61 minutes' AND minute <= now()
    UNION ALL
    SELECT queue, status, change,
           CASE WHEN status IN ('COMPLETED', 'FAILED', 'CANCELED') THEN greatest(change, 0) END,
           date_trunc('minute', least(greatest(at, now() - interval '1 day'), now()))
    FROM taskflow_changes
), summed AS MATERIALIZED (
    SELECT queue, status, least(greatest(sum(count), -9e18), 9e18)::bigint AS count,
           coalesce(sum(ended * taskflow_share(minute, '1 minute')), 0) AS in_minute,
           coalesce(sum(ended * taskflow_share(minute, '5 minutes')), 0) AS in_5_minutes,
           coalesce(sum(ended * taskflow_share(minute, '1 hour')), 0) AS in_hour
    FROM parts
    WHERE status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED')
    GROUP BY GROUPING SETS ((queue, status), (status))
), listed AS (
    SELECT queue FROM summed
    WHERE queue = coalesce(%(queue)s, queue) AND (count <> 0 OR in_hour > 0)
    GROUP BY queue ORDER BY queue COLLATE "C" LIMIT %(limit)s + 1
)
SELECT queue, status, count, in_minute, in_5_minutes, in_hour FROM summed
WHERE (queue IS NULL OR queue IN (SELECT queue FROM listed)) AND (count <> 0 OR in_hour > 0)
ORDER BY queue COLLATE "C"

-- name: counted_queues
-- The queues that have or had tasks lately: the same tables as for the counts.
SELECT queue FROM taskflow_counts UNION SELECT queue FROM taskflow_changes

-- name: oldest_waiting
-- Seconds for which the first task of each queue has been due, and the first of all. A queue is read
-- lane by lane, by the first tasks of each host and priority: an index by queue alone would cost
-- each new task an entry.
WITH RECURSIVE first (queue, authority, priority, run_at) AS (
    SELECT asked.queue, one.authority, one.priority, one.run_at
    FROM unnest(%(queues)b::text[]) AS asked (queue) CROSS JOIN LATERAL (
        SELECT t.authority, t.priority, t.run_at FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.queue COLLATE "C" = asked.queue
        ORDER BY t.authority, t.priority DESC, t.run_at LIMIT 1
    ) AS one
    UNION ALL
    SELECT first.queue, next.authority, next.priority, next.run_at
    FROM first CROSS JOIN LATERAL (
        (
            SELECT t.authority, t.priority, t.run_at FROM taskflow_tasks AS t
            WHERE t.status = 'PENDING' AND t.queue COLLATE "C" = first.queue
              AND t.authority = first.authority AND t.priority < first.priority
            ORDER BY t.priority DESC, t.run_at LIMIT 1
        )
        UNION ALL
        (
            SELECT t.authority, t.priority, t.run_at FROM taskflow_tasks AS t
            WHERE t.status = 'PENDING' AND t.queue COLLATE "C" = first.queue
              AND t.authority > first.authority
            ORDER BY t.authority, t.priority DESC, t.run_at LIMIT 1
        )
        LIMIT 1
    ) AS next
)
SELECT queue, extract(epoch FROM now() - taskflow_bounded(min(run_at)))::float8
FROM first WHERE run_at <= now() GROUP BY queue
UNION ALL
SELECT NULL, extract(epoch FROM now() - taskflow_bounded(min(run_at)))::float8
FROM taskflow_present_priorities WHERE run_at <= now()
