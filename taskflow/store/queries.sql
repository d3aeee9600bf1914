-- Every statement of PostgresStore. A name that ends in _if_... names the condition under
-- which the statement changes anything. queries.py loads this file.

-- name: add
-- Keep new tasks and wake other nodes, in one statement and so in one transaction. The
-- notification carries its sender, who needs no waking.
WITH handed_in AS MATERIALIZED (
    SELECT taskflow_new_id() AS id, *
    FROM unnest(
        %(payloads)s::text[], %(queues)s::text[], %(priorities)s::smallint[],
        %(delays)s::float8[], %(attempts)s::integer[]
    ) WITH ORDINALITY AS t (payload, queue, priority, delay_seconds, max_attempts, place)
), kept AS (
    INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, priority, run_at, max_attempts)
    SELECT id, payload::json, octet_length(payload), queue, priority,
           now() + make_interval(secs => delay_seconds), max_attempts
    FROM handed_in ORDER BY place
)
SELECT id, now(), now() + make_interval(secs => delay_seconds),
       CASE WHEN place = 1 THEN pg_notify('taskflow_work', %(sender)s) END
FROM handed_in ORDER BY place

-- name: read
SELECT id, payload::text, status, result::text, error, error_type, created_at, run_at,
       started_at, finished_at, queue, priority, attempt, max_attempts, rescues
FROM taskflow_tasks
WHERE id = ANY (%(ids)s)
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

-- name: register
INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at)
VALUES (%(id)s, %(name)s, %(lease_seconds)s, now() + make_interval(secs => %(lease_seconds)s))

-- name: renew_if_alive
-- A node whose lease is over stays dead: others may have its tasks already.
UPDATE taskflow_nodes
SET expires_at = now() + make_interval(secs => lease_seconds)
WHERE id = %(id)s AND expires_at > now()
RETURNING id

-- name: retire
-- What a claim that was cut off half-way may have taken is put back here.
WITH retired AS (
    DELETE FROM taskflow_nodes WHERE id = %(id)s
), released AS (
    UPDATE taskflow_tasks
    SET status = 'PENDING', attempt = attempt - 1, node_id = NULL, claim_token = NULL
    WHERE status = 'RUNNING' AND node_id = %(id)s
    RETURNING id
)
SELECT id, pg_notify('taskflow_work', %(sender)s) FROM released

-- name: rescue_if_dead
-- A task is lost when its node's lease is over or its node is gone (claimed just before the
-- node was forgotten). SKIP LOCKED: of several nodes that notice at once, each takes others.
WITH lost AS (
    SELECT t.id, t.rescues + 1 >= %(max_rescues)s AS is_poison
    FROM taskflow_tasks AS t LEFT JOIN taskflow_nodes AS n ON n.id = t.node_id
    WHERE t.status = 'RUNNING' AND (n.id IS NULL OR n.expires_at <= now())
    LIMIT %(limit)s
    FOR UPDATE OF t SKIP LOCKED
)
UPDATE taskflow_tasks AS t
SET status = CASE WHEN is_poison THEN 'FAILED' ELSE 'PENDING' END,
    error_type = CASE WHEN is_poison THEN 'poison' ELSE error_type END,
    error = CASE WHEN is_poison
            THEN format('poison: its node died %%s times while running it', rescues + 1)
            ELSE error END,
    finished_at = CASE WHEN is_poison THEN now() END,
    attempt = attempt - 1, rescues = rescues + 1, node_id = NULL, claim_token = NULL
FROM lost WHERE t.id = lost.id
RETURNING t.id, is_poison

-- name: forget_dead_nodes
-- Kept for a minute after their end, for whoever looks; then only if they hold nothing.
DELETE FROM taskflow_nodes AS n
WHERE expires_at < now() - interval '1 minute'
  AND NOT EXISTS (
      SELECT FROM taskflow_tasks AS t WHERE t.status = 'RUNNING' AND t.node_id = n.id
  )

-- name: claim_if_alive
-- SKIP LOCKED: nodes that claim at once take different tasks and wait for nobody.
WITH due AS (
    SELECT id FROM taskflow_tasks
    WHERE status = 'PENDING' AND run_at <= now()
      AND EXISTS (SELECT FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > now())
    ORDER BY priority DESC, run_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE taskflow_tasks AS t
SET status = 'RUNNING', node_id = %(node_id)s, claim_token = %(token)s,
    started_at = now(), attempt = attempt + 1
FROM due WHERE t.id = due.id
RETURNING t.id, t.payload::text, t.attempt, t.max_attempts, t.priority, t.run_at

-- name: settle_if_held
UPDATE taskflow_tasks AS t
SET status = e.status, result = e.result::json, error = e.error, error_type = e.error_type,
    size_bytes = size_bytes + coalesce(octet_length(e.result), 0),
    finished_at = now(), node_id = NULL, claim_token = NULL
FROM unnest(
    %(ids)s::uuid[], %(tokens)s::uuid[], %(statuses)s::text[], %(results)s::text[],
    %(errors)s::text[], %(error_types)s::text[]
) AS e (id, token, status, result, error, error_type)
WHERE t.id = e.id AND t.status = 'RUNNING' AND t.claim_token = e.token
RETURNING t.id

-- name: retry_if_held
UPDATE taskflow_tasks AS t
SET status = 'PENDING', run_at = now() + make_interval(secs => e.delay_seconds),
    error = e.error, error_type = e.error_type, node_id = NULL, claim_token = NULL
FROM unnest(
    %(ids)s::uuid[], %(tokens)s::uuid[], %(delays)s::float8[], %(errors)s::text[],
    %(error_types)s::text[]
) AS e (id, token, delay_seconds, error, error_type)
WHERE t.id = e.id AND t.status = 'RUNNING' AND t.claim_token = e.token
RETURNING t.id

-- name: release_if_held
-- As if never claimed; other nodes are told, for this one may be going away.
WITH released AS (
    UPDATE taskflow_tasks AS t
    SET status = 'PENDING', attempt = attempt - 1, node_id = NULL, claim_token = NULL
    FROM unnest(%(ids)s::uuid[], %(tokens)s::uuid[]) AS e (id, token)
    WHERE t.id = e.id AND t.status = 'RUNNING' AND t.claim_token = e.token
    RETURNING t.id
)
SELECT id, pg_notify('taskflow_work', %(sender)s) FROM released

-- name: cancel_if_open
UPDATE taskflow_tasks
SET status = 'CANCELED', finished_at = now(), node_id = NULL, claim_token = NULL
WHERE id = %(id)s AND status IN ('PENDING', 'RUNNING')
RETURNING id

-- name: requeue_if_ended
-- From the start: nothing of the earlier runs counts any more.
WITH requeued AS (
    UPDATE taskflow_tasks
    SET status = 'PENDING', run_at = now(), attempt = 0, rescues = 0, error = NULL,
        error_type = NULL, started_at = NULL, finished_at = NULL
    WHERE id = %(id)s AND status IN ('FAILED', 'CANCELED')
    RETURNING id
)
SELECT id, pg_notify('taskflow_work', %(sender)s) FROM requeued
