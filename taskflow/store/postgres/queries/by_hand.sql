-- What people do to tasks.

-- name: cancel_if_open
-- The nodes that run them are told which claims were taken away (see cancellations.py): 111 bytes
-- each, where a notification has room for 8,000. In the order of ids, as all that is done by hand
-- to many tasks, so that two who do so at once wait for each other only one way. Those whose end is
-- to be told are copied into their callbacks: no more of them at once than fit the budget.
WITH locked AS MATERIALIZED (
    SELECT id, status, attempt, node, started_at, node_id, claim_token,
           CASE WHEN taskflow_field(options, 'callback_url') IS NULL THEN 0 ELSE size_bytes END AS copied_bytes
    FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status IN ('PENDING', 'RUNNING')
    ORDER BY id FOR UPDATE
), portion AS (
    SELECT *, sum(copied_bytes) OVER (ORDER BY id) - copied_bytes AS bytes_before FROM locked
), open AS MATERIALIZED (
    SELECT * FROM portion WHERE bytes_before < %(budget_bytes)s
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at)
    SELECT id, greatest(attempt, 1), 'CANCELED', node, coalesce(started_at, now()), now() FROM open WHERE status = 'RUNNING'
), canceled AS (
    UPDATE taskflow_tasks AS t
    SET status = 'CANCELED', finished_at = now(),
        delete_at = taskflow_delete_at(retention_seconds),
        node_id = NULL, claim_token = NULL
    FROM open WHERE t.id = open.id
    RETURNING t.id
), portions AS (
    SELECT string_agg(word, ' ') AS words FROM (
        SELECT format('%%s:%%s:%%s', node_id, claim_token, id) AS word,
               row_number() OVER () / 60 AS portion
        FROM open WHERE status = 'RUNNING'
    ) AS taken_away GROUP BY portion
), told AS MATERIALIZED (
    SELECT count(pg_notify('taskflow_canceled', words)) FROM portions
)
SELECT id, node_id, claim_token FROM canceled JOIN open USING (id) CROSS JOIN told

-- name: retry_if_finished
-- From the start: nothing of the earlier runs counts any more, but their attempts are kept. Whoever
-- wants it run again does not mind that it is late.
WITH ended AS MATERIALIZED (
    SELECT id, status, attempt, node, started_at, finished_at, error, error_type, status_code,
           elapsed_ms, response
    FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status IN ('FAILED', 'CANCELED')
    ORDER BY id FOR UPDATE
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at,
                                   error, error_type, status_code, elapsed_ms, response)
    SELECT id, attempt, status, node, coalesce(started_at, finished_at), finished_at, error,
           error_type, status_code, elapsed_ms, response
    FROM ended
    WHERE status = 'FAILED' AND error_type NOT IN ('poison', 'expired') AND attempt > 0
), requeued AS (
    UPDATE taskflow_tasks AS t
    SET status = 'PENDING', run_at = now(), attempt = 0, rescues = 0, error = NULL,
        error_type = NULL, status_code = NULL, elapsed_ms = NULL, node = NULL,
        started_at = NULL, finished_at = NULL, expires_at = NULL, delete_at = NULL,
        response = NULL
    FROM ended WHERE t.id = ended.id
    RETURNING t.id, t.priority, t.run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM requeued
)
SELECT id, priority, run_at FROM requeued CROSS JOIN announced

-- name: delete_if_finished
-- Their attempts go with them.
WITH ended AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
    ORDER BY id FOR UPDATE
)
DELETE FROM taskflow_tasks AS t USING ended WHERE t.id = ended.id
RETURNING t.id
