-- How many there are, kept by roll-up.

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
    SELECT queue, status, least(greatest(sum(change), -9e18), 9e18)::bigint FROM taken
    GROUP BY queue, status HAVING sum(change) <> 0 ORDER BY queue, status
    ON CONFLICT (queue, status) DO UPDATE SET count = least(greatest(c.count::numeric + excluded.count, -9e18), 9e18)
    RETURNING queue, status, count
), ended AS (
    INSERT INTO taskflow_endings AS e (minute, queue, status, count)
    SELECT minute, queue, status, least(sum(change), 9e18)::bigint FROM taken
    WHERE change > 0 AND status IN ('COMPLETED', 'FAILED', 'CANCELED')
      AND minute >= now() - make_interval(secs => %(kept_seconds)s)
    GROUP BY minute, queue, status ORDER BY minute, queue, status
    ON CONFLICT (minute, queue, status) DO UPDATE SET count = least(greatest(e.count::numeric + excluded.count, -9e18), 9e18)
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
    WHERE minute > now() - interval '61 minutes' AND minute <= now()
    UNION ALL
    SELECT queue, status, change,
           CASE WHEN status IN ('COMPLETED', 'FAILED', 'CANCELED') THEN greatest(change, 0) END,
           date_trunc('minute', least(greatest(at, now() - interval '1 day'), now()))
    FROM taskflow_changes
), summed AS MATERIALIZED (
    SELECT queue, status, least(greatest(sum(count), -9e18), 9e18)::bigint AS count,
           coalesce(sum(ended * taskflow_share(minute, '1 minute')), 0) AS in_minute,
           coalesce(sum(ended * taskflow_share(minute, '5 minutes')), 0) AS in_5_minutes,
           coalesce(sum(ended * taskflow_share(minute, '1 hour')), 0) AS in_hour
    FROM parts
    WHERE status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED')
    GROUP BY GROUPING SETS ((queue, status), (status))
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
SELECT asked.queue, extract(epoch FROM now() - taskflow_bounded(first.run_at))::float8
FROM unnest(%(queues)b::text[]) AS asked (queue) CROSS JOIN LATERAL (
    SELECT t.run_at FROM taskflow_tasks AS t
    WHERE t.status = 'PENDING' AND t.queue = asked.queue
    ORDER BY t.run_at LIMIT 1
) AS first
WHERE first.run_at <= now()
UNION ALL
SELECT NULL, extract(epoch FROM now() - taskflow_bounded(min(run_at)))::float8
FROM taskflow_present_priorities WHERE run_at <= now()
