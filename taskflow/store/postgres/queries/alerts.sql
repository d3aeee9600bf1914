-- Alerts: see migration 0041.

-- part: alert_columns
name, definition::text, state::text, silenced_until, created_at, updated_at, revision

-- name: alert
SELECT
-- insert: alert_columns
FROM taskflow_alerts WHERE name = %(name)s

-- name: alerts
SELECT
-- insert: alert_columns
FROM taskflow_alerts ORDER BY name

-- name: hold_alert
SELECT
-- insert: alert_columns
FROM taskflow_alerts WHERE name = %(name)s FOR UPDATE

-- name: count_alerts
SELECT count(*), now() FROM taskflow_alerts

-- name: add_alert_if_new
INSERT INTO taskflow_alerts (name, definition, state, is_paused, revision, due_at, created_at, updated_at)
VALUES (%(name)s, %(definition)s::json, %(state)s::json, %(is_paused)s, 0, now(), now(), now())
ON CONFLICT (name) DO NOTHING
RETURNING
-- insert: alert_columns

-- name: replace_alert
-- It is evaluated at once.
UPDATE taskflow_alerts
SET definition = %(definition)s::json, state = %(state)s::json, is_paused = %(is_paused)s, revision = revision + 1,
    due_at = taskflow_after(%(seconds)s::float8), updated_at = taskflow_after(%(seconds)s::float8)
WHERE name = %(name)s
RETURNING
-- insert: alert_columns

-- name: silence_alert
UPDATE taskflow_alerts SET silenced_until = taskflow_after(%(seconds)s::float8) WHERE name = %(name)s
RETURNING
-- insert: alert_columns

-- name: delete_alert
DELETE FROM taskflow_alerts WHERE name = %(name)s RETURNING name

-- name: take_alerts_if_due
-- The row is locked for this statement only. Another node skips it meanwhile, and finds it not due afterwards.
WITH due AS MATERIALIZED (
    SELECT name FROM taskflow_alerts WHERE NOT is_paused AND due_at <= now() ORDER BY name FOR UPDATE SKIP LOCKED
)
UPDATE taskflow_alerts AS a SET revision = a.revision + 1, due_at = taskflow_after(%(seconds)s::float8)
FROM due WHERE a.name = due.name
RETURNING a.name, a.definition::text, a.state::text, a.silenced_until, a.created_at, a.updated_at, a.revision

-- name: hold_alert_if_revision
SELECT
-- insert: alert_columns
FROM taskflow_alerts WHERE name = %(name)s AND revision = %(revision)s FOR UPDATE

-- name: put_alert_state
UPDATE taskflow_alerts SET state = %(state)s::json WHERE name = %(name)s

-- name: add_alert_notification
-- And delete those beyond the maximum.
WITH old AS (
    DELETE FROM taskflow_alert_notifications AS n
    WHERE n.alert = %(alert)s AND n.id <= (
        SELECT id FROM taskflow_alert_notifications WHERE alert = %(alert)s
        ORDER BY id DESC OFFSET %(kept)s - 1 LIMIT 1
    )
)
INSERT INTO taskflow_alert_notifications (alert, id, at, kind, title, task_ids)
VALUES (%(alert)s, taskflow_new_id(), %(at)s, %(kind)s, %(title)s, %(task_ids)b::uuid[])
RETURNING id, at, kind, title, task_ids

-- name: alert_notifications
SELECT id, at, kind, title, task_ids FROM taskflow_alert_notifications WHERE alert = %(name)s
ORDER BY id DESC LIMIT %(limit)s
