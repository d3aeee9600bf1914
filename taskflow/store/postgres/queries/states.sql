-- The tasks in each state (model/task_states.py), counted up to a limit.

-- name: now_of_states
SELECT now()

-- part: running_states
-- One more than the limit is read.
SELECT 'running' AS kind, queue, '' AS authority, count(*) FROM (
    SELECT queue FROM taskflow_tasks
    WHERE status = 'RUNNING' AND node_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff' LIMIT %(limit)s + 1
) AS running
WHERE %(queues)b::text[] IS NULL OR queue = ANY (%(queues)b::text[])
GROUP BY queue

-- name: count_states
-- The due tasks, the later ones and the waiting ones of each priority are ranges of the index of claims. Of each range, no
-- more rows are read than are counted.
WITH present AS MATERIALIZED (
    SELECT priority FROM taskflow_present_priorities
), due AS (
    SELECT one.queue, one.authority FROM present CROSS JOIN LATERAL (
        SELECT t.queue, t.authority FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority = present.priority AND t.run_at <= now()
        ORDER BY t.run_at, t.id LIMIT %(limit)s + 1
    ) AS one LIMIT %(limit)s + 1
), later AS (
    SELECT one.queue, one.kind FROM present CROSS JOIN LATERAL (
        SELECT t.queue, CASE WHEN t.attempt > 0 OR t.error_type IS NOT NULL THEN 'retrying' ELSE 'scheduled' END AS kind
        FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority = present.priority
          AND t.run_at > now() AND t.run_at < taskflow_never()
        ORDER BY t.run_at, t.id LIMIT %(limit)s + 1
    ) AS one LIMIT %(limit)s + 1
), waiting AS (
    SELECT one.queue, one.waiting_for FROM present CROSS JOIN LATERAL (
        SELECT t.queue, t.waiting_for FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority = present.priority AND t.run_at >= taskflow_never()
        ORDER BY t.run_at, t.id LIMIT %(limit)s + 1
    ) AS one LIMIT %(limit)s + 1
)
SELECT 'due' AS kind, queue, authority, count(*) FROM due GROUP BY queue, authority
UNION ALL
SELECT kind, queue, '', count(*) FROM later GROUP BY queue, kind
UNION ALL
SELECT coalesce(waiting_for, 'scheduled'), queue, '', count(*) FROM waiting GROUP BY queue, waiting_for
UNION ALL
SELECT 'parked', queue, '', count(*) FROM (
    SELECT queue FROM taskflow_parked LIMIT %(limit)s + 1
) AS parked GROUP BY queue
UNION ALL
-- insert: running_states

-- name: count_states_of_queues
-- The pending tasks of each queue in the order of its lanes, whatever their state.
SELECT kind, queue, authority, count(*) FROM (
    SELECT asked.queue,
           CASE WHEN one.waiting_for IS NOT NULL THEN one.waiting_for
                WHEN one.run_at <= now() THEN 'due'
                WHEN one.attempt > 0 OR one.error_type IS NOT NULL THEN 'retrying'
                ELSE 'scheduled' END AS kind,
           CASE WHEN one.waiting_for IS NULL AND one.run_at <= now() THEN one.authority ELSE '' END AS authority
    FROM unnest(%(queues)b::text[]) AS asked (queue) CROSS JOIN LATERAL (
        SELECT t.waiting_for, t.run_at, t.attempt, t.error_type, t.authority FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.queue COLLATE "C" = asked.queue
        ORDER BY t.authority, t.priority DESC, t.run_at LIMIT %(limit)s + 1
    ) AS one
) AS pending
GROUP BY kind, queue, authority
UNION ALL
SELECT 'parked', asked.queue, '', (
    SELECT count(*) FROM (
        SELECT FROM taskflow_parked AS p WHERE p.queue = asked.queue LIMIT %(limit)s + 1
    ) AS parked
)
FROM unnest(%(queues)b::text[]) AS asked (queue)
UNION ALL
-- insert: running_states
