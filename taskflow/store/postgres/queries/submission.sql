-- Submission of tasks.

-- part: claim_and_ids
-- The node that claims tasks as they are stored, if it is alive; and what the ids of a statement
-- share, as in taskflow_new_id(): UUIDv7 with milliseconds and their fraction. Between that and the
-- random part there is a counter of 22 bits, after the variant: a random number for each id would
-- take three system calls.
WITH claim AS MATERIALIZED (
    SELECT id AS node_id, name AS node, %(token)s::uuid AS claim_token, now() AS started_at
    FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > now()
), ids AS MATERIALIZED (
    SELECT lpad(to_hex(microseconds / 1000), 12, '0')
           || to_hex(28672 + (microseconds %% 1000) * 4096 / 1000) AS time,
           taskflow_marked(right(gen_random_uuid()::text, 10)) AS random
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS clock (microseconds)
)

-- part: announced
-- Notify other nodes, if there are any, of the tasks that are not claimed.
announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at))
    FROM submitted WHERE node IS NULL AND run_at < taskflow_never() AND (
        cardinality(%(own_nodes)b::uuid[]) = 0
        OR EXISTS (SELECT FROM taskflow_nodes AS n WHERE n.id <> ALL (%(own_nodes)b::uuid[]))
    )
)

-- name: add
-- Store new tasks and wake other nodes, in one statement and so in one transaction. If all nodes
-- are in this process, no one is notified: a notification costs more than storing a task. Tasks that
-- are claimed as they are stored, by a node that is alive, are not announced; where a limit or
-- an open circuit may hold them, or their queue says how they are sent, an ordinary claim follows.
-- Fields that hardly any
-- task has come as JSON. A request with a task whose group takes no more adds nothing, too: the locks keep groups from being closed. Tasks with an order key wait for `promote`, and are not announced. A request whose key is known adds nothing; of several at once the first
-- one wins, and all statements take keys in the same order, so that there is no deadlock.
-- insert: claim_and_ids
, numbered AS MATERIALIZED (
    SELECT (ids.time || to_hex(8388608 + t.place) || ids.random)::uuid AS id, t.payload, t.queue, t.priority, t.max_attempts, t.host, t.authority,
           t.is_claimed, t.place, extra.expires_at, extra.retention_seconds, extra.tags,
           extra.options, extra.key, extra.fingerprint, extra.key_seconds, extra.request,
           extra.order_key, extra.on_failure, extra."group",
           extra.near, extra.after, extra.parents_left, extra.has_children,
           CASE WHEN extra.order_key IS NOT NULL OR extra.parents_left IS NOT NULL THEN taskflow_never()
           WHEN extra.run_at IS NULL THEN now() + make_interval(secs => t.delay_seconds)
           ELSE greatest(extra.run_at, now()) END AS run_at
    FROM ids CROSS JOIN unnest(
        %(payloads)b::text[], %(queues)b::text[], %(priorities)b::smallint[],
        %(delays)b::float8[], %(attempts)b::integer[], %(hosts)b::text[], %(authorities)b::text[],
        %(extras)b::text[], %(claimed)b::boolean[]
    ) WITH ORDINALITY AS t (payload, queue, priority, delay_seconds, max_attempts, host, authority,
                            extra, is_claimed, place)
    LEFT JOIN LATERAL json_to_record(t.extra::json) AS extra (
        run_at timestamptz, expires_at timestamptz, retention_seconds float8, tags json,
        options json, key text, fingerprint text, key_seconds float8, request bigint,
        order_key text, on_failure text, "group" uuid,
        near json, after uuid[], parents_left integer, has_children boolean
    ) ON t.extra IS NOT NULL
), joined AS MATERIALIZED (
    SELECT g.id FROM taskflow_groups AS g
    WHERE g.id = ANY (ARRAY(SELECT "group" FROM numbered WHERE "group" IS NOT NULL))
      AND g.status = 'OPEN' AND g.cancel_state IS NULL
      AND coalesce(g.closing_until < clock_timestamp(), true)
    ORDER BY g.id FOR KEY SHARE
), refused AS MATERIALIZED (
    SELECT DISTINCT request FROM numbered
    WHERE "group" IS NOT NULL AND "group" NOT IN (SELECT id FROM joined)
), requests AS (
    SELECT key, request, min(fingerprint) AS fingerprint, min(key_seconds) AS key_seconds,
           array_agg(id ORDER BY place) AS task_ids
    FROM numbered WHERE key IS NOT NULL AND request NOT IN (SELECT request FROM refused)
    GROUP BY key, request
), keyed AS (
    INSERT INTO taskflow_idempotency_keys AS known (key, fingerprint, task_ids, expires_at)
    SELECT DISTINCT ON (key) key, decode(fingerprint, 'hex'), task_ids,
           now() + make_interval(secs => key_seconds)
    FROM requests ORDER BY key, request
    ON CONFLICT (key) DO UPDATE
    SET fingerprint = EXCLUDED.fingerprint, task_ids = EXCLUDED.task_ids,
        expires_at = EXCLUDED.expires_at
    WHERE taskflow_is_over(known.expires_at)
    RETURNING task_ids
), submitted AS MATERIALIZED (
    SELECT * FROM numbered LEFT JOIN claim ON is_claimed AND NOT EXISTS (
        SELECT FROM taskflow_queues AS q
        WHERE q.name = numbered.queue AND (q.is_limited OR q.settings::text <> '{}')
    ) AND NOT EXISTS (
        SELECT FROM taskflow_hosts AS h WHERE h.host = numbered.authority
    )
    WHERE CASE WHEN key IS NOT NULL THEN id IN (SELECT unnest(task_ids) FROM keyed)
          ELSE request IS NULL OR request NOT IN (SELECT request FROM refused) END
), kept AS (
    INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, priority, run_at, max_attempts,
                                host, authority, expires_at, retention_seconds, tags,
                                options, order_key, on_failure, waiting_for, group_id,
                                parents_left, has_children, status, attempt, node_id, node, claim_token, started_at)
    SELECT id, payload::json, octet_length(concat(payload, tags, options)), queue, priority, run_at, max_attempts,
           host, authority, expires_at, retention_seconds, tags, options,
           order_key, on_failure, CASE WHEN order_key IS NOT NULL THEN 'order_key'
                                  WHEN parents_left IS NOT NULL THEN 'parents' END, "group",
           parents_left, has_children, CASE WHEN node IS NULL THEN 'PENDING' ELSE 'RUNNING' END, (node IS NOT NULL)::integer,
           node_id, node, claim_token, started_at
    FROM submitted ORDER BY place
), tagged AS (
    INSERT INTO taskflow_tags (name, value, task_id)
    SELECT tag.key, tag.value, submitted.id
    FROM submitted CROSS JOIN LATERAL json_each_text(tags) AS tag
    WHERE tags IS NOT NULL
), ordered AS (
    INSERT INTO taskflow_ordered (task_id, queue, order_key)
    SELECT id, queue, order_key FROM submitted WHERE order_key IS NOT NULL ORDER BY place
), grouped AS (
    INSERT INTO taskflow_group_members (group_id, task_id)
    SELECT "group", id FROM submitted WHERE "group" IS NOT NULL ORDER BY place
), counted AS (
    INSERT INTO taskflow_group_changes (group_id, status, change)
    SELECT "group", CASE WHEN node IS NULL THEN 'PENDING' ELSE 'RUNNING' END, count(*)
    FROM submitted WHERE "group" IS NOT NULL GROUP BY 1, 2
), stepped AS (
    INSERT INTO taskflow_order_steps (queue, order_key)
    SELECT DISTINCT queue, order_key FROM submitted WHERE order_key IS NOT NULL
), linked AS (
    -- The ids of parents of the same request follow from their places.
    INSERT INTO taskflow_edges (parent_id, child_id, name)
    SELECT (ids.time || to_hex(8388608 + s.place + near.value::integer) || ids.random)::uuid, s.id, near.key
    FROM ids CROSS JOIN submitted AS s CROSS JOIN LATERAL json_each_text(s.near) AS near
    WHERE s.near IS NOT NULL
    UNION ALL
    SELECT parent_id, s.id, NULL FROM submitted AS s CROSS JOIN LATERAL unnest(s.after) AS parent_id
    WHERE s.after IS NOT NULL
), joined_parents AS (
    INSERT INTO taskflow_graph_steps (child_id) SELECT id FROM submitted WHERE after IS NOT NULL
),
-- insert: announced
SELECT place - 1, id, priority, CASE WHEN order_key IS NULL AND parents_left IS NULL THEN run_at END, now(),
       node IS NOT NULL
