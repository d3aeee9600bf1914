-- Actions of clients on tasks.

-- part: last_failures
-- The last attempts of the chosen tasks that FAILED. They are in the rows of the tasks until then.
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at,
                                   error, error_type, status_code, elapsed_ms, response)
    SELECT id, attempt, status, node, coalesce(started_at, finished_at), finished_at, error,
           error_type, status_code, elapsed_ms, response
    FROM chosen
    WHERE status = 'FAILED' AND error_type NOT IN ('poison', 'expired') AND attempt > 0

-- name: cancel_if_open
-- The nodes that run the tasks are notified of the canceled claims (base/claims.py): 111
-- bytes each, and a notification has room for 8,000. Rows are locked in the order of ids, as in
-- all actions on many tasks, so that two of them cannot deadlock. Tasks with a callback_url are
-- copied into their callbacks: no more of them at once than the budget allows. A FAILED task that
-- holds its order key can be canceled, too, if it is named; its last attempt is kept.
WITH locked AS MATERIALIZED (
    SELECT id, status, attempt, node, started_at, node_id, claim_token, finished_at, error,
           error_type, status_code, elapsed_ms, response,
           CASE WHEN taskflow_field(options, 'callback_url') IS NULL THEN 0 ELSE size_bytes END AS copied_bytes
    FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND (
        status IN ('PENDING', 'RUNNING')
        OR %(with_holders)s AND status = 'FAILED' AND on_failure = 'hold'
    )
    ORDER BY id FOR UPDATE
), portion AS (
    SELECT *, sum(copied_bytes) OVER (ORDER BY id) - copied_bytes AS bytes_before FROM locked
), chosen AS MATERIALIZED (
    SELECT * FROM portion WHERE bytes_before < %(budget_bytes)s
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at)
    SELECT id, greatest(attempt, 1), 'CANCELED', node, coalesce(started_at, now()), now() FROM chosen WHERE status = 'RUNNING'
), recorded_failures AS (
-- insert: last_failures
), canceled AS (
    UPDATE taskflow_tasks AS t
    SET status = 'CANCELED', finished_at = now(),
        delete_at = taskflow_delete_at(retention_seconds),
        node_id = NULL, claim_token = NULL
    FROM chosen WHERE t.id = chosen.id
    RETURNING t.id,
-- insert: frees
        AS frees
), portions AS (
    SELECT string_agg(word, ' ') AS words FROM (
        SELECT format('%%s:%%s:%%s', node_id, claim_token, id) AS word,
               row_number() OVER () / 60 AS portion
        FROM chosen WHERE status = 'RUNNING'
    ) AS canceled_claims GROUP BY portion
), notified AS MATERIALIZED (
    SELECT count(taskflow_notify('taskflow_canceled', words)) FROM portions
)
SELECT id, frees, node_id, claim_token FROM canceled JOIN chosen USING (id) CROSS JOIN notified

-- name: retry_if_finished
-- From the start: earlier attempts no longer count, but are kept. expires_at is cleared, because
-- a client that retries a task accepts that it is late. A task is skipped if another one has its
-- unique key, or an older one in this statement. If there are tasks with such keys, locks are waited
-- for only shortly: a transaction of another program may hold the key for minutes. A task with an
-- order key waits for its turn again, at its old position, and one with parents for the parents that are being retried.
WITH retryable AS MATERIALIZED (
    SELECT id, status, attempt, node, started_at, finished_at, error, error_type, status_code,
           elapsed_ms, response, queue, unique_key
    FROM taskflow_tasks AS t
    WHERE id = ANY (%(ids)b::uuid[]) AND status IN ('FAILED', 'CANCELED') AND (
        unique_key IS NULL OR NOT EXISTS (
            SELECT FROM taskflow_tasks AS other
            WHERE other.queue = t.queue AND other.unique_key = t.unique_key
              AND other.unique_key IS NOT NULL AND other.status = ANY (other.unique_while)
              AND other.id <> t.id
        )
    )
    ORDER BY id FOR UPDATE
), bounded AS MATERIALIZED (
    SELECT set_config('lock_timeout', %(key_wait_ms)s::text, true) FROM
-- insert: place_of_tables
    WHERE EXISTS (SELECT FROM retryable WHERE unique_key IS NOT NULL)
), chosen AS MATERIALIZED (
    SELECT * FROM (
        SELECT *, row_number() OVER (PARTITION BY queue, unique_key ORDER BY id) AS place
        FROM retryable
    ) AS numbered
    WHERE (unique_key IS NULL OR place = 1) AND (SELECT count(*) FROM bounded) >= 0
), recorded AS (
-- insert: last_failures
), retried AS (
    UPDATE taskflow_tasks AS t
    SET status = 'PENDING', attempt = 0,
        run_at = coalesce(taskflow_now_if(order_key IS NULL AND parents_left IS NULL), taskflow_never()),
        waiting_for = CASE WHEN order_key IS NOT NULL THEN 'order_key'
                      WHEN parents_left IS NOT NULL THEN 'parents' END, rescues = 0, error = NULL,
        error_type = NULL, status_code = NULL, elapsed_ms = NULL, node = NULL,
        started_at = NULL, finished_at = NULL, expires_at = NULL, delete_at = NULL,
        response = NULL, debounce_key = NULL
    FROM chosen WHERE t.id = chosen.id
    RETURNING t.id, t.priority, t.run_at,
               (t.order_key IS NOT NULL)::integer + 2 * (t.parents_left IS NOT NULL)::integer AS waits,
               taskflow_field(t.options, 'schedule') AS schedule
), opened AS (
    -- Locks the row if there is one: firings delete the rows of finished tasks.
    INSERT INTO taskflow_schedule_tasks (schedule, task_id)
    SELECT s.name, retried.id
    FROM retried JOIN taskflow_schedules AS s ON s.name = retried.schedule
    WHERE s.overlap IS NOT NULL ORDER BY s.name, retried.id
    ON CONFLICT (schedule, task_id) DO UPDATE SET task_id = EXCLUDED.task_id
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM retried
    WHERE waits = 0
)
SELECT id, waits, priority, CASE WHEN waits = 0 THEN run_at END
FROM retried CROSS JOIN announced

-- name: task_with_key_of
-- The other task that has the unique key of this one.
SELECT other.id FROM taskflow_all_tasks AS t JOIN taskflow_tasks AS other
    ON other.queue = t.queue AND other.unique_key = t.unique_key
       AND other.unique_key IS NOT NULL AND other.status = ANY (other.unique_while)
WHERE t.id = %(id)s AND other.id <> t.id

-- name: delete_if_finished
-- The attempts are deleted with the tasks.
WITH finished AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
    ORDER BY id FOR UPDATE
)
DELETE FROM taskflow_tasks AS t USING finished WHERE t.id = finished.id
RETURNING t.id, t.order_key IS NOT NULL
