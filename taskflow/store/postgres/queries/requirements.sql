-- Queries that check whether a database is fit for TaskFlow; nothing here changes anything.

-- name: examine_server
-- A role that may not see the transactions of others in pg_stat_activity sees none.
SELECT clock_timestamp(), pg_backend_pid(), pg_is_in_recovery(),
       current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       pg_database_size(current_database()),
       (SELECT extract(epoch FROM now() - min(xact_start))::float8 FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND backend_type = 'client backend'),
       current_setting('fsync') = 'on',
       current_setting('full_page_writes') = 'on',
       current_setting('synchronous_commit') <> 'off',
       coalesce(has_table_privilege(to_regclass('taskflow_migrations')::oid, 'SELECT'), false),
       coalesce(has_table_privilege(to_regclass('taskflow_nodes')::oid, 'SELECT'), false)

-- name: applied_migrations
SELECT version FROM taskflow_migrations ORDER BY version

-- name: living_nodes
-- Number of living nodes, and the versions of their time zone databases; that column does not
-- exist before migration 0013.
SELECT count(*),
       array_remove(array_agg(DISTINCT to_jsonb(n) ->> 'tz_version'), NULL)
FROM taskflow_nodes AS n WHERE expires_at > now() AND id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'

-- name: find_place
-- The search path, and the schema of TaskFlow's tables.
SELECT current_user::text, current_database()::text, current_setting('search_path'),
       ARRAY(SELECT name::text FROM unnest(current_schemas(false)) WITH ORDINALITY AS s(name, place)
             WHERE name !~ '^pg_' AND name <> 'information_schema' ORDER BY place),
       (SELECT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass('taskflow_migrations') AND n.nspname !~ '^pg_'),
       ARRAY(SELECT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relname = 'taskflow_migrations' ORDER BY 1)

-- name: may_create
SELECT has_schema_privilege(%(schema)s::text, 'CREATE')

-- name: is_read_only
SELECT setting = 'on', source FROM pg_settings WHERE name = 'default_transaction_read_only'

-- name: source_of_setting
SELECT source FROM pg_settings WHERE name = %(name)s

-- name: read_settings
-- Timeouts as the session had them at its start: a transaction may have its own.
SELECT name, CASE WHEN name LIKE '%%timeout' THEN reset_val ELSE setting END, source
FROM pg_settings WHERE name = ANY (%(names)s::text[])

-- name: missing_privileges
-- Privileges that this role lacks on TaskFlow's tables and sequences.
SELECT string_agg(format('%%s on %%s', missing.privileges, c.relname), ', ' ORDER BY c.relname)
FROM pg_class AS home JOIN pg_class AS c ON c.relnamespace = home.relnamespace
CROSS JOIN LATERAL (
    SELECT string_agg(p, ' and ') AS privileges
    FROM unnest(CASE
        WHEN c.relkind = 'S' THEN ARRAY['USAGE']
        WHEN c.relkind = 'v' OR c.relname = 'taskflow_migrations' THEN ARRAY['SELECT']
        ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END) AS p
    WHERE NOT CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, p)
              ELSE has_table_privilege(c.oid, p) END
) AS missing
WHERE home.oid = to_regclass('taskflow_tasks') AND c.relkind IN ('r', 'p', 'v', 'S') AND NOT c.relispartition
  AND c.relname LIKE 'taskflow\_%%' AND missing.privileges IS NOT NULL

-- name: server_state
-- Whether the server takes no writes, whether the tables are gone, and how commits are replicated.
-- One statement, for /readyz. Base backups and logical replication are no standbys.
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
       to_regclass('taskflow_tasks') IS NULL,
       current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
       (SELECT count(*) FROM pg_stat_get_wal_senders() AS s
        WHERE s.state IS DISTINCT FROM 'backup' AND NOT EXISTS (
            SELECT FROM pg_get_replication_slots() AS slot
            WHERE slot.active_pid = s.pid AND slot.slot_type = 'logical'))

-- name: replication
-- The same with the names of the synchronous standbys. A role that is not a member of pg_monitor
-- sees the number of standbys, and no details.
SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
       count(*),
       CASE WHEN bool_or(s.sync_state IS NULL) THEN NULL ELSE coalesce(
           array_agg(s.application_name::text ORDER BY s.application_name)
               FILTER (WHERE s.sync_state IN ('sync', 'quorum')), '{}') END
FROM pg_stat_replication AS s
WHERE s.state IS DISTINCT FROM 'backup' AND NOT EXISTS (
    SELECT FROM pg_get_replication_slots() AS slot
    WHERE slot.active_pid = s.pid AND slot.slot_type = 'logical')

-- name: try_commit
-- Write to the log only: the commit waits for synchronous standbys, as the commit of a task does.
SELECT pg_logical_emit_message(true, 'taskflow', '')

-- name: hidden_tables
-- Tables of which row level security may hide rows from this role, or refuse new ones.
SELECT string_agg(c.relname, ', ' ORDER BY c.relname)
FROM pg_class AS home JOIN pg_class AS c ON c.relnamespace = home.relnamespace
WHERE home.oid = to_regclass('taskflow_tasks') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname LIKE 'taskflow\_%%' AND row_security_active(c.oid)
  AND (NOT EXISTS (
      SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd = '*'
        AND pg_get_expr(p.polqual, c.oid) = 'true'
        AND coalesce(pg_get_expr(p.polwithcheck, c.oid), 'true') = 'true'
        AND EXISTS (SELECT FROM unnest(p.polroles) AS r
                    WHERE CASE WHEN r = 0 THEN true ELSE pg_has_role(r, 'MEMBER') END)
  ) OR EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid AND NOT p.polpermissive))

-- name: missing_objects
-- Tables and functions that the statements name and that do not exist, and functions that this
-- role may not call.
SELECT (SELECT string_agg(name, ', ') FROM unnest(%(tables)s::text[]) AS name
        WHERE to_regclass(name) IS NULL),
       (SELECT string_agg(name || '()', ', ') FROM unnest(%(functions)s::text[]) AS name
        WHERE NOT EXISTS (SELECT FROM pg_proc WHERE proname = name AND pg_function_is_visible(oid))),
       (SELECT string_agg(p.oid::regprocedure::text, ', ')
        FROM pg_class AS home JOIN pg_proc AS p ON p.pronamespace = home.relnamespace
        WHERE home.oid = to_regclass('taskflow_tasks') AND p.proname LIKE 'taskflow\_%%'
          AND p.prorettype <> 'trigger'::regtype AND NOT p.prosecdef AND NOT has_function_privilege(p.oid, 'EXECUTE'))

-- name: archive_state
-- The number of weeks in the archive, and whether this role can create and drop its partitions.
SELECT (SELECT count(*) FROM taskflow_archive_periods),
       coalesce(bool_and(pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE')), false)
FROM pg_class AS c
WHERE c.oid = ANY (ARRAY['taskflow_archive', 'taskflow_archive_attempts', 'taskflow_archive_tags']::regclass[])
