-- Schedules, and the tasks that they make.

-- name: clock
SELECT now()

-- name: schedule
SELECT s.name, s.definition::text, s.anchor_at, s.next_at, s.created_at, s.updated_at, s.last_fired_at,
       s.last_task_id, s.compared, s.skipped_count, s.last_skipped_at, t.status
FROM taskflow_schedules AS s LEFT JOIN LATERAL (
    SELECT one.status FROM taskflow_all_tasks AS one WHERE one.id = s.last_task_id OFFSET 0
) AS t ON true
WHERE s.name = %(name)s

-- name: hold_schedule
SELECT name, definition::text, anchor_at, next_at, created_at, updated_at, last_fired_at,
       last_task_id, compared, skipped_count, last_skipped_at
FROM taskflow_schedules WHERE name = %(name)s FOR UPDATE

-- name: schedule_and_clock
SELECT name, definition::text, anchor_at, next_at, created_at, updated_at, last_fired_at,
       last_task_id, compared, skipped_count, last_skipped_at, now()
FROM taskflow_schedules WHERE name = %(name)s

-- name: schedules_after
-- A page by name. The first one is always returned, and more as long as they fit the budget. One
-- more is read than is returned.
WITH next AS (
    SELECT * FROM taskflow_schedules WHERE name > %(after)s ORDER BY name LIMIT %(limit)s + 1
), page AS (
    SELECT *, row_number() OVER later AS place, count(*) OVER () AS found,
           sum(size_bytes) OVER later - size_bytes AS bytes_before
    FROM next WINDOW later AS (ORDER BY name)
)
SELECT p.name, p.definition::text, p.anchor_at, p.next_at, p.created_at, p.updated_at, p.last_fired_at,
       p.last_task_id, p.compared, p.skipped_count, p.last_skipped_at, t.status, p.found
FROM page AS p LEFT JOIN LATERAL (
    SELECT one.status FROM taskflow_all_tasks AS one WHERE one.id = p.last_task_id OFFSET 0
) AS t ON true
WHERE place <= %(limit)s AND bytes_before < %(budget_bytes)s ORDER BY p.name

-- name: add_schedule_if_new
WITH added AS (
    INSERT INTO taskflow_schedules (name, definition, size_bytes, anchor_at, next_at, created_at,
                                    updated_at, credential, overlap)
    VALUES (%(name)s, %(definition)s::text::json, octet_length(%(definition)s::text), %(anchor_at)s,
            %(next_at)s, %(created_at)s, %(updated_at)s, %(credential)s, %(overlap)s)
    ON CONFLICT (name) DO NOTHING
    RETURNING name, next_at
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_schedules', '') FROM added WHERE next_at IS NOT NULL
)
SELECT name FROM added LEFT JOIN notified ON true

-- name: replace_schedule
WITH replaced AS (
    UPDATE taskflow_schedules
    SET definition = %(definition)s::text::json, size_bytes = octet_length(%(definition)s::text),
        anchor_at = %(anchor_at)s, next_at = %(next_at)s, updated_at = %(updated_at)s,
        compared = %(compared)b::uuid[], credential = %(credential)s, overlap = %(overlap)s
    WHERE name = %(name)s
    RETURNING name, next_at
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_schedules', '') FROM replaced WHERE next_at IS NOT NULL
)
SELECT name FROM replaced LEFT JOIN notified ON true

-- name: delete_schedule
WITH forgotten AS (
    DELETE FROM taskflow_schedule_tasks WHERE schedule = %(name)s
)
DELETE FROM taskflow_schedules WHERE name = %(name)s RETURNING name

-- name: hold_due_schedules
-- All columns are read from the locked rows: other parts of the statement may see them as they
-- were before another node fired them.
WITH due AS MATERIALIZED (
    SELECT name, definition, size_bytes, anchor_at, next_at, created_at, updated_at,
           last_fired_at, last_task_id, compared, skipped_count, last_skipped_at
    FROM taskflow_schedules
    WHERE next_at <= now() ORDER BY next_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), few AS (
    SELECT *, sum(size_bytes) OVER (ORDER BY next_at, name) - size_bytes AS bytes_before FROM due
)
SELECT name, definition::text, anchor_at, next_at, created_at, updated_at, last_fired_at,
       last_task_id, compared, skipped_count, last_skipped_at
