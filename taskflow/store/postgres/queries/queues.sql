-- Settings of queues, and circuit breakers of hosts.

-- name: put_queue
INSERT INTO taskflow_queues AS q (name, settings, paused, is_limited, credential)
VALUES (%(name)s, %(settings)s::json, %(paused)s, %(is_limited)s, %(credential)s)
ON CONFLICT (name) DO UPDATE
SET settings = excluded.settings, paused = excluded.paused, is_limited = excluded.is_limited,
    credential = excluded.credential, updated_at = excluded.updated_at

-- name: lock_queue
-- Two concurrent changes are applied one after the other.
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

-- name: read_queues_in_scope
SELECT name, settings::text FROM taskflow_queues
WHERE name = ANY (%(scope_names)b::text[]) OR name ^@ ANY (%(scope_prefixes)b::text[])
ORDER BY name COLLATE "C" LIMIT %(limit)s

-- name: read_hosts
SELECT host, held_until, why FROM taskflow_hosts ORDER BY host LIMIT %(limit)s

-- name: open_circuit
-- For the time that the host asked for, else twice as long each time. A failure while the
-- circuit is open already, reported by another node, does not extend it.
INSERT INTO taskflow_hosts AS h (host, held_until, times, why)
VALUES (%(host)s,
        now() + make_interval(secs => coalesce(%(retry_after_seconds)s, %(min_seconds)s)), 1, %(reason)s)
ON CONFLICT (host) DO UPDATE
SET times = CASE WHEN taskflow_is_over(h.held_until) THEN least(h.times + 1, 30) ELSE h.times END,
    held_until = greatest(h.held_until, taskflow_after(coalesce(
        %(retry_after_seconds)s,
        CASE WHEN taskflow_is_over(h.held_until)
        THEN least(%(max_seconds)s, %(min_seconds)s * 2 ^ least(h.times, 30)) ELSE 0 END
    ))),
    why = excluded.why

-- name: close_circuit
WITH freed AS (
    DELETE FROM taskflow_hosts WHERE host = %(host)s RETURNING host
)
SELECT taskflow_make_room(%(sender)s) IS NOT NULL FROM freed

-- name: delete_stale_paces
DELETE FROM taskflow_paces WHERE key IN (
    SELECT key FROM taskflow_paces WHERE next_at < now() - interval '1 minute'
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING key

-- name: delete_stale_hosts
-- Hosts that had no task for long: the next task that goes there shows their state.
DELETE FROM taskflow_hosts WHERE host IN (
    SELECT host FROM taskflow_hosts WHERE held_until < now() - interval '1 hour'
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING host
