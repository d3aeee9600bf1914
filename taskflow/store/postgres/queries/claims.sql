-- Claims, from the claim to its outcome.

-- name: survey
-- The first point of each priority that has tasks: where claims may begin (claim_position.py).
SELECT priority, run_at FROM taskflow_present_priorities

-- name: claim_if_alive
-- Claim by priority, then run_at, then id. One priority after the other, from a point before
-- which there are no tasks: so neither claimed tasks nor tasks that are not due yet, however
-- many, are read. SKIP LOCKED: concurrent claims take different tasks and do not wait. If there
-- are limits nothing is claimed, because a scan has to choose (claim_scan.py).
-- Whether there are queues with settings is read once, so that tasks without any pay no look-up.
WITH alive AS MATERIALIZED (
    SELECT name FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > now()
      AND NOT EXISTS (SELECT FROM taskflow_queues WHERE is_limited)
      AND NOT EXISTS (SELECT FROM taskflow_hosts)
), due AS MATERIALIZED (
    SELECT one.id
    FROM unnest(%(priorities)b::smallint[], %(since)b::timestamptz[]) AS place (priority, since)
    CROSS JOIN LATERAL (
        SELECT t.id FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority = place.priority
          AND t.run_at BETWEEN coalesce(place.since, '-infinity') AND now() AND EXISTS (SELECT FROM alive)
          AND (t.expires_at IS NULL OR t.expires_at > now())
        ORDER BY t.run_at, t.id LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS one
    LIMIT %(limit)s
)
UPDATE taskflow_tasks AS t
SET status = 'RUNNING', node_id = %(node_id)s, node = (SELECT name FROM alive),
    claim_token = %(token)s, started_at = taskflow_now_if(t.id IS NOT NULL), attempt = least(attempt, 2147483646) + 1
FROM due WHERE t.id = due.id
RETURNING t.id, t.payload::text, t.attempt, t.max_attempts, t.options::text, t.priority,
          t.run_at, t.authority, t.queue,
          taskflow_age(t.run_at), t.tags::text,
          CASE WHEN EXISTS (SELECT FROM taskflow_queues)
          THEN (SELECT q.settings::text FROM taskflow_queues AS q WHERE q.name = t.queue) END

-- name: claim_by_age_if_alive
-- Claim the tasks that have been due longest, whatever their priority: the oldest of each
-- priority, and of these the oldest. Their times are compared once more under the lock, because a
-- later submission may have moved them meanwhile.
WITH alive AS MATERIALIZED (
    SELECT name FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > now()
      AND NOT EXISTS (SELECT FROM taskflow_queues WHERE is_limited)
      AND NOT EXISTS (SELECT FROM taskflow_hosts)
), oldest AS MATERIALIZED (
    SELECT one.id
    FROM unnest(%(priorities)b::smallint[], %(since)b::timestamptz[]) AS place (priority, since)
    CROSS JOIN LATERAL (
        SELECT t.id, t.run_at FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority = place.priority
          AND t.run_at BETWEEN coalesce(place.since, '-infinity') AND now()
          AND (t.expires_at IS NULL OR t.expires_at > now())
        ORDER BY t.run_at, t.id LIMIT %(limit)s
    ) AS one
    ORDER BY one.run_at, one.id LIMIT %(limit)s
), due AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id IN (SELECT id FROM oldest) AND status = 'PENDING' AND run_at <= now()
      AND EXISTS (SELECT FROM alive)
    FOR UPDATE SKIP LOCKED
)
UPDATE taskflow_tasks AS t
SET status = 'RUNNING', node_id = %(node_id)s, node = (SELECT name FROM alive),
    claim_token = %(token)s, started_at = taskflow_now_if(t.id IS NOT NULL), attempt = least(attempt, 2147483646) + 1
FROM due WHERE t.id = due.id
RETURNING t.id, t.payload::text, t.attempt, t.max_attempts, t.options::text, t.priority,
          t.run_at, t.authority, t.queue,
          taskflow_age(t.run_at), t.tags::text,
          CASE WHEN EXISTS (SELECT FROM taskflow_queues)
          THEN (SELECT q.settings::text FROM taskflow_queues AS q WHERE q.name = t.queue) END

-- name: next_due
-- Seconds until the next task becomes due, and the time of this statement. A task that became due
-- since the given time counts: the last claim may have been too early for it. A claim ends within
-- 10 seconds; older entries of claimed tasks are not read. Tasks that wait for others have no due
-- time, and their entries are not read.
SELECT extract(epoch FROM taskflow_bounded(min(one.run_at)) - now())::float8, now()
FROM unnest(%(priorities)b::smallint[]) AS known (priority) CROSS JOIN LATERAL (
    SELECT t.run_at FROM taskflow_tasks AS t
    WHERE t.status = 'PENDING' AND t.priority = known.priority
      AND t.run_at > greatest(%(since)b::timestamptz, now() - interval '10 seconds')
      AND t.run_at < taskflow_never()
    ORDER BY t.run_at LIMIT 1
) AS one

