-- Every statement of PostgresStore. A name that ends in _if_... names the condition under
-- which the statement changes anything. queries.py loads this file.
-- Arrays go as %(...)b, in the binary format: as text psycopg looks for what to quote in each
-- element, which took seven times as long as all the rest of sending 16 results.

-- name: add
-- Keep new tasks and wake other nodes, in one statement and so in one transaction. Those that are
-- claimed as they are stored, by a node that is alive, are news to nobody. What hardly any task
-- has comes as JSON. A request whose key is known already adds nothing; of several at once the
-- first one wins, and the keys are taken in one order everywhere, so that nobody waits in a circle.
WITH claim AS MATERIALIZED (
    SELECT id AS node_id, name AS node, %(token)s::uuid AS claim_token, now() AS started_at
    FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > now()
), numbered AS MATERIALIZED (
    SELECT taskflow_new_id() AS id, t.payload, t.queue, t.priority, t.max_attempts, t.host,
           t.is_wanted, t.place, extra.expires_at, extra.retention_seconds, extra.tags,
           extra.options, extra.key, extra.fingerprint, extra.key_seconds, extra.request,
           CASE WHEN extra.run_at IS NULL THEN now() + make_interval(secs => t.delay_seconds)
           ELSE greatest(extra.run_at, now()) END AS run_at
    FROM unnest(
        %(payloads)b::text[], %(queues)b::text[], %(priorities)b::smallint[],
        %(delays)b::float8[], %(attempts)b::integer[], %(hosts)b::text[], %(extras)b::text[],
        %(claimed)b::boolean[]
    ) WITH ORDINALITY
        AS t (payload, queue, priority, delay_seconds, max_attempts, host, extra, is_wanted, place)
    LEFT JOIN LATERAL json_to_record(t.extra::json) AS extra (
        run_at timestamptz, expires_at timestamptz, retention_seconds float8, tags json,
        options json, key text, fingerprint text, key_seconds float8, request bigint
    ) ON t.extra IS NOT NULL
), requests AS (
    SELECT key, request, min(fingerprint) AS fingerprint, min(key_seconds) AS key_seconds,
           array_agg(id ORDER BY place) AS task_ids
    FROM numbered WHERE key IS NOT NULL GROUP BY key, request
), keyed AS (
    INSERT INTO taskflow_idempotency_keys AS known (key, fingerprint, task_ids, expires_at)
    SELECT DISTINCT ON (key) key, decode(fingerprint, 'hex'), task_ids,
           now() + make_interval(secs => key_seconds)
    FROM requests ORDER BY key, request
    ON CONFLICT (key) DO UPDATE
    SET fingerprint = EXCLUDED.fingerprint, task_ids = EXCLUDED.task_ids,
        expires_at = EXCLUDED.expires_at
    WHERE known.expires_at <= now()
    RETURNING task_ids
), handed_in AS MATERIALIZED (
    SELECT * FROM numbered LEFT JOIN claim ON is_wanted
    WHERE key IS NULL OR id IN (SELECT unnest(task_ids) FROM keyed)
), kept AS (
    INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, priority, run_at, max_attempts,
                                host, expires_at, retention_seconds, tags, options,
                                status, attempt, node_id, node, claim_token, started_at)
    SELECT id, payload::json, octet_length(concat(payload, tags, options)), queue, priority, run_at, max_attempts,
           host, expires_at, retention_seconds, tags, options,
           CASE WHEN node IS NULL THEN 'PENDING' ELSE 'RUNNING' END, (node IS NOT NULL)::integer,
           node_id, node, claim_token, started_at
    FROM handed_in ORDER BY place
), tagged AS (
    INSERT INTO taskflow_tags (name, value, task_id)
    SELECT tag.key, tag.value, handed_in.id
    FROM handed_in CROSS JOIN LATERAL json_each_text(tags) AS tag
    WHERE tags IS NOT NULL
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at))
    FROM handed_in WHERE node IS NULL
)
SELECT place - 1, id, priority, run_at, now(), node IS NOT NULL
FROM handed_in CROSS JOIN announced ORDER BY place

