-- Heartbeats of jobs elsewhere, their pings and transitions.

-- part: heartbeat_columns
m.name, m.ping_id, m.description, m.every_seconds, m.cron, m.timezone, m.grace_seconds, m.max_run_seconds,
m.paused, m.state, m.state_since, m.expected_at, m.started_at, m.last_ping_at, m.last_signal, m.last_exit_code,
m.last_duration_seconds, m.ping_count, m.transition_count, m.created_at, m.updated_at

-- name: heartbeat_clock
-- The time after a row was locked, unlike now().
SELECT clock_timestamp()

-- name: heartbeat
SELECT
-- insert: heartbeat_columns
, clock_timestamp() FROM taskflow_heartbeat_monitors AS m WHERE m.name = %(name)s

-- name: hold_heartbeat
SELECT
-- insert: heartbeat_columns
FROM taskflow_heartbeat_monitors AS m WHERE m.name = %(name)s FOR UPDATE

-- name: hold_heartbeat_of_url
SELECT
-- insert: heartbeat_columns
FROM taskflow_heartbeat_monitors AS m WHERE m.ping_id = %(ping_id)s FOR UPDATE

-- name: heartbeats_after
-- One more is read than is shown.
SELECT
-- insert: heartbeat_columns
, clock_timestamp() FROM taskflow_heartbeat_monitors AS m
WHERE m.name > %(after)s ORDER BY m.name LIMIT %(limit)s + 1

-- name: heartbeats_down
SELECT
-- insert: heartbeat_columns
, clock_timestamp() FROM taskflow_heartbeat_monitors AS m
WHERE m.state = 'down' AND NOT m.paused ORDER BY m.name LIMIT %(limit)s

-- name: heartbeat_states
-- As state_at() of model/heartbeat_states.py.
SELECT CASE
           WHEN m.paused THEN 'paused'
           WHEN m.state = 'down' THEN 'down'
           WHEN m.started_at IS NOT NULL THEN 'started'
           WHEN taskflow_is_over(m.expected_at) THEN 'late'
           ELSE m.state
       END, count(*)
FROM taskflow_heartbeat_monitors AS m GROUP BY 1

-- name: begin_heartbeat_watch
-- Without heartbeats, no node has checked.
UPDATE taskflow_heartbeat_watch SET checked_at = %(now)s
WHERE NOT EXISTS (SELECT FROM taskflow_heartbeat_monitors)

-- name: add_heartbeat_if_new
INSERT INTO taskflow_heartbeat_monitors (
    name, ping_id, description, every_seconds, cron, timezone, grace_seconds, max_run_seconds, paused, state,
    state_since, expected_at, started_at, last_ping_at, last_signal, last_exit_code, last_duration_seconds,
    ping_count, transition_count, created_at, updated_at, next_check_at
) VALUES (
    %(name)s, %(ping_id)s, %(description)s, %(every_seconds)s, %(cron)s, %(timezone)s, %(grace_seconds)s,
    %(max_run_seconds)s, %(paused)s, %(state)s, %(state_since)s, %(expected_at)s, %(started_at)s,
    %(last_ping_at)s, %(last_signal)s, %(last_exit_code)s, %(last_duration_seconds)s, %(ping_count)s,
    %(transition_count)s, %(created_at)s, %(updated_at)s, %(next_check_at)s
)
ON CONFLICT (name) DO NOTHING RETURNING name

-- name: count_heartbeats
SELECT count(*) FROM taskflow_heartbeat_monitors

-- name: write_held_heartbeat
UPDATE taskflow_heartbeat_monitors
SET ping_id = %(ping_id)s, description = %(description)s, every_seconds = %(every_seconds)s, cron = %(cron)s,
    timezone = %(timezone)s, grace_seconds = %(grace_seconds)s, max_run_seconds = %(max_run_seconds)s,
    paused = %(paused)s, state = %(state)s, state_since = %(state_since)s, expected_at = %(expected_at)s,
    started_at = %(started_at)s, last_ping_at = %(last_ping_at)s, last_signal = %(last_signal)s,
    last_exit_code = %(last_exit_code)s, last_duration_seconds = %(last_duration_seconds)s,
    ping_count = %(ping_count)s, transition_count = %(transition_count)s, updated_at = %(updated_at)s,
    next_check_at = %(next_check_at)s
