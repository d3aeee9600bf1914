-- What is looked at to see whether a server is fit for TaskFlow; nothing here changes anything.

-- name: examine_server
-- Of whom pg_stat_activity does not show others' transactions, none are seen.
SELECT clock_timestamp(), pg_backend_pid(), pg_is_in_recovery(),
       current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       pg_database_size(current_database()),
       (SELECT extract(epoch FROM now() - min(xact_start))::float8 FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND backend_type = 'client backend'),
       current_setting('fsync') = 'on',
       to_regclass('taskflow_migrations') IS NOT NULL,
       to_regclass('taskflow_nodes') IS NOT NULL

-- name: applied_migrations
SELECT version FROM taskflow_migrations ORDER BY version

-- name: living_nodes
-- How many, and the versions of their time zone databases; the column is not there before
-- migration 0013.
SELECT count(*),
       array_remove(array_agg(DISTINCT to_jsonb(n) ->> 'tz_version'), NULL)
FROM taskflow_nodes AS n WHERE expires_at > now()