-- name: settle_if_held
-- Only a RUNNING task has a token (running_is_held). A condition on the status would let the planner
-- read all entries of RUNNING tasks, with the entries of tasks that have finished since the last vacuum.
-- The results of FAILED tasks are the responses of their last attempt: they need no array of
-- their own.
UPDATE taskflow_tasks AS t
SET status = e.status, error = e.error, error_type = e.error_type,
    result = CASE WHEN e.status = 'COMPLETED' THEN e.result::json END,
    response = CASE WHEN e.status = 'FAILED' THEN e.result::json END,
    status_code = e.status_code, elapsed_ms = e.elapsed_ms,
    size_bytes = least(2147483647, size_bytes::bigint
        + CASE WHEN e.status = 'COMPLETED' THEN coalesce(octet_length(e.result), 0) ELSE 0 END),
    finished_at = now(), delete_at = taskflow_delete_at(retention_seconds),
    node_id = NULL, claim_token = NULL
FROM unnest(
    %(ids)b::uuid[], %(tokens)b::uuid[], %(statuses)b::text[], %(results)b::text[],
    %(errors)b::text[], %(error_types)b::text[], %(status_codes)b::smallint[],
    %(elapsed)b::float8[]
) AS e (id, token, status, result, error, error_type, status_code, elapsed_ms)
WHERE t.id = e.id AND t.claim_token = e.token
RETURNING t.id,
-- insert: frees

-- part: held_rows
-- The rows of claims that are still held, locked. Not in a join, whose locks Citus cannot plan.
held_rows AS MATERIALIZED (
    SELECT id, claim_token, node_id, queue, attempt, node, started_at FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND claim_token = ANY (%(tokens)b::uuid[])
    FOR UPDATE

-- name: retry_if_held
WITH
-- insert: held_rows
), held AS MATERIALIZED (
    SELECT t.id, t.attempt, t.node, t.started_at,
           e.delay_seconds, e.error, e.error_type, e.status_code, e.elapsed_ms, e.response
    FROM held_rows AS t JOIN unnest(
        %(ids)b::uuid[], %(tokens)b::uuid[], %(delays)b::float8[], %(errors)b::text[],
        %(error_types)b::text[], %(status_codes)b::smallint[], %(elapsed)b::float8[],
        %(responses)b::text[]
    ) AS e (id, token, delay_seconds, error, error_type, status_code, elapsed_ms, response)
    ON t.id = e.id AND t.claim_token = e.token
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at,
                                   error, error_type, status_code, elapsed_ms, response)
    SELECT id, greatest(attempt, 1), 'FAILED', node, coalesce(started_at, now()), now(),
           error, error_type, status_code, elapsed_ms, response::json
    FROM held
)
UPDATE taskflow_tasks AS t
SET status = 'PENDING', run_at = taskflow_after(held.delay_seconds),
    error = held.error, error_type = held.error_type, node_id = NULL, claim_token = NULL
FROM held WHERE t.id = held.id
RETURNING t.id, t.priority, t.run_at

-- name: release_if_held
-- As if never claimed, but due after the delay if there is one. Other nodes are notified, because
-- this one may be shutting down. Attempts that had begun are recorded: their target may have
-- received a request.
WITH
-- insert: held_rows
), held AS MATERIALIZED (
    SELECT t.id, t.attempt, t.node, t.started_at, e.elapsed_ms, e.delay_seconds, e.error, e.error_type
    FROM held_rows AS t JOIN unnest(
        %(ids)b::uuid[], %(tokens)b::uuid[], %(elapsed)b::float8[], %(delays)b::float8[],
        %(errors)b::text[], %(error_types)b::text[]
    ) AS e (id, token, elapsed_ms, delay_seconds, error, error_type)
    ON t.id = e.id AND t.claim_token = e.token
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at,
                                   elapsed_ms)
    SELECT id, greatest(attempt, 1), 'INTERRUPTED', node, coalesce(started_at, now()), now(),
           elapsed_ms
    FROM held WHERE elapsed_ms IS NOT NULL
), released AS (
    UPDATE taskflow_tasks AS t
    SET status = 'PENDING', attempt = greatest(t.attempt - 1, 0), node_id = NULL, claim_token = NULL,
        run_at = CASE WHEN held.delay_seconds > 0
                      THEN taskflow_after(held.delay_seconds) ELSE t.run_at END,
        error = coalesce(held.error, t.error), error_type = coalesce(held.error_type, t.error_type)
    FROM held WHERE t.id = held.id
    RETURNING t.id, t.priority, t.run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM released
)
SELECT id, priority, run_at FROM released CROSS JOIN announced

-- name: lost_claims
SELECT id, token FROM unnest(%(ids)b::uuid[], %(tokens)b::uuid[]) AS claim (id, token)
WHERE NOT EXISTS (
    SELECT FROM taskflow_tasks AS t
    WHERE t.id = claim.id AND t.claim_token = claim.token
)
