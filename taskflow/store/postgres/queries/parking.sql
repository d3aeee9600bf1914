-- Parked attempts: see migration 0030.

-- name: park_if_held
-- An attempt that is parked already keeps the time at which it is overdue, and the row of its task is left as it is.
-- Nodes of earlier versions do not rescue tasks of a node whose lease has not ended.
WITH
-- insert: held_rows
), held AS MATERIALIZED (
    SELECT t.id, t.claim_token, t.queue, t.node_id, e.poll_url,
           now() + make_interval(secs => e.within_seconds) AS overdue_at,
           CASE WHEN e.poll_url IS NOT NULL THEN now() + make_interval(secs => e.poll_delay) END AS poll_at
    FROM held_rows AS t JOIN unnest(
        %(ids)b::uuid[], %(tokens)b::uuid[], %(within)b::float8[], %(poll_urls)b::text[], %(poll_delays)b::float8[]
    ) AS e (id, token, within_seconds, poll_url, poll_delay)
    ON t.id = e.id AND t.claim_token = e.token
), kept AS (
    INSERT INTO taskflow_parked AS p (task_id, token, queue, poll_url, due_at, overdue_at)
    SELECT id, claim_token, queue, poll_url, least(poll_at, overdue_at), overdue_at
    FROM held ORDER BY id
    ON CONFLICT (task_id) DO UPDATE
    SET token = excluded.token, poll_url = excluded.poll_url,
        due_at = CASE WHEN p.token <> excluded.token THEN excluded.due_at
                 WHEN excluded.poll_url IS NULL THEN p.overdue_at
                 ELSE least(excluded.due_at, p.overdue_at) END,
        overdue_at = CASE WHEN p.token = excluded.token THEN p.overdue_at ELSE excluded.overdue_at END
), registered AS (
    INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at)
    SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'parked', 1, taskflow_never() WHERE EXISTS (SELECT FROM held)
    ON CONFLICT (id) DO NOTHING
), parked AS (
    UPDATE taskflow_tasks AS t SET node_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
    FROM held WHERE t.id = held.id AND held.node_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
)
SELECT id FROM held

-- part: open_attempt
-- A claim as in claim_if_alive, its token, and how long it has been running.
t.id, t.payload::text, t.attempt, t.max_attempts, t.options::text, t.priority, t.run_at, t.authority, t.queue,
date_part('epoch', taskflow_bounded(coalesce(t.started_at, t.run_at)) - taskflow_bounded(t.run_at)), t.tags::text,
q.settings::text, coalesce(q.is_limited, false), t.claim_token,
date_part('epoch', now() - taskflow_bounded(coalesce(t.started_at, now())))

-- name: open_attempt
SELECT
-- insert: open_attempt
FROM taskflow_tasks AS t LEFT JOIN taskflow_queues AS q ON q.name = t.queue
WHERE t.id = %(id)s AND t.claim_token IS NOT NULL

-- name: extend_if_held
-- The attempt may not be parked yet.
WITH held AS MATERIALIZED (
    SELECT id, claim_token FROM taskflow_tasks WHERE id = %(id)s AND claim_token = %(token)s
), extended AS (
    UPDATE taskflow_parked AS p
    SET overdue_at = now() + make_interval(secs => %(within_seconds)s),
        due_at = CASE WHEN poll_url IS NULL THEN taskflow_after(%(within_seconds)s)
                 ELSE least(due_at, taskflow_after(%(within_seconds)s)) END
    FROM held WHERE p.task_id = held.id AND p.token = held.claim_token
)
SELECT now() + make_interval(secs => %(within_seconds)s) FROM held

-- name: take_due_parked
-- SKIP LOCKED: several nodes take different ones. They are due again later, whatever becomes of the node. A row whose
-- attempt is over is left over from a restore, and is deleted.
WITH due AS MATERIALIZED (
    SELECT task_id, token, poll_url, due_at, overdue_at <= now() OR poll_url IS NULL AS is_overdue
    FROM taskflow_parked
    WHERE due_at <= now() ORDER BY due_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), found AS MATERIALIZED (
    SELECT due.task_id FROM due CROSS JOIN LATERAL (
        SELECT FROM taskflow_tasks AS t
        WHERE t.id = due.task_id AND t.claim_token = due.token AND t.node_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' OFFSET 0
    ) AS t
), taken AS (
    UPDATE taskflow_parked SET due_at = now() + make_interval(secs => %(take_seconds)s)
    WHERE task_id = ANY (ARRAY(SELECT task_id FROM found))
), deleted AS (
    DELETE FROM taskflow_parked
    WHERE task_id = ANY (ARRAY(SELECT task_id FROM due EXCEPT SELECT task_id FROM found))
)
SELECT
-- insert: open_attempt
, due.is_overdue, due.poll_url
FROM due JOIN found USING (task_id)
CROSS JOIN LATERAL (SELECT * FROM taskflow_tasks WHERE id = due.task_id OFFSET 0) AS t
LEFT JOIN taskflow_queues AS q ON q.name = t.queue
ORDER BY due.due_at, due.task_id

-- name: next_due_parked
-- Seconds until the next one is due.
SELECT greatest(0, extract(epoch FROM taskflow_bounded(due_at) - now()))::float8
FROM taskflow_parked ORDER BY due_at LIMIT 1

-- name: end_unrecorded_parked
-- An attempt that is parked in this moment has its row in the same snapshot. One that ends in this moment leaves a row
-- here, which is deleted when it is taken.
WITH unrecorded AS MATERIALIZED (
    SELECT id, claim_token, queue FROM taskflow_tasks AS t
    WHERE status = 'RUNNING' AND node_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
      AND NOT EXISTS (SELECT FROM taskflow_parked AS p WHERE p.task_id = t.id AND p.token = t.claim_token OFFSET 0)
    LIMIT %(limit)s
), added AS (
    INSERT INTO taskflow_parked (task_id, token, queue, due_at, overdue_at)
    SELECT id, claim_token, queue, now(), now() FROM unrecorded
    ON CONFLICT (task_id) DO UPDATE
    SET token = excluded.token, poll_url = NULL, due_at = excluded.due_at, overdue_at = excluded.overdue_at
    WHERE taskflow_parked.token <> excluded.token
    RETURNING task_id
)
SELECT count(*) FROM added
