-- What all nodes share and nobody else knows.

-- name: share_secret
-- The first node that asks makes it.
WITH made AS (
    INSERT INTO taskflow_secrets (name, value) VALUES (%(name)s, %(value)s)
    ON CONFLICT (name) DO NOTHING
    RETURNING value
)
SELECT value FROM made UNION ALL SELECT value FROM taskflow_secrets WHERE name = %(name)s
