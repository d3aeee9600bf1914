-- Secrets that all nodes share, and sessions that were signed out of.

-- name: share_secret
-- The first node that asks for the secret makes it.
WITH made AS (
    INSERT INTO taskflow_secrets (name, value) VALUES (%(name)s, %(value)s)
    ON CONFLICT (name) DO NOTHING
    RETURNING value
)
SELECT value FROM made UNION ALL SELECT value FROM taskflow_secrets WHERE name = %(name)s

-- name: end_session
WITH expired AS (
    DELETE FROM taskflow_ended_sessions WHERE forgotten_at <= now()
)
INSERT INTO taskflow_ended_sessions (id, forgotten_at)
VALUES (%(id)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: ended_session
SELECT id FROM taskflow_ended_sessions WHERE id = %(id)s
