-- Order keys: see migration 0026.

-- name: promote
-- Take some steps and, in the same snapshot, find the first task in the line of each key; start those
-- that wait, if no task of their key is started. What happens after the snapshot adds another step. Of two
-- statements that choose different tasks of a key, one fails, because of the index of started tasks.
-- SKIP LOCKED: several nodes take different steps. A task that another transaction has locked, maybe for
-- minutes, delays its own key only: its step is added again.
WITH taken AS MATERIALIZED (
    DELETE FROM taskflow_order_steps WHERE id = ANY (ARRAY(
        SELECT id FROM taskflow_order_steps WHERE id >= %(since)s ORDER BY id LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING id, queue, order_key
), keys AS MATERIALIZED (
    SELECT DISTINCT queue, order_key FROM taken
), firsts AS MATERIALIZED (
    SELECT keys.*, first.task_id FROM keys CROSS JOIN LATERAL (
        SELECT o.task_id, o.state FROM taskflow_ordered AS o
        WHERE o.queue = keys.queue AND o.order_key = keys.order_key
          AND o.state IN ('waiting', 'held')
        ORDER BY o.position LIMIT 1
    ) AS first
    WHERE first.state = 'waiting' AND NOT EXISTS (
        SELECT FROM taskflow_ordered AS o
        WHERE o.queue = keys.queue AND o.order_key = keys.order_key AND o.state = 'started'
    )
), locked AS MATERIALIZED (
    SELECT t.id FROM taskflow_tasks AS t
    WHERE t.id = ANY (ARRAY(SELECT task_id FROM firsts))
      AND t.status = 'PENDING' AND t.waiting_for = 'order_key'
    ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED
), postponed AS (
    INSERT INTO taskflow_order_steps (queue, order_key)
    SELECT queue, order_key FROM firsts WHERE task_id <> ALL (ARRAY(SELECT id FROM locked))
    RETURNING id
), started AS (
    UPDATE taskflow_ordered AS o SET state = 'started' FROM locked WHERE o.task_id = locked.id
), promoted AS (
    UPDATE taskflow_tasks AS t SET waiting_for = NULL, run_at = now()
    FROM locked WHERE t.id = locked.id
    RETURNING t.id, t.priority, t.run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM promoted
    WHERE EXISTS (SELECT FROM taskflow_nodes AS n WHERE n.id <> ALL (%(own_nodes)b::uuid[]))
)
SELECT (SELECT count(*) FROM taken) - (SELECT count(*) FROM postponed), (SELECT max(id) FROM taken),
       promoted.id, promoted.priority, promoted.run_at
FROM announced LEFT JOIN promoted ON true

-- name: first_steps
SELECT id FROM taskflow_order_steps WHERE id >= %(since)s ORDER BY id LIMIT %(limit)s

-- name: give_up_step
DELETE FROM taskflow_order_steps WHERE id = %(id)s

-- name: note_enqueued
-- Nodes are notified when the transaction of the caller commits.
SELECT pg_notify('taskflow_work', ' order')

-- name: skip_if_holding
-- It stays FAILED, and no longer holds its key: a trigger adds the step.
UPDATE taskflow_tasks SET on_failure = NULL
WHERE id = ANY (%(ids)b::uuid[]) AND status = 'FAILED' AND on_failure = 'hold'
RETURNING id, true

-- name: ahead_in_line
-- The task directly ahead of each task that waits, and its status: the last one before it that waits or
-- holds the key, or else the one that is started.
SELECT t.id, ahead.task_id, a.status
FROM taskflow_tasks AS t
LEFT JOIN taskflow_ordered AS o ON o.task_id = t.id
LEFT JOIN LATERAL (
    (SELECT one.task_id FROM taskflow_ordered AS one
     WHERE one.queue = o.queue AND one.order_key = o.order_key
       AND one.state IN ('waiting', 'held') AND one.position < o.position
     ORDER BY one.position DESC LIMIT 1)
    UNION ALL
    (SELECT one.task_id FROM taskflow_ordered AS one
     WHERE one.queue = o.queue AND one.order_key = o.order_key AND one.state = 'started')
    LIMIT 1
) AS ahead ON true
LEFT JOIN taskflow_tasks AS a ON a.id = ahead.task_id
WHERE t.id = ANY (%(ids)b::uuid[]) AND t.status = 'PENDING' AND t.waiting_for IS NOT NULL
