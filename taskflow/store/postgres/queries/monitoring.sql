-- Nodes, hosts and throughput.

-- name: list_nodes
-- The running tasks of a node are limited in number, and have an index of their own. Among many parked ones the planner
-- would expect many, if the range did not exclude these.
SELECT n.id, n.name, n.version, n.workers, n.started_at,
       taskflow_bounded(n.expires_at) - make_interval(secs => least(n.lease_seconds, 1e9)),
       n.expires_at, n.expires_at > now(),
       (SELECT count(*) FROM taskflow_tasks AS t
        WHERE t.status = 'RUNNING' AND t.node_id = n.id AND t.node_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
       ARRAY(
           SELECT json_build_object('id', t.id, 'host', t.authority, 'running_seconds',
                                    round(extract(epoch FROM now()
                                     - coalesce(taskflow_bounded(t.started_at), now())), 3))
           FROM taskflow_tasks AS t
           WHERE t.status = 'RUNNING' AND t.node_id = n.id AND t.node_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
           ORDER BY t.started_at, t.id LIMIT %(tasks)s
       )::text[],
       n.tz_version, n.settings::text
FROM taskflow_nodes AS n WHERE n.id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
ORDER BY n.name COLLATE "C", n.started_at LIMIT %(limit)s

-- name: newest_fetched
-- The newest COMPLETED and FAILED tasks by the index on (status, id), and of these the newest.
SELECT authority, status = 'FAILED', elapsed_ms, CASE WHEN status = 'FAILED' THEN error_type END FROM (
    (SELECT id, authority, status, elapsed_ms, error_type FROM taskflow_tasks
     WHERE status = 'COMPLETED' ORDER BY id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT id, authority, status, elapsed_ms, error_type FROM taskflow_tasks
     WHERE status = 'FAILED' ORDER BY id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT id, authority, status, elapsed_ms, error_type FROM taskflow_archive
     WHERE status = 'COMPLETED' ORDER BY id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT id, authority, status, elapsed_ms, error_type FROM taskflow_archive
     WHERE status = 'FAILED' ORDER BY id DESC LIMIT %(limit)s)
    ORDER BY id DESC LIMIT %(limit)s
) AS newest
WHERE elapsed_ms BETWEEN 0 AND 1e15

-- name: running_by_host
-- Requests in flight: without parked tasks.
SELECT authority, count(*),
       extract(epoch FROM now() - coalesce(taskflow_bounded(min(started_at)), now()))::float8 FROM (
    SELECT authority, started_at FROM taskflow_tasks
    WHERE status = 'RUNNING' AND node_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff' LIMIT %(limit)s
) AS running
GROUP BY authority

-- name: hosts_held
-- Hosts whose circuit is open, and those whose circuit is half-open.
SELECT host, held_until, why, taskflow_bounded(opened_at)
FROM taskflow_hosts ORDER BY held_until DESC, host LIMIT %(limit)s

-- name: host_held
SELECT held_until, why, taskflow_bounded(opened_at) FROM taskflow_hosts WHERE host = %(host)s

-- name: waiting_for_host
-- By the index of lanes: one descent for each queue with pending tasks, and for each of these a part of its range.
WITH RECURSIVE queues AS (
    (SELECT queue COLLATE "C" AS queue FROM taskflow_tasks
     WHERE status = 'PENDING' ORDER BY queue COLLATE "C" LIMIT 1)
    UNION ALL
    SELECT (
        SELECT t.queue COLLATE "C" FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.queue COLLATE "C" > q.queue ORDER BY t.queue COLLATE "C" LIMIT 1
    ) FROM queues AS q WHERE q.queue IS NOT NULL
), few AS (
    SELECT queue FROM queues WHERE queue IS NOT NULL LIMIT %(queues)s
)
SELECT few.queue, waiting.count, taskflow_bounded(waiting.run_at)
FROM few CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(run_at) AS run_at FROM (
        SELECT t.run_at FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.queue COLLATE "C" = few.queue AND t.authority = %(host)s
        ORDER BY t.priority DESC, t.run_at LIMIT %(limit)s
    ) AS one
) AS waiting
WHERE waiting.count > 0

-- name: finished_by_minute
-- Folded counts and changes that are not folded yet. At least one row, for the clock that
-- minutes are counted by.
WITH finished AS (
    SELECT minute, status, count FROM taskflow_endings
    WHERE minute > now() - make_interval(mins => %(minutes)s)
      AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
      AND queue = coalesce(%(queue)s, queue)
    UNION ALL
    SELECT date_trunc('minute', at), status, change FROM taskflow_changes
    WHERE change > 0 AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
      AND queue = coalesce(%(queue)s, queue)
)
SELECT now(), minute, status, least(greatest(sum(count), -9e18), 9e18)::bigint
FROM (SELECT) AS always LEFT JOIN finished ON true
GROUP BY minute, status
