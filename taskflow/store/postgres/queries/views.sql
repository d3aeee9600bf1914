-- Saved views of the dashboard.

-- name: views
SELECT name, query FROM taskflow_views ORDER BY name COLLATE "C" LIMIT %(limit)s

-- name: put_view_if_room
-- Two nodes that store views at the same moment may exceed the limit by one.
INSERT INTO taskflow_views AS v (name, query)
SELECT %(name)s, %(query)s
WHERE (SELECT count(*) FROM taskflow_views AS other WHERE other.name <> %(name)s) < %(limit)s
ON CONFLICT (name) DO UPDATE SET query = excluded.query
RETURNING v.name

-- name: delete_view
DELETE FROM taskflow_views WHERE name = %(name)s
RETURNING name