WHERE name = %(name)s RETURNING name

-- name: add_heartbeat_ping
INSERT INTO taskflow_heartbeat_pings (id, monitor, number, at, signal, exit_code, duration_seconds, address, note)
VALUES (%(id)s, %(monitor)s, %(number)s, %(at)s, %(signal)s, %(exit_code)s, %(duration_seconds)s, %(address)s,
        %(note)s)

-- name: delete_heartbeat_pings
DELETE FROM taskflow_heartbeat_pings WHERE monitor = %(monitor)s AND number <= %(number)s

-- name: add_heartbeat_transition
INSERT INTO taskflow_heartbeat_transitions (monitor, number, at, state, reason)
VALUES (%(monitor)s, %(number)s, %(at)s, %(state)s, %(reason)s)

-- name: delete_heartbeat_transitions
DELETE FROM taskflow_heartbeat_transitions WHERE monitor = %(monitor)s AND number <= %(number)s

-- name: delete_held_heartbeat
DELETE FROM taskflow_heartbeat_monitors WHERE name = %(name)s RETURNING name

-- name: heartbeat_pings
SELECT number, at, signal, exit_code, duration_seconds, address, note FROM taskflow_heartbeat_pings
WHERE monitor = %(name)s ORDER BY number DESC LIMIT %(limit)s

-- name: heartbeat_transitions
SELECT number, at, state, reason FROM taskflow_heartbeat_transitions
WHERE monitor = %(name)s ORDER BY number DESC LIMIT %(limit)s

-- name: heartbeat_transitions_since
SELECT monitor, number, at, state, reason FROM taskflow_heartbeat_transitions
WHERE at >= %(at)s ORDER BY at, monitor, number LIMIT %(limit)s

-- name: next_heartbeat_deadline
SELECT extract(epoch FROM taskflow_bounded(next_check_at) - clock_timestamp())::float8 FROM taskflow_heartbeat_monitors
WHERE next_check_at IS NOT NULL ORDER BY next_check_at LIMIT 1

-- name: hold_heartbeat_watch
-- No row if another node is checking, or if there is nothing to check.
SELECT checked_at FROM taskflow_heartbeat_watch
WHERE id = 1 AND EXISTS (SELECT FROM taskflow_heartbeat_monitors) FOR UPDATE SKIP LOCKED

-- name: add_heartbeat_watch_if_missing
-- It is there, unless someone has deleted it.
INSERT INTO taskflow_heartbeat_watch (id, checked_at)
SELECT 1, now() WHERE EXISTS (SELECT FROM taskflow_heartbeat_monitors) ON CONFLICT (id) DO NOTHING

-- name: note_heartbeat_check
UPDATE taskflow_heartbeat_watch SET checked_at = %(now)s WHERE id = 1

-- name: add_heartbeat_outage
INSERT INTO taskflow_heartbeat_outages (began, ended) VALUES (%(began)s, %(ended)s) ON CONFLICT (began) DO NOTHING

-- name: delete_old_heartbeat_outages
DELETE FROM taskflow_heartbeat_outages
WHERE began < (SELECT began FROM taskflow_heartbeat_outages ORDER BY began DESC OFFSET %(kept)s - 1 LIMIT 1)

-- name: heartbeat_outages
SELECT began, ended FROM taskflow_heartbeat_outages ORDER BY began DESC LIMIT %(limit)s

-- name: hold_due_heartbeats
-- A heartbeat that is being pinged is left to the next check.
SELECT
-- insert: heartbeat_columns
FROM taskflow_heartbeat_monitors AS m
WHERE m.next_check_at <= %(now)s ORDER BY m.next_check_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: defer_heartbeat_check
UPDATE taskflow_heartbeat_monitors SET next_check_at = %(next_check_at)s WHERE name = %(name)s
