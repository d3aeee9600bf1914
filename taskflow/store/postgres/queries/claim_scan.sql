-- Scans for startable tasks, where the first ones may not be startable (claim_scan.py).

-- name: lock_scans
-- One scan at a time, on all nodes: so limits hold over all nodes. A statement of its own,
-- because the next one has to see what the previous scan did.
SELECT pg_advisory_xact_lock(8386658447506927983) IS NOT NULL
FROM
-- insert: place_of_tables

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
-- The first tasks of each lane, lane by lane; of a paused queue only one lane. Lanes without a
-- due task are returned, too: the next scan continues after the last one. Tasks that are not due
-- yet are read past, at most 100 per lane. The lanes come in order without a sort, so that no
-- more lanes are read than are returned: a lateral subquery can only be joined row by row.
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
        ORDER BY t.priority DESC, t.run_at, t.id LIMIT %(limit)s + 100
    ) AS first
    WHERE first.run_at <= now() AND (first.expires_at IS NULL OR first.expires_at > now())
    LIMIT %(limit)s
) AS one ON NOT lane.is_paused
LIMIT %(rows)s

-- name: first_hosts
-- Hosts of the first few lanes.
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
-- Limits of these queues, and the circuits and rates of these hosts.
SELECT now(),
       (SELECT json_object_agg(name, settings)::text FROM taskflow_queues
        WHERE name = ANY (%(queues)b::text[]) AND is_limited),
       (SELECT json_object_agg(host, json_build_object('until', taskflow_bounded(held_until),
                                                        'why', why))::text
        FROM taskflow_hosts WHERE host = ANY (%(hosts)b::text[])),
       (SELECT json_object_agg(key, taskflow_bounded(next_at))::text FROM taskflow_paces
        WHERE key = ANY (%(paces)b::text[]) AND next_at > now())

-- name: all_limits
-- The same for all queues and hosts.
SELECT now(),
       (SELECT json_object_agg(name, settings)::text FROM (
           SELECT name, settings FROM taskflow_queues WHERE is_limited ORDER BY name LIMIT %(limit)s
       ) AS limited),
       (SELECT json_object_agg(host, json_build_object('until', taskflow_bounded(held_until),
                                                        'why', why))::text
        FROM (SELECT host, held_until, why FROM taskflow_hosts ORDER BY host LIMIT %(limit)s) AS open),
       (SELECT json_object_agg(key, taskflow_bounded(next_at))::text FROM (
           SELECT key, next_at FROM taskflow_paces WHERE next_at > now() ORDER BY next_at LIMIT %(limit)s
       ) AS used)

-- name: running
-- Number of running tasks of each lane, on all nodes. Parked ones, of which there may be many, are counted for the queues
-- with a concurrency limit, up to that limit, and for no host.
SELECT queue, authority, count(*) FROM taskflow_tasks
WHERE status = 'RUNNING' AND node_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
GROUP BY queue, authority
UNION ALL
SELECT name, '', (
    SELECT count(*) FROM (
        SELECT FROM taskflow_parked AS p WHERE p.queue = limited.name LIMIT limited.max_concurrency
    ) AS parked
)
FROM unnest(%(queues)b::text[], %(limits)b::integer[]) AS limited (name, max_concurrency)

-- name: claim_chosen_if_alive
-- Claim the tasks that the scan chose. With the clock of this moment, because the scan may have
-- waited for another one. A later submission may have moved the times of tasks meanwhile.
WITH alive AS MATERIALIZED (
    SELECT name, clock_timestamp() AS at FROM taskflow_nodes WHERE id = %(node_id)s AND expires_at > clock_timestamp()
), paced AS (
    INSERT INTO taskflow_paces (key, next_at)
    SELECT key, next_at FROM unnest(%(keys)b::text[], %(next_ats)b::timestamptz[]) AS p (key, next_at)
    WHERE EXISTS (SELECT FROM alive)
    ON CONFLICT (key) DO UPDATE SET next_at = excluded.next_at
), chosen AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status = 'PENDING' AND run_at <= clock_timestamp()
      AND EXISTS (SELECT FROM alive)
    FOR UPDATE SKIP LOCKED
)
UPDATE taskflow_tasks AS t
SET status = 'RUNNING', node_id = %(node_id)s, node = (SELECT name FROM alive),
    claim_token = %(token)s, started_at = (SELECT at FROM alive), attempt = least(attempt, 2147483646) + 1
FROM chosen WHERE t.id = chosen.id
RETURNING t.id, t.payload::text, t.attempt, t.max_attempts, t.options::text, t.priority,
          t.run_at, t.authority, t.queue,
          date_part('epoch', (SELECT at FROM alive) - taskflow_bounded(t.run_at)), t.tags::text,
          (SELECT q.settings::text FROM taskflow_queues AS q WHERE q.name = t.queue)

-- name: lanes_of
SELECT id, queue, authority FROM taskflow_tasks WHERE id = ANY (%(ids)b::uuid[])

-- name: lanes_of_anywhere
SELECT id, queue, authority FROM
-- insert: tasks_anywhere
