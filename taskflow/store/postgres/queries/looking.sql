-- Looks for tasks that may start, where not just the first ones may: see look.py.

-- name: lock_looks
-- One look at a time, on whatever node: so limits that span nodes hold. In a statement of its own,
-- for the next one is to see what the look before has done.
SELECT pg_advisory_xact_lock(8386658447506927983)

-- name: are_there_limits
SELECT EXISTS (SELECT FROM taskflow_queues WHERE is_limited)
    OR EXISTS (SELECT FROM taskflow_hosts)

-- name: due_in_order
SELECT one.priority, one.run_at, one.id, one.queue, one.authority
FROM unnest(%(priorities)b::smallint[], %(since)b::timestamptz[]) AS place (priority, since)
CROSS JOIN LATERAL (
    SELECT t.priority, t.run_at, t.id, t.queue, t.authority FROM taskflow_tasks AS t
    WHERE t.status = 'PENDING' AND t.priority = place.priority
      AND t.run_at BETWEEN coalesce(place.since, '-infinity') AND now()
      AND (t.expires_at IS NULL OR t.expires_at > now())
    ORDER BY t.run_at, t.id LIMIT %(limit)s
) AS one
LIMIT %(limit)s

-- name: due_by_age
SELECT one.priority, one.run_at, one.id, one.queue, one.authority
FROM unnest(%(priorities)b::smallint[], %(since)b::timestamptz[]) AS place (priority, since)
CROSS JOIN LATERAL (
    SELECT t.priority, t.run_at, t.id, t.queue, t.authority FROM taskflow_tasks AS t
    WHERE t.status = 'PENDING' AND t.priority = place.priority
      AND t.run_at BETWEEN coalesce(place.since, '-infinity') AND now()
      AND (t.expires_at IS NULL OR t.expires_at > now())
    ORDER BY t.run_at, t.id LIMIT %(limit)s
) AS one
ORDER BY one.run_at, one.id LIMIT %(limit)s

-- name: due_by_lane
-- From one lane to the next, of a paused queue only the first, and of each the first tasks. Lanes
-- in which nothing is due are told too: from the last one on the next look goes on. What is not due
-- yet is walked over, but not for ever. In the order of lanes without being sorted, so that no more
-- lanes are walked than are told: what is lateral can only be joined to one after the other.
WITH RECURSIVE lane (queue, host, is_paused, place) AS (
    (
        SELECT t.queue COLLATE "C", t.authority,
               EXISTS (SELECT FROM taskflow_queues AS q WHERE q.name = t.queue AND q.paused), 1
        FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING'
          AND (t.queue COLLATE "C", t.authority) > (%(queue)s::text, %(host)s::text)
        ORDER BY t.queue COLLATE "C", t.authority LIMIT 1
    )
    UNION ALL
    SELECT next.queue, next.authority,
           EXISTS (SELECT FROM taskflow_queues AS q WHERE q.name = next.queue AND q.paused),
           lane.place + 1
    FROM lane CROSS JOIN LATERAL (
        SELECT t.queue COLLATE "C" AS queue, t.authority FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING'
          -- Which no host is behind: they are of lower-case letters, digits and [:.-].
          AND (t.queue COLLATE "C", t.authority)
              > (lane.queue, CASE WHEN lane.is_paused THEN '~' ELSE lane.host END)
        ORDER BY t.queue COLLATE "C", t.authority LIMIT 1
    ) AS next
    WHERE lane.place < %(lanes)s
)
SELECT one.priority, one.run_at, one.id, lane.queue, lane.host
FROM lane LEFT JOIN LATERAL (
    SELECT first.* FROM (
        SELECT t.priority, t.run_at, t.id, t.expires_at FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.queue COLLATE "C" = lane.queue
          AND t.authority = lane.host
        ORDER BY t.priority DESC, t.run_at, t.id LIMIT %(most)s + 100
    ) AS first
    WHERE first.run_at <= now() AND (first.expires_at IS NULL OR first.expires_at > now())
    LIMIT %(most)s
) AS one ON NOT lane.is_paused
LIMIT %(rows)s

-- name: first_hosts
-- Where the tasks of the first few lanes go.
WITH RECURSIVE lane (queue, host, place) AS (
    (
        SELECT t.queue COLLATE "C", t.authority, 1 FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING'
        ORDER BY t.queue COLLATE "C", t.authority LIMIT 1
    )
    UNION ALL
    SELECT next.queue, next.authority, lane.place + 1
    FROM lane CROSS JOIN LATERAL (
        SELECT t.queue COLLATE "C" AS queue, t.authority FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING'
          AND (t.queue COLLATE "C", t.authority) > (lane.queue, lane.host)
        ORDER BY t.queue COLLATE "C", t.authority LIMIT 1
    ) AS next
    WHERE lane.place < %(lanes)s
)
SELECT host FROM lane

-- name: state
-- What is asked of these queues, and how these hosts and paces stand.
SELECT now(),
       (SELECT json_object_agg(name, settings)::text FROM taskflow_queues
        WHERE name = ANY (%(queues)b::text[]) AND is_limited),
       (SELECT json_object_agg(host, json_build_object('until', taskflow_bounded(held_until),
                                                        'why', why))::text
        FROM taskflow_hosts WHERE host = ANY (%(hosts)b::text[])),
       (SELECT json_object_agg(key, taskflow_bounded(next_at))::text FROM taskflow_paces
        WHERE key = ANY (%(paces)b::text[]) AND next_at > now())

-- name: running
-- How many tasks run in each lane, on all nodes.
SELECT queue, authority, count(*) FROM taskflow_tasks WHERE status = 'RUNNING'
GROUP BY queue, authority

-- name: take_if_alive
-- The clock of this moment, for the look may have waited for another one.
WITH alive AS MATERIALIZED (
    SELECT name FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > clock_timestamp()
), paced AS (
    INSERT INTO taskflow_paces (key, next_at)
    SELECT key, next_at FROM unnest(%(keys)b::text[], %(next_ats)b::timestamptz[]) AS p (key, next_at)
    WHERE EXISTS (SELECT FROM alive)
    ON CONFLICT (key) DO UPDATE SET next_at = excluded.next_at
), chosen AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status = 'PENDING' AND EXISTS (SELECT FROM alive)
    FOR UPDATE SKIP LOCKED
)
UPDATE taskflow_tasks AS t
SET status = 'RUNNING', node_id = %(node_id)s, node = (SELECT name FROM alive),
    claim_token = %(token)s, started_at = clock_timestamp(), attempt = least(attempt, 2147483646) + 1
FROM chosen WHERE t.id = chosen.id
RETURNING t.id, t.payload::text, t.attempt, t.max_attempts, t.options::text, t.priority,
          t.run_at, t.authority, t.queue,
          extract(epoch FROM clock_timestamp() - taskflow_bounded(t.run_at))::float8, t.tags::text

-- name: forget_paces
DELETE FROM taskflow_paces WHERE key IN (
    SELECT key FROM taskflow_paces WHERE next_at < now() - interval '1 minute'
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)

-- name: lanes_of
SELECT id, queue, authority FROM taskflow_tasks WHERE id = ANY (%(ids)b::uuid[])
