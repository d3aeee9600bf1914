-- The map of cells, and what a cell has that has not finished.

-- name: cell_map
SELECT version, CASE WHEN version > %(known)s::bigint THEN document END FROM taskflow_cell_map

-- name: write_cell_map_if_newer
INSERT INTO taskflow_cell_map AS known (version, document) VALUES (%(version)s, %(document)s)
ON CONFLICT (is_only) DO UPDATE SET version = EXCLUDED.version, document = EXCLUDED.document
WHERE known.version < EXCLUDED.version
RETURNING version

-- name: queues_with_tasks
-- Queues with a task that has not finished, or keeps a key: by hops over the indexes.
WITH RECURSIVE unfinished (queue) AS (
    (SELECT queue FROM taskflow_tasks WHERE status = 'PENDING' ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT t.queue FROM taskflow_tasks AS t
            WHERE t.status = 'PENDING' AND t.queue > u.queue ORDER BY t.queue LIMIT 1)
    FROM unfinished AS u WHERE u.queue IS NOT NULL
), in_line (queue) AS (
    (SELECT queue FROM taskflow_ordered WHERE state IN ('waiting', 'held') ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT o.queue FROM taskflow_ordered AS o
            WHERE o.state IN ('waiting', 'held') AND o.queue > i.queue ORDER BY o.queue LIMIT 1)
    FROM in_line AS i WHERE i.queue IS NOT NULL
), keyed (queue) AS (
    (SELECT queue FROM taskflow_tasks
     WHERE unique_key IS NOT NULL AND status = ANY (unique_while) ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT t.queue FROM taskflow_tasks AS t
            WHERE t.unique_key IS NOT NULL AND t.status = ANY (t.unique_while) AND t.queue > k.queue
            ORDER BY t.queue LIMIT 1)
    FROM keyed AS k WHERE k.queue IS NOT NULL
)
SELECT queue FROM unfinished WHERE queue IS NOT NULL
UNION SELECT queue FROM taskflow_tasks WHERE status = 'RUNNING'
UNION SELECT queue FROM in_line WHERE queue IS NOT NULL
UNION SELECT queue FROM keyed WHERE queue IS NOT NULL
-- Tasks may join an open group, and its completion creates another one.
UNION SELECT queue FROM taskflow_groups WHERE status IN ('OPEN', 'CLOSED')

-- name: names_in_cell
SELECT 'schedule ' || name FROM taskflow_schedules
UNION ALL SELECT 'topic ' || name FROM taskflow_topics
UNION ALL SELECT 'heartbeat ' || name FROM taskflow_heartbeat_monitors
