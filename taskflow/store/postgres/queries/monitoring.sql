-- How nodes, hosts and endings stand.

-- name: list_nodes
-- What a node has in hand is bounded, and has an index of its own.
SELECT n.id, n.name, n.version, n.workers, n.started_at,
       taskflow_bounded(n.expires_at) - make_interval(secs => least(n.lease_seconds, 1e9)),
       n.expires_at, n.expires_at > now(),
       (SELECT count(*) FROM taskflow_tasks AS t WHERE t.status = 'RUNNING' AND t.node_id = n.id),
       ARRAY(
           SELECT json_build_object('id', t.id, 'host', t.authority, 'seconds',
                                    round(extract(epoch FROM now()
                                     - coalesce(taskflow_bounded(t.started_at), now())), 3))
           FROM taskflow_tasks AS t WHERE t.status = 'RUNNING' AND t.node_id = n.id
           ORDER BY t.started_at, t.id LIMIT %(tasks)s
       )::text[],
       n.tz_version
FROM taskflow_nodes AS n
ORDER BY n.name COLLATE "C", n.started_at LIMIT %(limit)s

-- name: newest_fetched
-- The newest of each end by the index of status and id, and of these the newest.
SELECT authority, status = 'FAILED', elapsed_ms FROM (
    (SELECT id, authority, status, elapsed_ms FROM taskflow_tasks
     WHERE status = 'COMPLETED' ORDER BY id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT id, authority, status, elapsed_ms FROM taskflow_tasks
     WHERE status = 'FAILED' ORDER BY id DESC LIMIT %(limit)s)
    ORDER BY id DESC LIMIT %(limit)s
) AS newest
WHERE elapsed_ms BETWEEN 0 AND 1e15

-- name: running_by_host
SELECT authority, count(*),
       extract(epoch FROM now() - coalesce(taskflow_bounded(min(started_at)), now()))::float8 FROM (
    SELECT authority, started_at FROM taskflow_tasks WHERE status = 'RUNNING' LIMIT %(limit)s
) AS running
GROUP BY authority

-- name: hosts_held
-- Those that are held back now, and those of which it has not been seen yet how they are.
SELECT host, held_until, why FROM taskflow_hosts ORDER BY held_until DESC, host LIMIT %(limit)s

-- name: endings_by_minute
-- What is folded and what is not; always a row, for the time by which minutes are counted.
WITH ended AS (
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
FROM (SELECT) AS always LEFT JOIN ended ON true
GROUP BY minute, status