FROM submitted CROSS JOIN announced ORDER BY place

-- name: add_plain
-- The same for tasks without any of the rare fields: fewer steps, and rows with fewer columns.
-- insert: claim_and_ids
, submitted AS MATERIALIZED (
    SELECT (ids.time || to_hex(8388608 + t.place) || ids.random)::uuid AS id, t.payload, t.queue, t.priority, t.max_attempts, t.host, t.authority,
           t.place, now() + make_interval(secs => t.delay_seconds) AS run_at, claim.*
    FROM ids CROSS JOIN unnest(
        %(payloads)b::text[], %(queues)b::text[], %(priorities)b::smallint[],
        %(delays)b::float8[], %(attempts)b::integer[], %(hosts)b::text[], %(authorities)b::text[],
        %(claimed)b::boolean[]
    ) WITH ORDINALITY AS t (payload, queue, priority, delay_seconds, max_attempts, host, authority,
                            is_claimed, place)
    LEFT JOIN claim ON is_claimed AND NOT EXISTS (
        SELECT FROM taskflow_queues AS q
        WHERE q.name = t.queue AND (q.is_limited OR q.settings::text <> '{}')
    ) AND NOT EXISTS (
        SELECT FROM taskflow_hosts AS h WHERE h.host = t.authority
    )
), kept AS (
    INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, priority, run_at, max_attempts,
                                host, authority, status, attempt, node_id, node, claim_token, started_at)
    SELECT id, payload::json, octet_length(payload), queue, priority, run_at, max_attempts,
           host, authority, CASE WHEN node IS NULL THEN 'PENDING' ELSE 'RUNNING' END,
           (node IS NOT NULL)::integer, node_id, node, claim_token, started_at
    FROM submitted
),
-- insert: announced
SELECT place - 1, id, priority, run_at, now(), node IS NOT NULL
FROM submitted CROSS JOIN announced

