-- Credentials: their encrypted values, and what uses them.

-- name: put_credential_if_room
WITH room AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM taskflow_credentials WHERE name = %(name)s)
        OR (SELECT count(*) FROM taskflow_credentials) < %(max_credentials)s AS is_left
), put AS (
    INSERT INTO taskflow_credentials AS c (name, kind, hosts, sealed)
    SELECT %(name)s, %(kind)s, %(hosts)s::text[], %(sealed)s FROM room WHERE is_left
    ON CONFLICT (name) DO UPDATE
    SET kind = excluded.kind, hosts = excluded.hosts, sealed = excluded.sealed, updated_at = excluded.updated_at
    RETURNING xmax = 0 AS is_new
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_credentials', '') FROM put
)
SELECT is_new FROM put LEFT JOIN notified ON true

-- name: sealed_credential
SELECT name, kind, hosts, sealed FROM taskflow_credentials WHERE name = %(name)s

-- name: hold_credential
SELECT name, kind, hosts, sealed FROM taskflow_credentials WHERE name = %(name)s FOR UPDATE

-- name: credential_names
SELECT name FROM taskflow_credentials ORDER BY name

-- name: oidc_credential
SELECT name FROM taskflow_credentials WHERE kind = 'oidc' ORDER BY name LIMIT 1

-- name: credentials
-- All credentials or one, without values, each with what uses it.
SELECT c.name, c.kind, c.hosts, c.created_at, c.updated_at, c.last_used_at,
       ARRAY(SELECT q.name FROM taskflow_queues AS q WHERE q.credential = c.name
             ORDER BY q.name COLLATE "C" LIMIT %(max_users)s),
       ARRAY(SELECT s.name FROM taskflow_schedules AS s WHERE s.credential = c.name
             ORDER BY s.name LIMIT %(max_users)s),
       ARRAY(SELECT e.topic || '/' || e.name FROM taskflow_endpoints AS e WHERE e.credential = c.name
             ORDER BY e.topic, e.name LIMIT %(max_users)s)
FROM taskflow_credentials AS c WHERE %(name)s::text IS NULL OR c.name = %(name)s
ORDER BY c.name

-- name: delete_credential_if_unused
WITH deleted AS (
    DELETE FROM taskflow_credentials AS c
    WHERE c.name = %(name)s AND (
        %(even_if_used)s OR NOT EXISTS (
            SELECT FROM taskflow_queues AS q WHERE q.credential = c.name
        ) AND NOT EXISTS (
            SELECT FROM taskflow_schedules AS s WHERE s.credential = c.name
        ) AND NOT EXISTS (
            SELECT FROM taskflow_endpoints AS e WHERE e.credential = c.name
        )
    )
    RETURNING c.name
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_credentials', '') FROM deleted
)
SELECT name FROM deleted LEFT JOIN notified ON true

-- name: mark_credential_used
-- At most once per interval for all nodes together.
UPDATE taskflow_credentials SET last_used_at = now()
WHERE name = %(name)s
    AND (last_used_at IS NULL OR last_used_at < now() - make_interval(secs => %(seconds)s))