-- name: known_keys
SELECT key, fingerprint, task_ids FROM taskflow_idempotency_keys WHERE key = ANY (%(keys)b::text[])

-- name: read
SELECT id, payload::text, status, result::text, error, error_type, created_at, run_at,
       started_at, finished_at, queue, priority, attempt, max_attempts, rescues, tags::text,
       expires_at, retention_seconds, options::text
FROM taskflow_tasks
WHERE id = ANY (%(ids)b::uuid[])
ORDER BY id DESC

-- name: read_some
-- The same without what is large, where nobody asks for it: it is not even unpacked then.
SELECT id, CASE WHEN %(has_payload)s THEN payload::text ELSE 'null' END, status,
       CASE WHEN %(has_result)s THEN result::text END, error, error_type, created_at, run_at,
       started_at, finished_at, queue, priority, attempt, max_attempts, rescues, tags::text,
       expires_at, retention_seconds, options::text
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

-- name: count_pending
-- In the order of the index of claims, which has nothing else in it: a planner that thinks that
-- most tasks wait would otherwise read the table from its beginning.
SELECT count(*) FROM (
    SELECT FROM taskflow_tasks WHERE status = 'PENDING'
    ORDER BY priority DESC, run_at, id LIMIT %(limit)s
) AS waiting

-- name: fold_changes
-- Some of what changed goes into the counts; nothing is waited for, and in an order that is the
-- same for all nodes. Says how many changes it were, and of what there are none left.
WITH taken AS MATERIALIZED (
    DELETE FROM taskflow_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM taskflow_changes LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING queue, status, date_trunc('minute', at) AS minute, change
), counted AS (
    INSERT INTO taskflow_counts AS c (queue, status, count)
    SELECT queue, status, sum(change) FROM taken
    GROUP BY queue, status HAVING sum(change) <> 0 ORDER BY queue, status
    ON CONFLICT (queue, status) DO UPDATE SET count = c.count + excluded.count
    RETURNING queue, status, count
), ended AS (
    INSERT INTO taskflow_endings AS e (minute, queue, status, count)
    SELECT minute, queue, status, sum(change) FROM taken
    WHERE change > 0 AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
      AND minute >= now() - make_interval(secs => %(kept_seconds)s)
    GROUP BY minute, queue, status ORDER BY minute, queue, status
    ON CONFLICT (minute, queue, status) DO UPDATE SET count = e.count + excluded.count
)
SELECT (SELECT count(*) FROM taken),
       coalesce(array_agg(queue), '{}'), coalesce(array_agg(status), '{}')
FROM counted WHERE count = 0

-- name: forget_counts
-- Those of which there are none left, so that queues can come and go, and endings long past.
WITH empty AS (
    DELETE FROM taskflow_counts WHERE (queue, status) IN (
        SELECT c.queue, c.status FROM taskflow_counts AS c
        JOIN unnest(%(queues)b::text[], %(statuses)b::text[]) AS e (queue, status)
          ON (c.queue, c.status) = (e.queue, e.status)
        WHERE c.count = 0
        FOR UPDATE OF c SKIP LOCKED
    )
)
DELETE FROM taskflow_endings WHERE (minute, queue, status) IN (
    SELECT minute, queue, status FROM taskflow_endings
    WHERE minute < now() - make_interval(secs => %(kept_seconds)s)
    FOR UPDATE SKIP LOCKED
)

