-- The archive: see migration 0033.

-- part: tasks_anywhere
-- Tasks in either table. One by one: so the partition of each id is found, and no other is read.
(SELECT DISTINCT unnest(%(ids)b::uuid[])) AS wanted (task_id) CROSS JOIN LATERAL (
    SELECT * FROM taskflow_all_tasks AS one WHERE one.id = wanted.task_id OFFSET 0
) AS t

-- part: in_window
-- The next finished tasks of a status that were created long enough ago.
    WHERE status = %(status)s AND id > %(after)s
      AND id < taskflow_least_id(now() - make_interval(secs => %(age_seconds)s))
    ORDER BY id LIMIT %(limit)s

-- part: is_movable
-- Finished for long enough. A task that holds its order key or a unique key stays, and so does one whose children have
-- not finished: statements that look for these read one table.
      AND finished_at < now() - make_interval(secs => %(age_seconds)s)
      AND (status <> 'FAILED' OR on_failure IS NULL)
      AND (unique_key IS NULL OR coalesce(status <> ALL (unique_while), true))

-- name: may_archive
-- All living nodes read the archive.
SELECT NOT EXISTS (
    SELECT FROM taskflow_nodes
    WHERE expires_at > now() AND id < 'ffffffff-ffff-ffff-ffff-ffffffffffff' AND reads_archive IS NOT true
)

-- name: missing_periods
-- The weeks of a window of finished tasks that have no partition. A task whose id does not have its time, which no
-- version wrote, makes none.
WITH window_of AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
-- insert: in_window
), weeks AS (
    SELECT DISTINCT date_trunc('week', created_at AT TIME ZONE 'UTC') AS first_day FROM taskflow_tasks
    WHERE id = ANY (ARRAY(SELECT id FROM window_of))
      AND created_at BETWEEN '2020-01-01 00:00:00+00' AND now()
-- insert: is_movable
-- insert: has_no_open_children
)
SELECT to_char(first_day, 'YYYYMMDD'), taskflow_least_id(first_day AT TIME ZONE 'UTC'),
       taskflow_least_id((first_day + interval '7 days') AT TIME ZONE 'UTC')
FROM weeks WHERE NOT EXISTS (
    SELECT FROM taskflow_archive_periods AS p WHERE p.name = to_char(first_day, 'YYYYMMDD')
)
ORDER BY first_day

-- name: add_period_if_new
INSERT INTO taskflow_archive_periods (name, first_id, end_id)
VALUES (%(name)s, %(first_id)s, %(end_id)s)
ON CONFLICT (name) DO NOTHING RETURNING name

-- name: begin_move
-- For this transaction, triggers treat tasks as moved; an empty state ends that.
SELECT set_config('taskflow.is_archiving', %(state)s, true)
FROM
-- insert: place_of_tables

-- name: archive_if_finished_before
-- Moves the tasks of a window, and returns their number, the last id of the window, and whether it was the last one.
-- SKIP LOCKED: a task that is retried or deleted at this moment stays, and a period that another node moves tasks to
-- is left to it.
WITH scanned AS MATERIALIZED (
    SELECT id, size_bytes FROM taskflow_tasks
-- insert: in_window
), few AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, sum(size_bytes) OVER (ORDER BY id) - size_bytes AS bytes_before FROM scanned
    ) AS measured WHERE bytes_before < %(budget_bytes)s
), periods AS MATERIALIZED (
    SELECT name, first_id, end_id FROM taskflow_archive_periods
    WHERE is_attached AND first_id <= (SELECT id FROM few ORDER BY id DESC LIMIT 1)
      AND end_id > (SELECT id FROM few ORDER BY id LIMIT 1)
    ORDER BY name FOR NO KEY UPDATE SKIP LOCKED
), chosen AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id = ANY (ARRAY(
        SELECT few.id FROM few JOIN periods AS p ON few.id >= p.first_id AND few.id < p.end_id
    )) AND status = %(status)s
