-- The keys that sign ID tokens.

-- name: signing_keys
SELECT number, public, sealed, extract(epoch FROM clock_timestamp() - added_at)::float8
FROM taskflow_signing_keys ORDER BY number

-- name: add_signing_keys_if_next
WITH added AS (
    INSERT INTO taskflow_signing_keys (number, public, sealed)
    VALUES (%(number)s, %(public)s, %(sealed)s)
    ON CONFLICT (number) DO NOTHING
    RETURNING number
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_signing_keys', '') FROM added
)
SELECT number FROM added LEFT JOIN notified ON true

-- name: delete_other_signing_keys
DELETE FROM taskflow_signing_keys WHERE number <> %(number)s
RETURNING number

-- name: delete_signing_keys_before
DELETE FROM taskflow_signing_keys WHERE number < %(number)s
RETURNING number