-- name: count
-- What is folded and what is not, by queue and status, and by status for all (without a queue);
-- of endings what lies within the last minute, five minutes and hour. One queue more is looked
-- for than is to be listed.
WITH parts AS (
    SELECT queue, status, count, 0 AS ended, NULL::timestamptz AS minute FROM taskflow_counts
    UNION ALL
    SELECT queue, status, 0, count, minute FROM taskflow_endings
    WHERE minute > now() - interval '61 minutes'
    UNION ALL
    SELECT queue, status, change,
           CASE WHEN status IN ('COMPLETED', 'FAILED', 'CANCELED') THEN greatest(change, 0) END,
           date_trunc('minute', at)
    FROM taskflow_changes
), summed AS MATERIALIZED (
    SELECT queue, status, sum(count)::bigint AS count,
           coalesce(sum(ended * taskflow_share(minute, '1 minute')), 0) AS in_minute,
           coalesce(sum(ended * taskflow_share(minute, '5 minutes')), 0) AS in_5_minutes,
           coalesce(sum(ended * taskflow_share(minute, '1 hour')), 0) AS in_hour
    FROM parts GROUP BY GROUPING SETS ((queue, status), (status))
), listed AS (
    SELECT queue FROM summed
    WHERE queue = coalesce(%(queue)s, queue) AND (count <> 0 OR in_hour > 0)
    GROUP BY queue ORDER BY queue COLLATE "C" LIMIT %(limit)s + 1
)
SELECT queue, status, count, in_minute, in_5_minutes, in_hour FROM summed
WHERE (queue IS NULL OR queue IN (SELECT queue FROM listed)) AND (count <> 0 OR in_hour > 0)
ORDER BY queue COLLATE "C"

-- name: oldest_waiting
-- Since how many seconds ago the first task of each queue has been due, and that of all.
SELECT asked.queue, extract(epoch FROM now() - first.run_at)::float8
FROM unnest(%(queues)b::text[]) AS asked (queue) CROSS JOIN LATERAL (
    SELECT t.run_at FROM taskflow_tasks AS t
    WHERE t.status = 'PENDING' AND t.queue = asked.queue
    ORDER BY t.run_at LIMIT 1
) AS first
WHERE first.run_at <= now()
UNION ALL
SELECT NULL, extract(epoch FROM now() - min(run_at))::float8
FROM taskflow_present_priorities WHERE run_at <= now()

-- name: register
INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at)
VALUES (%(id)s, %(name)s, %(lease_seconds)s, now() + make_interval(secs => %(lease_seconds)s))

-- name: renew_if_alive
-- A node whose lease is over stays dead: others may have its tasks already.
UPDATE taskflow_nodes
SET expires_at = now() + make_interval(secs => lease_seconds)
WHERE id = %(id)s AND expires_at > now()
RETURNING now()

-- name: retire
-- What a claim that was cut off half-way may have taken is put back here, and what could not
-- be written any more.
WITH held AS MATERIALIZED (
    SELECT id, attempt, node, started_at FROM taskflow_tasks
    WHERE status = 'RUNNING' AND node_id = %(id)s
    FOR UPDATE
), retired AS (
    DELETE FROM taskflow_nodes WHERE id = %(id)s
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at)
    SELECT id, attempt, 'INTERRUPTED', node, started_at, now() FROM held
), released AS (
    UPDATE taskflow_tasks AS t
    SET status = 'PENDING', attempt = t.attempt - 1, node_id = NULL, claim_token = NULL
    FROM held WHERE t.id = held.id
    RETURNING t.id, t.priority, t.run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM released
)
SELECT id, priority, run_at FROM released CROSS JOIN announced

-- name: release_if_unknown
-- What the node holds and does not know of: claims whose answer was lost. Only those from
-- before its last renewal, for later ones may be on their way to it.
WITH released AS (
    UPDATE taskflow_tasks
    SET status = 'PENDING', attempt = attempt - 1, node_id = NULL, claim_token = NULL
    WHERE status = 'RUNNING' AND node_id = %(id)s AND started_at < %(before)s
      AND claim_token <> ALL (%(tokens)b::uuid[])
    RETURNING id, priority, run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM released
)
SELECT id, priority, run_at FROM released CROSS JOIN announced

