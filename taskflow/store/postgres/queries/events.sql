-- Events, recorded while someone watches.

-- name: wait_for_writers
-- Wait for transactions that found that events are not recorded, and are about to commit. They
-- finish in a moment; if not, their events may be missing. Later ones check after this
-- transaction.
SELECT pg_advisory_xact_lock(8386658447506927982) IS NOT NULL
FROM
-- insert: place_of_tables

-- name: are_events_recorded
-- Whether events are recorded, and whether for long enough that this need not be extended yet.
SELECT recorded_until > now(), recorded_until > now() + make_interval(secs => %(seconds)s / 2)
FROM taskflow_event_log

-- name: record_events
-- From the position where recording begins, nothing is missing.
UPDATE taskflow_event_log
SET complete_after = CASE WHEN taskflow_is_over(recorded_until)
                     THEN greatest(complete_after, (SELECT max(id) FROM taskflow_events)) ELSE complete_after END,
    recorded_until = now() + make_interval(secs => %(seconds)s)

-- name: last_event
SELECT greatest(coalesce(max(id), 0), (SELECT complete_after FROM taskflow_event_log))
FROM taskflow_events

-- name: events_complete_after
SELECT complete_after FROM taskflow_event_log

-- name: events_after
SELECT id, task_id, status, queue, attempt, at, error, error_type, tags::text, group_id
FROM taskflow_events WHERE id > %(position)s AND id <= %(until)s
  AND status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED')
ORDER BY id LIMIT %(limit)s

-- name: wanted_events_after
-- Tags are compared as text.
SELECT id, task_id, status, queue, attempt, at, error, error_type, tags::text, group_id
FROM taskflow_events AS e WHERE id > %(position)s AND id <= %(until)s
  AND status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED')
  AND (%(task_id)s::uuid IS NULL OR task_id = %(task_id)s)
  AND (%(group)s::uuid IS NULL OR group_id = %(group)s)
  AND (%(queue)s::text IS NULL OR queue = %(queue)s)
  AND NOT EXISTS (
      SELECT FROM json_each_text(%(tags)s::json) AS tag
      WHERE taskflow_field(e.tags, tag.key) IS DISTINCT FROM tag.value
  )
ORDER BY id LIMIT %(limit)s

-- name: delete_old_events
WITH old AS (
    SELECT id, at FROM taskflow_events ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM taskflow_events
    WHERE id IN (SELECT id FROM old WHERE at < now() - make_interval(secs => %(age_seconds)s))
    RETURNING id
), noted AS (
    UPDATE taskflow_event_log
    SET complete_after = greatest(complete_after, (SELECT max(id) FROM deleted))
    WHERE EXISTS (SELECT FROM deleted)
)
SELECT count(*) FROM deleted