-- insert: is_movable
-- insert: has_no_open_children
    ORDER BY id FOR UPDATE SKIP LOCKED
), tags AS (
    DELETE FROM taskflow_tags WHERE task_id = ANY (ARRAY(SELECT id FROM chosen)) RETURNING *
), attempts AS (
    DELETE FROM taskflow_attempts WHERE task_id = ANY (ARRAY(SELECT id FROM chosen)) RETURNING *
), moved AS (
    DELETE FROM taskflow_tasks WHERE id = ANY (ARRAY(SELECT id FROM chosen)) RETURNING *
), kept_tags AS (
    INSERT INTO taskflow_archive_tags SELECT * FROM tags
), kept_attempts AS (
    INSERT INTO taskflow_archive_attempts SELECT * FROM attempts
), kept AS (
    INSERT INTO taskflow_archive SELECT * FROM moved
    RETURNING id, queue, status, finished_at, delete_at, retention_seconds
), counted AS (
    INSERT INTO taskflow_archive_counts (period, queue, status, change)
    SELECT p.name, kept.queue, kept.status, count(*)
    FROM kept JOIN periods AS p ON kept.id >= p.first_id AND kept.id < p.end_id
    GROUP BY p.name, kept.queue, kept.status
), dated AS (
    SELECT p.name, max(kept.finished_at) FILTER (WHERE kept.retention_seconds IS NULL) AS finished_at,
           max(coalesce(kept.delete_at, 'infinity')) FILTER (WHERE kept.retention_seconds IS NOT NULL) AS delete_at,
           (array_agg(kept.id ORDER BY kept.id DESC))[1] AS last_id
    FROM kept JOIN periods AS p ON kept.id >= p.first_id AND kept.id < p.end_id
    GROUP BY p.name
), noted AS (
    UPDATE taskflow_archive_periods AS p
    SET last_finished_at = greatest(p.last_finished_at, dated.finished_at),
        last_delete_at = greatest(p.last_delete_at, dated.delete_at),
        last_id = greatest(p.last_id, dated.last_id)
    FROM dated WHERE p.name = dated.name
)
SELECT (SELECT count(*) FROM kept), (SELECT id FROM few ORDER BY id DESC LIMIT 1),
       (SELECT count(*) FROM few) = (SELECT count(*) FROM scanned)
       AND (SELECT count(*) FROM scanned) < %(limit)s

-- name: end_of_window
-- Of a window that cannot be moved.
WITH scanned AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
-- insert: in_window
)
SELECT (SELECT id FROM scanned ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM scanned) < %(limit)s

-- name: fold_archive_counts
WITH folded AS (
    DELETE FROM taskflow_archive_counts WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM taskflow_archive_counts LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING period, queue, status, change
)
INSERT INTO taskflow_archive_counts (period, queue, status, change)
SELECT period, queue, status, sum(change) FROM folded
GROUP BY period, queue, status HAVING sum(change) <> 0

-- name: restore_tasks
-- Moves tasks back, unchanged, with their attempts and tags: the transaction then retries them, or gives them children.
-- In the order of ids, as in all actions on many tasks. The bounds are as in `delete_archived`.
WITH chosen AS MATERIALIZED (
    SELECT id FROM taskflow_archive
    WHERE id = ANY (%(ids)b::uuid[]) AND id BETWEEN %(first)s AND %(last)s
      AND status = ANY (%(statuses)b::text[])
    ORDER BY id FOR UPDATE
), tags AS (
    DELETE FROM taskflow_archive_tags
    WHERE task_id = ANY (ARRAY(SELECT id FROM chosen)) AND task_id BETWEEN %(first)s AND %(last)s RETURNING *
), attempts AS (
    DELETE FROM taskflow_archive_attempts
    WHERE task_id = ANY (ARRAY(SELECT id FROM chosen)) AND task_id BETWEEN %(first)s AND %(last)s RETURNING *
), moved AS (
    DELETE FROM taskflow_archive
    WHERE id = ANY (ARRAY(SELECT id FROM chosen)) AND id BETWEEN %(first)s AND %(last)s RETURNING *
), back AS (
    INSERT INTO taskflow_tasks SELECT * FROM moved RETURNING id, queue, status
), tags_back AS (
    INSERT INTO taskflow_tags SELECT * FROM tags
), attempts_back AS (
    INSERT INTO taskflow_attempts OVERRIDING SYSTEM VALUE SELECT * FROM attempts
), counted AS (
    INSERT INTO taskflow_archive_counts (period, queue, status, change)
    SELECT p.name, back.queue, back.status, -count(*)
    FROM back JOIN taskflow_archive_periods AS p ON back.id >= p.first_id AND back.id < p.end_id
    GROUP BY p.name, back.queue, back.status
)
SELECT id FROM back