-- name: rescue_if_dead
-- A task is lost when its node's lease is over or its node is gone (claimed just before the
-- node was forgotten). SKIP LOCKED: of several nodes that notice at once, each takes others.
WITH lost AS MATERIALIZED (
    SELECT t.id, t.attempt, t.node, t.started_at, t.rescues + 1 >= %(max_rescues)s AS is_poison
    FROM taskflow_tasks AS t LEFT JOIN taskflow_nodes AS n ON n.id = t.node_id
    WHERE t.status = 'RUNNING' AND (n.id IS NULL OR n.expires_at <= now())
    LIMIT %(limit)s
    FOR UPDATE OF t SKIP LOCKED
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at)
    SELECT id, attempt, 'LOST', node, started_at, now() FROM lost
)
UPDATE taskflow_tasks AS t
SET status = CASE WHEN is_poison THEN 'FAILED' ELSE 'PENDING' END,
    error_type = CASE WHEN is_poison THEN 'poison' ELSE error_type END,
    error = CASE WHEN is_poison
            THEN format('poison: its node died %%s times while running it', rescues + 1)
            ELSE error END,
    finished_at = CASE WHEN is_poison THEN now() END,
    delete_at = CASE WHEN is_poison THEN now() + make_interval(secs => retention_seconds) END,
    attempt = t.attempt - 1, rescues = rescues + 1, node_id = NULL, claim_token = NULL
FROM lost WHERE t.id = lost.id
RETURNING t.id, t.priority, t.run_at, is_poison

-- name: forget_dead_nodes
-- Kept for a minute after their end, for whoever looks; then only if they hold nothing.
DELETE FROM taskflow_nodes AS n
WHERE expires_at < now() - interval '1 minute'
  AND NOT EXISTS (
      SELECT FROM taskflow_tasks AS t WHERE t.status = 'RUNNING' AND t.node_id = n.id
  )

-- name: survey
-- The first place of each priority that has tasks: where claims may begin (see frontier.py).
SELECT priority, run_at FROM taskflow_present_priorities

-- name: claim_if_alive
-- By priority, then run_at, then id. One priority after the other, from a place before which
-- nothing waits: so neither what was claimed before nor tasks that are not due yet, however
-- many, are walked through.
-- SKIP LOCKED: nodes that claim at once take different tasks and wait for nobody.
WITH alive AS MATERIALIZED (
    SELECT name FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > now()
), due AS MATERIALIZED (
    SELECT one.id
    FROM unnest(%(priorities)b::smallint[], %(since)b::timestamptz[]) AS place (priority, since)
    CROSS JOIN LATERAL (
        SELECT t.id FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority = place.priority
          AND t.run_at BETWEEN place.since AND now() AND EXISTS (SELECT FROM alive)
          AND (t.expires_at IS NULL OR t.expires_at > now())
        ORDER BY t.run_at, t.id LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS one
    LIMIT %(limit)s
)
UPDATE taskflow_tasks AS t
SET status = 'RUNNING', node_id = %(node_id)s, node = (SELECT name FROM alive),
    claim_token = %(token)s, started_at = now(), attempt = attempt + 1
FROM due WHERE t.id = due.id
RETURNING t.id, t.payload::text, t.attempt, t.max_attempts, t.options::text, t.priority,
          t.run_at

-- name: claim_by_age_if_alive
-- Those that have been due for the longest, whatever their priority: of each priority the
-- oldest, and of these the oldest.
WITH alive AS MATERIALIZED (
    SELECT name FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > now()
), oldest AS MATERIALIZED (
    SELECT one.id
    FROM unnest(%(priorities)b::smallint[], %(since)b::timestamptz[]) AS place (priority, since)
    CROSS JOIN LATERAL (
        SELECT t.id, t.run_at FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority = place.priority
          AND t.run_at BETWEEN place.since AND now()
          AND (t.expires_at IS NULL OR t.expires_at > now())
        ORDER BY t.run_at, t.id LIMIT %(limit)s
    ) AS one
    ORDER BY one.run_at, one.id LIMIT %(limit)s
), due AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id IN (SELECT id FROM oldest) AND status = 'PENDING' AND EXISTS (SELECT FROM alive)
    FOR UPDATE SKIP LOCKED
)
UPDATE taskflow_tasks AS t
SET status = 'RUNNING', node_id = %(node_id)s, node = (SELECT name FROM alive),
    claim_token = %(token)s, started_at = now(), attempt = attempt + 1
FROM due WHERE t.id = due.id
RETURNING t.id, t.payload::text, t.attempt, t.max_attempts, t.options::text, t.priority,
          t.run_at