FROM few WHERE bytes_before < %(budget_bytes)s ORDER BY next_at, name

-- name: last_tasks
SELECT id, status, options::text, size_bytes FROM
-- insert: tasks_anywhere

-- name: results
-- The whole result, not some members by ->: that fails on escapes such as \u0000 anywhere in it.
SELECT id, result::text FROM
-- insert: tasks_anywhere
WHERE result IS NOT NULL

-- name: fired_already
-- The caller holds the schedules, so that no other node fires them meanwhile.
SELECT f.schedule, f.at
FROM unnest(%(names)b::text[], %(ats)b::timestamptz[]) AS t (schedule, at)
JOIN taskflow_firings AS f ON f.schedule = t.schedule AND f.at = t.at

-- name: record_firings
INSERT INTO taskflow_firings (schedule, at, task_id)
SELECT * FROM unnest(%(names)b::text[], %(ats)b::timestamptz[], %(task_ids)b::uuid[])

-- name: move_schedules_on
UPDATE taskflow_schedules AS s
SET next_at = t.next_at, last_fired_at = t.last_fired_at, last_task_id = t.last_task_id
FROM unnest(%(names)b::text[], %(next_ats)b::timestamptz[], %(last_fired_ats)b::timestamptz[],
            %(last_task_ids)b::uuid[]) AS t (name, next_at, last_fired_at, last_task_id)
WHERE s.name = t.name

-- name: compare_with
UPDATE taskflow_schedules SET compared = %(compared)b::uuid[] WHERE name = %(name)s

-- name: hold_schedule_tasks
-- Some tasks of each schedule that may be open, the oldest first.
SELECT held.schedule, held.task_id
FROM unnest(%(names)b::text[]) AS s (name) CROSS JOIN LATERAL (
    SELECT schedule, task_id FROM taskflow_schedule_tasks AS t
    WHERE t.schedule = s.name ORDER BY task_id LIMIT %(limit)s
    FOR UPDATE
) AS held

-- name: add_schedule_tasks
INSERT INTO taskflow_schedule_tasks (schedule, task_id)
SELECT * FROM unnest(%(names)b::text[], %(ids)b::uuid[])

-- name: forget_schedule_tasks
DELETE FROM taskflow_schedule_tasks AS s
USING unnest(%(names)b::text[], %(ids)b::uuid[]) AS t (schedule, task_id)
WHERE s.schedule = t.schedule AND s.task_id = t.task_id

-- name: adopt_schedule_tasks
-- The open tasks of a schedule that has not limited overlaps, as far as its firings are kept.
INSERT INTO taskflow_schedule_tasks (schedule, task_id)
SELECT %(name)s, id FROM taskflow_tasks
WHERE id IN (
    SELECT task_id FROM taskflow_firings WHERE schedule = %(name)s
    UNION ALL SELECT %(last_task_id)s::uuid
) AND status IN ('PENDING', 'RUNNING')
ON CONFLICT DO NOTHING

-- name: forget_tasks_of_schedule
DELETE FROM taskflow_schedule_tasks WHERE schedule = %(name)s

-- name: record_skips
UPDATE taskflow_schedules AS s
SET skipped_count = s.skipped_count + t.count, last_skipped_at = %(now)s
FROM unnest(%(names)b::text[], %(counts)b::bigint[]) AS t (name, count)
WHERE s.name = t.name