-- name: archived_failed_members
SELECT t.id FROM (
    SELECT m.task_id FROM taskflow_group_members AS m WHERE m.group_id = %(id)s AND m.state = 'FAILED'
    ORDER BY m.group_id, m.task_id LIMIT %(limit)s
) AS failed CROSS JOIN LATERAL (
    SELECT one.id FROM taskflow_archive AS one WHERE one.id = failed.task_id OFFSET 0
) AS t

-- name: archived_parents
-- Parents that have finished long ago, of children that have joined them since.
SELECT p.id
FROM unnest(%(children)b::uuid[]) AS joined (id) CROSS JOIN LATERAL (
    SELECT one.parent_id FROM taskflow_edges AS one
    WHERE one.child_id = joined.id AND NOT one.is_done OFFSET 0
) AS e CROSS JOIN LATERAL (
    SELECT one.id FROM taskflow_archive AS one WHERE one.id = e.parent_id OFFSET 0
) AS p

-- name: delete_archived
-- With what belongs to the tasks, as triggers do for other tasks. All archived tasks are finished. The bounds are the
-- first id and the last one: other partitions are not read.
WITH chosen AS MATERIALIZED (
    SELECT id FROM taskflow_archive
    WHERE id = ANY (%(ids)b::uuid[]) AND id BETWEEN %(first)s AND %(last)s ORDER BY id FOR UPDATE
), tags AS (
    DELETE FROM taskflow_archive_tags
    WHERE task_id = ANY (ARRAY(SELECT id FROM chosen)) AND task_id BETWEEN %(first)s AND %(last)s
), attempts AS (
    DELETE FROM taskflow_archive_attempts
    WHERE task_id = ANY (ARRAY(SELECT id FROM chosen)) AND task_id BETWEEN %(first)s AND %(last)s
), deleted AS (
    DELETE FROM taskflow_archive
    WHERE id = ANY (ARRAY(SELECT id FROM chosen)) AND id BETWEEN %(first)s AND %(last)s
    RETURNING id, queue, status, group_id, order_key, parents_left, options
), members AS (
    DELETE FROM taskflow_group_members AS m USING (
        SELECT group_id, id FROM deleted WHERE group_id IS NOT NULL OFFSET 0
    ) AS d WHERE m.group_id = d.group_id AND m.task_id = d.id
), ordered AS (
    DELETE FROM taskflow_ordered
    WHERE task_id = ANY (ARRAY(SELECT id FROM deleted WHERE order_key IS NOT NULL))
), edges AS (
    DELETE FROM taskflow_edges
    WHERE child_id = ANY (ARRAY(SELECT id FROM deleted WHERE parents_left IS NOT NULL))
), deliveries AS (
    DELETE FROM taskflow_deliveries AS one USING (
        SELECT taskflow_endpoint_of(options) AS endpoint_id, id FROM deleted WHERE options IS NOT NULL OFFSET 0
    ) AS d WHERE one.endpoint_id = d.endpoint_id AND one.task_id = d.id
), uncounted AS (
    INSERT INTO taskflow_changes (queue, status, change, ids)
    SELECT queue, status, -count(*), array_agg(id) FILTER (WHERE status = 'FAILED') FROM deleted GROUP BY queue, status
), uncounted_in_archive AS (
    INSERT INTO taskflow_archive_counts (period, queue, status, change)
    SELECT p.name, deleted.queue, deleted.status, -count(*)
    FROM deleted JOIN taskflow_archive_periods AS p ON deleted.id >= p.first_id AND deleted.id < p.end_id
    GROUP BY p.name, deleted.queue, deleted.status
)
SELECT id, false FROM deleted

-- part: archived_has_no_open_children
      AND (has_children IS NULL OR NOT EXISTS (
          SELECT FROM taskflow_edges AS e JOIN taskflow_tasks AS c ON c.id = e.child_id
          WHERE e.parent_id = taskflow_archive.id AND c.finished_at IS NULL OFFSET 0
      ))