-- name: next_due
-- In how many seconds the next task becomes due that is not due yet.
SELECT extract(epoch FROM min(one.run_at) - now())::float8
FROM unnest(%(priorities)b::smallint[]) AS known (priority) CROSS JOIN LATERAL (
    SELECT t.run_at FROM taskflow_tasks AS t
    WHERE t.status = 'PENDING' AND t.priority = known.priority AND t.run_at > now()
    ORDER BY t.run_at LIMIT 1
) AS one

-- name: settle_if_held
UPDATE taskflow_tasks AS t
SET status = e.status, result = e.result::json, error = e.error, error_type = e.error_type,
    status_code = e.status_code, elapsed_ms = e.elapsed_ms,
    size_bytes = size_bytes + coalesce(octet_length(e.result), 0),
    finished_at = now(), delete_at = now() + make_interval(secs => retention_seconds),
    node_id = NULL, claim_token = NULL
FROM unnest(
    %(ids)b::uuid[], %(tokens)b::uuid[], %(statuses)b::text[], %(results)b::text[],
    %(errors)b::text[], %(error_types)b::text[], %(status_codes)b::smallint[],
    %(elapsed)b::float8[]
) AS e (id, token, status, result, error, error_type, status_code, elapsed_ms)
WHERE t.id = e.id AND t.status = 'RUNNING' AND t.claim_token = e.token
RETURNING t.id

-- name: retry_if_held
WITH held AS MATERIALIZED (
    SELECT t.id, t.attempt, t.node, t.started_at,
           e.delay_seconds, e.error, e.error_type, e.status_code, e.elapsed_ms
    FROM taskflow_tasks AS t JOIN unnest(
        %(ids)b::uuid[], %(tokens)b::uuid[], %(delays)b::float8[], %(errors)b::text[],
        %(error_types)b::text[], %(status_codes)b::smallint[], %(elapsed)b::float8[]
    ) AS e (id, token, delay_seconds, error, error_type, status_code, elapsed_ms)
    ON t.id = e.id AND t.status = 'RUNNING' AND t.claim_token = e.token
    FOR UPDATE OF t
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at,
                                   error, error_type, status_code, elapsed_ms)
    SELECT id, attempt, 'FAILED', node, started_at, now(),
           error, error_type, status_code, elapsed_ms
    FROM held
)
UPDATE taskflow_tasks AS t
SET status = 'PENDING', run_at = now() + make_interval(secs => held.delay_seconds),
    error = held.error, error_type = held.error_type, node_id = NULL, claim_token = NULL
FROM held WHERE t.id = held.id
RETURNING t.id, t.priority, t.run_at

-- name: release_if_held
-- As if never claimed; other nodes are told, for this one may be going away. Those that had
-- been started are recorded: their target may have been asked.
WITH held AS MATERIALIZED (
    SELECT t.id, t.attempt, t.node, t.started_at, e.elapsed_ms
    FROM taskflow_tasks AS t JOIN unnest(
        %(ids)b::uuid[], %(tokens)b::uuid[], %(elapsed)b::float8[]
    ) AS e (id, token, elapsed_ms)
    ON t.id = e.id AND t.status = 'RUNNING' AND t.claim_token = e.token
    FOR UPDATE OF t
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at,
                                   elapsed_ms)
    SELECT id, attempt, 'INTERRUPTED', node, started_at, now(), elapsed_ms
    FROM held WHERE elapsed_ms IS NOT NULL
), released AS (
    UPDATE taskflow_tasks AS t
    SET status = 'PENDING', attempt = t.attempt - 1, node_id = NULL, claim_token = NULL
    FROM held WHERE t.id = held.id
    RETURNING t.id, t.priority, t.run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM released
)
SELECT id, priority, run_at FROM released CROSS JOIN announced