-- name: add_keyed
-- Store requests with tasks that have a unique or debounce key (migration 0025).
WITH added AS MATERIALIZED (
    SELECT one.* FROM
-- insert: place_of_tables
    CROSS JOIN taskflow_add_keyed(%(requests)b::text[], %(wait_ms)s::integer) AS one
), submitted AS MATERIALIZED (
    SELECT task_priority AS priority, task_run_at AS run_at, NULL::uuid AS node
    FROM added WHERE outcome IN ('created', 'replaced', 'debounced')
),
-- insert: announced
SELECT request - 1, place - 1, task_id, task_priority, task_run_at, now(), outcome
FROM added CROSS JOIN announced ORDER BY request, place

-- name: notify_work
-- Notify nodes of work that earlier transactions committed. It writes no data, so its commit waits
-- for nothing, and other notifications do not wait for it.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, message)
FROM unnest(%(channels)b::text[], %(messages)b::text[]) AS posted (channel, message)

-- name: known_keys
SELECT key, fingerprint, task_ids FROM taskflow_idempotency_keys WHERE key = ANY (%(keys)b::text[])

-- name: commit_later
-- For tasks in a transaction of another program: their events are recorded at the commit, not before (migration 0010).
-- The result has the settings of the session that the other statements depend on.
SELECT set_config('taskflow.commits_later', 'on', true), current_setting('session_replication_role'),
       current_setting('transaction_read_only'), taskflow_distributed_form()
FROM
-- insert: place_of_tables

-- name: note_enqueued_distributed
-- In a distributed schema, functions send notifications to the session as notices, which the program ignores.
SELECT pg_notify('taskflow_work', '')
