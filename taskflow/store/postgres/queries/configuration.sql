-- Changes of several resources in one transaction.

-- name: lock_configuration
-- One such transaction at a time, so that two of them cannot deadlock. Other schemas of the database may be other
-- cells, in which one is open at the same time.
SELECT pg_advisory_xact_lock(8386658447506927984 # 'taskflow_queues'::regclass::oid::bigint) IS NOT NULL
FROM
-- insert: place_of_tables

-- name: hold_queue
SELECT name FROM taskflow_queues WHERE name = %(name)s FOR UPDATE

-- name: hold_endpoint
SELECT name FROM taskflow_endpoints WHERE topic = %(topic)s AND name = %(name)s FOR UPDATE