-- name: cancel_if_open
-- The nodes that run them are told which claims were taken away (see cancellations.py): 111 bytes
-- each, where a notification has room for 8,000. In the order of ids, as all that is done by hand
-- to many tasks, so that two who do so at once wait for each other only one way.
WITH open AS MATERIALIZED (
    SELECT id, status, attempt, node, started_at, node_id, claim_token FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status IN ('PENDING', 'RUNNING')
    ORDER BY id FOR UPDATE
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at)
    SELECT id, attempt, 'CANCELED', node, started_at, now() FROM open WHERE status = 'RUNNING'
), canceled AS (
    UPDATE taskflow_tasks AS t
    SET status = 'CANCELED', finished_at = now(),
        delete_at = now() + make_interval(secs => retention_seconds),
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

-- name: taken_away
SELECT id, token FROM unnest(%(ids)b::uuid[], %(tokens)b::uuid[]) AS claim (id, token)
WHERE NOT EXISTS (
    SELECT FROM taskflow_tasks AS t
    WHERE t.id = claim.id AND t.status = 'RUNNING' AND t.claim_token = claim.token
)

-- name: requeue_if_ended
-- From the start: nothing of the earlier runs counts any more, but their attempts are kept. Whoever
-- wants it run again does not mind that it is late.
WITH ended AS MATERIALIZED (
    SELECT id, status, attempt, node, started_at, finished_at, error, error_type, status_code,
           elapsed_ms
    FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status IN ('FAILED', 'CANCELED')
    ORDER BY id FOR UPDATE
), recorded AS (
    INSERT INTO taskflow_attempts (task_id, number, status, node, started_at, finished_at,
                                   error, error_type, status_code, elapsed_ms)
    SELECT id, attempt, status, node, started_at, finished_at, error, error_type, status_code,
           elapsed_ms
    FROM ended
    WHERE status = 'FAILED' AND error_type NOT IN ('poison', 'expired') AND attempt > 0
), requeued AS (
    UPDATE taskflow_tasks AS t
    SET status = 'PENDING', run_at = now(), attempt = 0, rescues = 0, error = NULL,
        error_type = NULL, status_code = NULL, elapsed_ms = NULL, node = NULL,
        started_at = NULL, finished_at = NULL, expires_at = NULL, delete_at = NULL
    FROM ended WHERE t.id = ended.id
    RETURNING t.id, t.priority, t.run_at
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM requeued
)
SELECT id, priority, run_at FROM requeued CROSS JOIN announced

-- name: expire_if_over
-- SKIP LOCKED: what is being claimed at this moment has begun in time.
WITH over AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE status = 'PENDING' AND expires_at <= now()
    ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE taskflow_tasks AS t
SET status = 'FAILED', error_type = 'expired', error = %(error)s, finished_at = now(),
    delete_at = now() + make_interval(secs => retention_seconds)
FROM over WHERE t.id = over.id
RETURNING t.id

-- name: next_expiry
-- In how many seconds the next task that waits expires.
SELECT extract(epoch FROM expires_at - now())::float8 FROM taskflow_tasks
WHERE status = 'PENDING' AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1

-- name: delete_if_ended
-- Their attempts go with them.
WITH ended AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
    ORDER BY id FOR UPDATE
)
DELETE FROM taskflow_tasks AS t USING ended WHERE t.id = ended.id
RETURNING t.id

-- name: attempts
-- The last attempt stands in the task's row until another move puts it with the others.
SELECT number, status, node, started_at, finished_at, elapsed_ms, status_code, error, error_type
FROM (
    SELECT 0 AS place, id, number, status, node, started_at, finished_at, elapsed_ms,
           status_code, error, error_type
    FROM taskflow_attempts WHERE task_id = %(id)s
    UNION ALL
    SELECT 1, 0, attempt, status, node, started_at, finished_at, elapsed_ms, status_code,
           error, error_type
    FROM taskflow_tasks
    WHERE id = %(id)s AND attempt > 0
      AND (status = 'COMPLETED' OR status = 'FAILED' AND error_type NOT IN ('poison', 'expired'))
    UNION ALL
    SELECT 1, 0, attempt, status, node, started_at, NULL, NULL, NULL, NULL, NULL
    FROM taskflow_tasks WHERE id = %(id)s AND status = 'RUNNING'
) AS a
ORDER BY place, id