-- name: archived_finished_before
-- In partitions that are kept for longer, because of some of their tasks.
SELECT id FROM (
    SELECT id, sum(size_bytes) OVER (ORDER BY id) - size_bytes AS bytes_before FROM (
        SELECT id, size_bytes FROM taskflow_archive
        WHERE status = %(status)s AND retention_seconds IS NULL
-- insert: archived_has_no_open_children
          AND finished_at < now() - make_interval(secs => %(age_seconds)s)
          AND id < taskflow_least_id(now() - make_interval(secs => %(age_seconds)s))
        ORDER BY id LIMIT %(limit)s
    ) AS old
) AS few WHERE bytes_before < %(budget_bytes)s ORDER BY id

-- name: archived_kept_long_enough
-- Tasks with a retention of their own.
SELECT id FROM (
    SELECT id, sum(size_bytes) OVER (ORDER BY delete_at, id) - size_bytes AS bytes_before FROM (
        SELECT id, delete_at, size_bytes FROM taskflow_archive
        WHERE delete_at <= now()
-- insert: archived_has_no_open_children
        ORDER BY delete_at, id LIMIT %(limit)s
    ) AS old
) AS few WHERE bytes_before < %(budget_bytes)s ORDER BY id

-- part: is_linked
(group_id IS NOT NULL OR order_key IS NOT NULL OR parents_left IS NOT NULL OR has_children
 OR position('"delivery"' IN options::text) > 0)

-- name: archived_linked
-- The tasks of a period that must be deleted one by one.
SELECT id FROM taskflow_archive
WHERE id >= %(first_id)s AND id < %(end_id)s AND
-- insert: is_linked
-- insert: archived_has_no_open_children
ORDER BY id LIMIT %(limit)s

-- name: has_linked
SELECT EXISTS (
    SELECT FROM taskflow_archive WHERE id >= %(first_id)s AND id < %(end_id)s AND
-- insert: is_linked
)

-- name: expired_periods
-- Periods of which all tasks have been kept for long enough, or are deleted, the oldest first.
SELECT name, first_id, end_id FROM taskflow_archive_periods
WHERE is_attached AND end_id <= taskflow_least_id(now()) AND last_delete_at <= now() AND (
    last_finished_at = '-infinity'
    OR last_finished_at < now() - make_interval(secs => %(age_seconds)s::float8)
)
ORDER BY name

-- name: hold_period_if_expired
SELECT name FROM taskflow_archive_periods
WHERE name = %(name)s AND is_attached AND last_delete_at <= now() AND (
    last_finished_at = '-infinity'
    OR last_finished_at < now() - make_interval(secs => %(age_seconds)s::float8)
)
FOR UPDATE SKIP LOCKED

-- name: forget_period
-- The counts of a period whose partition is detached: no statement changes them any more. Returns the number of tasks.
WITH gone AS (
    DELETE FROM taskflow_archive_counts WHERE period = %(name)s RETURNING queue, status, change
), summed AS MATERIALIZED (
    SELECT queue, status, sum(change)::bigint AS count FROM gone
    GROUP BY queue, status HAVING sum(change) <> 0
), uncounted AS (
    INSERT INTO taskflow_changes (queue, status, change) SELECT queue, status, -count FROM summed
), detached AS (
    UPDATE taskflow_archive_periods SET is_attached = false WHERE name = %(name)s
)
SELECT coalesce(sum(count), 0)::bigint FROM summed

-- name: hold_detached_period
SELECT name FROM taskflow_archive_periods WHERE NOT is_attached ORDER BY name LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: delete_period
DELETE FROM taskflow_archive_periods WHERE name = %(name)s

-- name: bound_lock_waits
SELECT set_config('lock_timeout', %(milliseconds)s::text, true)
FROM
-- insert: place_of_tables

-- name: find_archived
SELECT t.id FROM (SELECT DISTINCT unnest(%(ids)b::uuid[])) AS wanted (task_id) CROSS JOIN LATERAL (
    SELECT one.id FROM taskflow_archive AS one WHERE one.id = wanted.task_id OFFSET 0
) AS t

-- name: any_period
SELECT true FROM taskflow_archive_periods LIMIT 1
