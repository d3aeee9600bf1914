-- Schemas that Citus distributes (distribution.py).

-- part: place_of_tables
-- One row. A statement that reads it runs where the tables are: in a distributed schema on a worker. Locks and settings of
-- the coordinator have no effect there.
(SELECT count(*) FROM taskflow_event_log) AS place_of_tables

-- name: has_distributed_schemas
SELECT to_regclass('pg_catalog.pg_dist_schema') IS NOT NULL

-- name: is_distributed
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_dist_schema WHERE schemaid = to_regnamespace(quote_ident(%(schema)s))
)

-- name: distributed_form
SELECT taskflow_distributed_form()

-- name: functions_of_rows
-- Functions of rows of a table, as statements that create them again: Citus creates them on the workers only once the
-- table is distributed.
SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p
WHERE p.pronamespace = current_schema()::regnamespace AND p.proname ^@ 'taskflow_' AND EXISTS (
    SELECT FROM unnest(p.proargtypes) AS argument (type) JOIN pg_type AS t ON t.oid = argument.type
    WHERE t.typrelid <> 0
)

-- name: functions_to_pin
-- Functions that use others by their names get the search path of their schema: on a worker, the search path of the
-- session does not apply. Functions in statements of the worker may execute statements on tables.
SELECT format(
    'ALTER FUNCTION %%s SET search_path = %%s SET citus.allow_nested_distributed_execution = on',
    p.oid::regprocedure, %(path)s::text
)
FROM pg_proc AS p
WHERE p.pronamespace = current_schema()::regnamespace AND p.proname ^@ 'taskflow_'
  AND (p.prosrc ~ 'taskflow_' OR p.prorettype = 'trigger'::regtype)
ORDER BY 1

-- name: note_distributed_form
CREATE OR REPLACE FUNCTION taskflow_distributed_form() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN {}::text