-- name: delete_if_ended_before
-- A few at a time, those first that were created first. Ids grow with the time of creation, and
-- nothing ends before it was created: so the index on (status, id) finds them.
WITH old AS (
    SELECT id, size_bytes FROM taskflow_tasks
    WHERE status = %(status)s AND retention_seconds IS NULL
      AND finished_at < now() - make_interval(secs => %(age_seconds)s)
      AND id < taskflow_least_id(now() - make_interval(secs => %(age_seconds)s))
    ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), few AS (
    SELECT id, sum(size_bytes) OVER (ORDER BY id) - size_bytes AS bytes_before FROM old
), deleted AS (
    DELETE FROM taskflow_tasks
    WHERE id IN (SELECT id FROM few WHERE bytes_before < %(budget_bytes)s)
    RETURNING id
)
SELECT count(*) FROM deleted

-- name: delete_if_kept_long_enough
-- Those that say themselves how long they are kept.
WITH old AS (
    SELECT id, delete_at, size_bytes FROM taskflow_tasks
    WHERE delete_at <= now()
    ORDER BY delete_at, id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), few AS (
    SELECT id, sum(size_bytes) OVER (ORDER BY delete_at, id) - size_bytes AS bytes_before FROM old
), deleted AS (
    DELETE FROM taskflow_tasks
    WHERE id IN (SELECT id FROM few WHERE bytes_before < %(budget_bytes)s)
    RETURNING id
)
SELECT count(*) FROM deleted

-- name: forget_old_keys
DELETE FROM taskflow_idempotency_keys
WHERE key IN (
    SELECT key FROM taskflow_idempotency_keys
    WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
RETURNING key

-- name: wait_for_writers
-- Those who have looked whether events are recorded, and are about to commit. They are done in a
-- moment; if not, what they do may be missing. Who comes later looks when this transaction is over.
SELECT pg_advisory_xact_lock(8386658447506927982)

-- name: are_events_recorded
-- Whether they are, and whether for so long that nobody need say so again yet.
SELECT recorded_until > now(), recorded_until > now() + make_interval(secs => %(seconds)s / 2)
FROM taskflow_event_log

-- name: record_events
-- From the place where it is begun on, nothing is missing.
UPDATE taskflow_event_log
SET complete_after = CASE WHEN recorded_until > now() THEN complete_after
        ELSE coalesce(pg_sequence_last_value('taskflow_events_id_seq'), 0) END,
    recorded_until = now() + make_interval(secs => %(seconds)s)

-- name: last_event
SELECT greatest(coalesce(max(id), 0), (SELECT complete_after FROM taskflow_event_log))
FROM taskflow_events

-- name: events_complete_after
SELECT complete_after FROM taskflow_event_log

-- name: events_after
SELECT id, task_id, status, queue, attempt, at, error, error_type, tags::text
FROM taskflow_events WHERE id > %(position)s AND id <= %(until)s ORDER BY id LIMIT %(limit)s

-- name: wanted_events_after
-- Tags are compared as text.
SELECT id, task_id, status, queue, attempt, at, error, error_type, tags::text
FROM taskflow_events AS e WHERE id > %(position)s AND id <= %(until)s
  AND (%(task_id)s::uuid IS NULL OR task_id = %(task_id)s)
  AND (%(queue)s::text IS NULL OR queue = %(queue)s)
  AND NOT EXISTS (
      SELECT FROM json_each_text(%(tags)s::json) AS tag
      WHERE e.tags ->> tag.key IS DISTINCT FROM tag.value
  )
ORDER BY id LIMIT %(limit)s

-- name: forget_events
WITH old AS (
    SELECT id, at FROM taskflow_events ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM taskflow_events
    WHERE id IN (SELECT id FROM old WHERE at < now() - make_interval(secs => %(age_seconds)s))
    RETURNING id
), noted AS (
    UPDATE taskflow_event_log
    SET complete_after = greatest(complete_after, (SELECT max(id) FROM forgotten))
    WHERE EXISTS (SELECT FROM forgotten)
)
SELECT count(*) FROM forgotten
