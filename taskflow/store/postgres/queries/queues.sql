-- What operators ask of queues, and the hosts that are held back.

-- name: put_queue
INSERT INTO taskflow_queues AS q (name, settings, paused, is_limited)
VALUES (%(name)s, %(settings)s::json, %(paused)s, %(is_limited)s)
ON CONFLICT (name) DO UPDATE
SET settings = excluded.settings, paused = excluded.paused, is_limited = excluded.is_limited,
    updated_at = now()

-- name: lock_queue
-- So that of two changes at once neither is lost.
INSERT INTO taskflow_queues AS q (name, settings, paused, is_limited)
VALUES (%(name)s, '{}', false, false)
ON CONFLICT (name) DO UPDATE SET name = q.name
RETURNING settings::text, xmax = 0

-- name: make_room
SELECT taskflow_make_room(%(sender)s)

-- name: read_queues
SELECT name, settings::text FROM taskflow_queues
WHERE (%(name)s::text IS NULL OR name = %(name)s)
ORDER BY name COLLATE "C" LIMIT %(limit)s

-- name: read_hosts
SELECT host, held_until, why FROM taskflow_hosts ORDER BY host LIMIT %(limit)s

-- name: open_circuit
-- For so long as it asked for, else twice as long each time. What one node says while another one
-- holds it back already makes it no longer.
INSERT INTO taskflow_hosts AS h (host, held_until, times, why)
VALUES (%(host)s,
        now() + make_interval(secs => coalesce(%(asked_seconds)s, %(first_seconds)s)), 1, %(why)s)
ON CONFLICT (host) DO UPDATE
SET times = CASE WHEN h.held_until > now() THEN h.times ELSE least(h.times + 1, 30) END,
    held_until = greatest(h.held_until, now() + make_interval(secs => coalesce(
        %(asked_seconds)s,
        CASE WHEN h.held_until > now() THEN 0
        ELSE least(%(longest_seconds)s, %(first_seconds)s * 2 ^ least(h.times, 30)) END
    ))),
    why = excluded.why

-- name: close_circuit
WITH freed AS (
    DELETE FROM taskflow_hosts WHERE host = %(host)s RETURNING host
)
SELECT taskflow_make_room(%(sender)s) FROM freed

-- name: forget_hosts
-- Those that nobody has tried for long: the next task that goes there shows how they are.
DELETE FROM taskflow_hosts WHERE host IN (
    SELECT host FROM taskflow_hosts WHERE held_until < now() - interval '1 hour'
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
