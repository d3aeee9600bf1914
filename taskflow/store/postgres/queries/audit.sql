-- The audit log.

-- name: add_audit_entries
-- An entry whose batch exists is added to the count of that entry.
INSERT INTO taskflow_audit AS a (action, actor, session, address, target, count, detail, batch)
SELECT action, actor, session, address, target, count, detail, batch
FROM json_to_recordset(%(entries)s::text::json) AS e (
    action text, actor text, session text, address text, target text, count bigint, detail json,
    batch uuid
)
ON CONFLICT (batch) WHERE batch IS NOT NULL DO UPDATE SET count = a.count + excluded.count

-- part: matching_entries
-- The entries that match, each with the last one that was scanned and how many were: at least one
-- row. Indexes are chosen by row comparisons, as in search.py.
SELECT (SELECT id FROM scanned ORDER BY id LIMIT 1), (SELECT count(*) FROM scanned),
       m.id, m.at, m.action, m.actor, m.session, m.address, m.target, m.count, m.detail::text
FROM (SELECT) AS always LEFT JOIN (
    SELECT * FROM scanned
    WHERE (%(actor)s::text IS NULL OR actor = %(actor)s)
      AND (%(target)s::text IS NULL OR target = %(target)s)
      AND (%(actions)b::text[] IS NULL OR action = ANY (%(actions)b::text[]))
      AND (%(after_at)s::timestamptz IS NULL OR at >= %(after_at)s)
      AND (%(before_at)s::timestamptz IS NULL OR at < %(before_at)s)
    ORDER BY id DESC LIMIT %(limit)s
) AS m ON true
ORDER BY m.id DESC

-- name: audit_entries
WITH scanned AS MATERIALIZED (
    SELECT * FROM taskflow_audit WHERE id < %(before)s AND id >= %(min_id)s
    ORDER BY id DESC LIMIT %(window)s
)
-- insert: matching_entries

-- name: audit_entries_by_actor
WITH scanned AS MATERIALIZED (
    SELECT * FROM taskflow_audit
    WHERE (actor, id) < (%(actor)s, %(before)s) AND (actor, id) >= (%(actor)s, %(min_id)s)
    ORDER BY actor DESC, id DESC LIMIT %(window)s
)
-- insert: matching_entries

-- name: audit_entries_by_target
WITH scanned AS MATERIALIZED (
    SELECT * FROM taskflow_audit
    WHERE (target, id) < (%(target)s, %(before)s) AND (target, id) >= (%(target)s, %(min_id)s)
    ORDER BY target DESC, id DESC LIMIT %(window)s
)
-- insert: matching_entries

-- name: delete_old_audit_entries
-- The oldest first.
WITH old AS (
    SELECT id FROM taskflow_audit
    WHERE id < taskflow_least_id(now() - make_interval(secs => %(age_seconds)s))
    ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM taskflow_audit AS a USING old WHERE a.id = old.id
RETURNING a.id