-- name: record_runs
-- Older runs of these schedules are deleted at once: the statement sees the rows of before, so a few more than are kept
-- remain. A time that was recorded before keeps its row.
WITH old AS (
    DELETE FROM taskflow_schedule_runs AS r
    USING (SELECT DISTINCT name FROM unnest(%(names)b::text[]) AS t (name)) AS s
    WHERE r.schedule = s.name AND r.at < (
        SELECT kept.at FROM taskflow_schedule_runs AS kept
        WHERE kept.schedule = s.name ORDER BY kept.at DESC OFFSET %(kept)s - 1 LIMIT 1
    )
)
INSERT INTO taskflow_schedule_runs (schedule, at, kind, task_id, count)
SELECT * FROM unnest(%(names)b::text[], %(ats)b::timestamptz[], %(kinds)b::text[], %(task_ids)b::uuid[],
                     %(counts)b::int[])
ON CONFLICT DO NOTHING

-- name: schedule_runs
SELECT taskflow_bounded(r.at), r.kind, r.count, r.task_id, t.status, taskflow_bounded(t.started_at),
       taskflow_bounded(t.finished_at), t.attempt, t.error
FROM (
    SELECT * FROM taskflow_schedule_runs WHERE schedule = %(name)s ORDER BY at DESC LIMIT %(limit)s
) AS r LEFT JOIN LATERAL (
    SELECT one.status, one.started_at, one.finished_at, one.attempt, one.error
    FROM taskflow_all_tasks AS one WHERE one.id = r.task_id OFFSET 0
) AS t ON true
ORDER BY r.at DESC

-- name: next_firing
-- Seconds until the next schedule is due.
SELECT extract(epoch FROM taskflow_bounded(next_at) - now())::float8 FROM taskflow_schedules
WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1

-- name: delete_old_firings
WITH old AS (
    SELECT schedule, at FROM taskflow_firings
    WHERE fired_at < now() - make_interval(secs => %(age_seconds)s)
    ORDER BY fired_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM taskflow_firings AS f USING old WHERE f.schedule = old.schedule AND f.at = old.at
RETURNING f.schedule

-- name: failing_schedules
-- For each schedule, the task of its last time that has finished: times are read newest first, as far as that. And the
-- last task, which may be one of no time.
SELECT s.name, t.id, t.error
FROM taskflow_schedules AS s CROSS JOIN LATERAL (
    SELECT finished.id, finished.status, finished.error FROM (
        (SELECT one.id, one.status, coalesce(one.error, '') AS error
         FROM (
             SELECT f.at, f.task_id FROM taskflow_firings AS f
             WHERE f.schedule = s.name ORDER BY f.at DESC LIMIT %(times)s
         ) AS made CROSS JOIN LATERAL (
             SELECT a.id, a.status, a.error FROM taskflow_all_tasks AS a
             WHERE a.id = made.task_id AND a.finished_at IS NOT NULL OFFSET 0
         ) AS one
         ORDER BY made.at DESC LIMIT 1)
        UNION ALL
        SELECT a.id, a.status, coalesce(a.error, '') FROM taskflow_all_tasks AS a
        WHERE a.id = s.last_task_id AND a.finished_at IS NOT NULL
    ) AS finished
    ORDER BY finished.id DESC LIMIT 1
) AS t
WHERE s.name = coalesce(%(name)s, s.name) AND t.status = 'FAILED'
ORDER BY s.name LIMIT %(limit)s

-- name: overdue_schedules
-- Times that have not been processed yet, and those that were processed late a moment ago.
SELECT late.name, min(late.at), extract(epoch FROM max(late.fired_at - late.at))::float8
FROM (
    SELECT name, next_at AS at, now() AS fired_at FROM taskflow_schedules
    WHERE next_at < now() - make_interval(secs => %(late_seconds)s)
    UNION ALL
    SELECT recent.schedule, recent.at, recent.fired_at FROM (
        SELECT schedule, at, fired_at FROM taskflow_firings
        WHERE fired_at > now() - make_interval(secs => %(within_seconds)s)
        ORDER BY fired_at DESC LIMIT %(firings)s
    ) AS recent
    WHERE recent.fired_at - recent.at >= make_interval(secs => %(late_seconds)s)
) AS late
WHERE late.name = coalesce(%(name)s, late.name)
GROUP BY late.name ORDER BY late.name LIMIT %(limit)s
