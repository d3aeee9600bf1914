-- Nodes and their leases, and the rescue of tasks whose node died.

-- name: register
-- Functions that submit tasks with SQL cannot encrypt payloads: they read whether that is wanted.
WITH noted AS (
    INSERT INTO taskflow_sql_submission AS known (encrypts_payloads) VALUES (%(encrypts_payloads)s)
    ON CONFLICT (is_only) DO UPDATE SET encrypts_payloads = EXCLUDED.encrypts_payloads
    WHERE known.encrypts_payloads <> EXCLUDED.encrypts_payloads
)
INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at, version, workers, tz_version, reads_archive,
                            settings)
VALUES (%(id)s, %(name)s, %(lease_seconds)s, now() + make_interval(secs => %(lease_seconds)s),
        nullif(%(version)s, ''), %(workers)s, %(tz_version)s, true,
        %(settings)s::text::json)

-- name: renew_if_alive
-- A node whose lease has ended stays dead: other nodes may have its tasks already.
UPDATE taskflow_nodes
SET expires_at = taskflow_after(lease_seconds)
WHERE id = %(id)s AND expires_at > now()
RETURNING taskflow_now_if(id IS NOT NULL)

-- name: has_nodes
SELECT EXISTS (SELECT FROM taskflow_nodes WHERE expires_at > now())

-- name: retire
-- Releases what the node still holds: claims of a statement that was interrupted, and tasks
-- whose outcome could not be written.
WITH held AS MATERIALIZED (
    SELECT id, attempt, node, started_at FROM taskflow_tasks
    WHERE status = 'RUNNING' AND node_id = %(id)s
    FOR UPDATE
), retired AS (
    DELETE FROM taskflow_nodes WHERE id = %(id)s
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at)
    SELECT id, greatest(attempt, 1), 'INTERRUPTED', node, coalesce(started_at, now()), now() FROM held
), released AS (
    UPDATE taskflow_tasks AS t
    SET status = 'PENDING', attempt = greatest(t.attempt - 1, 0), node_id = NULL, claim_token = NULL
    FROM held WHERE t.id = held.id
    RETURNING t.id, t.priority, t.run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM released
)
SELECT id, priority, run_at FROM released CROSS JOIN announced

-- name: release_if_unknown
-- Claims that the node holds but does not know of, because the response was lost. Only those
-- from before its last renewal: later ones may be on their way to it.
WITH released AS (
    UPDATE taskflow_tasks
    SET status = 'PENDING', attempt = greatest(attempt - 1, 0), node_id = NULL, claim_token = NULL
    WHERE status = 'RUNNING' AND node_id = %(id)s AND started_at < %(before)s
      AND claim_token <> ALL (%(tokens)b::uuid[])
    RETURNING id, priority, run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM released
)
SELECT id, priority, run_at FROM released CROSS JOIN announced

-- name: rescue_if_dead
-- A task is lost when the lease of its node has ended or its node is gone (claimed just before
-- the node was deleted). SKIP LOCKED: of several nodes that rescue at once, each takes different
-- tasks. As in cancel_if_open, no more tasks than the budget allows. Parked tasks are last in the index of nodes,
-- and not read.
WITH locked AS MATERIALIZED (
    SELECT t.id, t.attempt, t.node, t.started_at, t.rescues >= %(max_rescues)s - 1 AS is_poison,
           CASE WHEN taskflow_field(t.options, 'callback_url') IS NULL THEN 0 ELSE t.size_bytes END AS copied_bytes
    FROM taskflow_tasks AS t LEFT JOIN taskflow_nodes AS n ON n.id = t.node_id
    WHERE t.status = 'RUNNING' AND t.node_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
      AND (n.id IS NULL OR n.expires_at <= now())
    LIMIT %(limit)s
    FOR UPDATE OF t SKIP LOCKED
), portion AS (
    SELECT *, sum(copied_bytes) OVER (ORDER BY id) - copied_bytes AS bytes_before FROM locked
), lost AS MATERIALIZED (
    SELECT * FROM portion WHERE bytes_before < %(budget_bytes)s
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at)
    SELECT id, greatest(attempt, 1), 'LOST', node, coalesce(started_at, now()), now() FROM lost
)
UPDATE taskflow_tasks AS t
SET status = CASE WHEN is_poison THEN 'FAILED' ELSE 'PENDING' END,
    error_type = CASE WHEN is_poison THEN 'poison' ELSE error_type END,
    error = CASE WHEN is_poison
            THEN 'poison: its node died ' || (rescues::bigint + 1)::text || ' times while running it'
            ELSE error END,
    finished_at = taskflow_now_if(is_poison),
    delete_at = CASE WHEN is_poison THEN taskflow_delete_at(retention_seconds) END,
    attempt = greatest(t.attempt - 1, 0), rescues = least(rescues, 2147483646) + 1, node_id = NULL, claim_token = NULL
FROM lost WHERE t.id = lost.id
RETURNING t.id, t.priority, t.run_at, is_poison,
-- insert: frees

-- name: delete_dead_nodes
-- Dead nodes are kept for a minute, for monitoring; after that until they hold no tasks.
DELETE FROM taskflow_nodes AS n
WHERE expires_at < now() - interval '1 minute' AND id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
  AND NOT EXISTS (
      SELECT FROM taskflow_tasks AS t
      WHERE t.status = 'RUNNING' AND t.node_id = n.id AND t.node_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
  )
