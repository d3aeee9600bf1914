-- Encrypted rows, for key rotation. Heads are the version and the id of the key in base64.

-- part: heads
ARRAY(
    SELECT DISTINCT found[1]
    FROM regexp_matches(texts.text, '\{"\$encrypted":"([A-Za-z0-9+/]{8})', 'g') AS found
)

-- name: sealed_tasks
-- A task with its attempts: these never change, and are deleted with it. What a target sent may
-- look like encrypted data, but has a URL: see model/sealed_document.py.
SELECT page.id, page.size_bytes,
-- insert: heads
FROM (
    SELECT * FROM (
        SELECT id, size_bytes FROM taskflow_tasks
        WHERE id > %(after)s::uuid ORDER BY id LIMIT %(limit)s
    ) AS hot UNION ALL SELECT * FROM (
        SELECT id, size_bytes FROM taskflow_archive
        WHERE id > %(after)s::uuid ORDER BY id LIMIT %(limit)s
    ) AS cold
    ORDER BY id LIMIT %(limit)s
) AS page CROSS JOIN LATERAL (
    SELECT concat_ws(' ',
        CASE WHEN t.options ->> 'callback_of' IS NOT NULL THEN t.payload::text
             WHEN t.payload::text ^@ '{"$encrypted":"' THEN left(t.payload::text, 50) END,
        (SELECT string_agg(left(one.response::text, 400), ' ')
         FROM (SELECT t.result UNION ALL SELECT t.response UNION ALL
               SELECT a.response FROM taskflow_attempts AS a WHERE a.task_id = page.id UNION ALL
               SELECT a.response FROM taskflow_archive_attempts AS a WHERE a.task_id = page.id
         ) AS one (response)
         WHERE position('"encoding":"json","url":""' IN right(one.response::text, 200)) > 0)
    ) AS text
    FROM taskflow_all_tasks AS t WHERE t.id = page.id OFFSET 0
) AS texts
ORDER BY page.id

-- name: last_task_before_newest
SELECT id FROM taskflow_all_tasks ORDER BY id DESC OFFSET %(newest)s LIMIT 1

-- name: hold_sealed_tasks
-- Tasks that another transaction holds are left for later: nothing waits, so nothing deadlocks.
SELECT id, queue, options ->> 'callback_of', payload::text, result::text, response::text
FROM taskflow_tasks WHERE id = ANY (%(keys)s::uuid[])
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED

-- name: hold_sealed_archived
SELECT id, queue, options ->> 'callback_of', payload::text, result::text, response::text
FROM taskflow_archive WHERE id = ANY (%(keys)s::uuid[])
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_tasks
UPDATE taskflow_tasks AS t
SET payload = e.payload::json, result = e.result::json, response = e.response::json
FROM unnest(
    %(ids)b::uuid[], %(payloads)b::text[], %(results)b::text[], %(responses)b::text[]
) AS e (id, payload, result, response)
WHERE t.id = e.id

-- name: replace_sealed_archived
UPDATE taskflow_archive AS t
SET payload = e.payload::json, result = e.result::json, response = e.response::json
FROM unnest(
    %(ids)b::uuid[], %(payloads)b::text[], %(results)b::text[], %(responses)b::text[]
) AS e (id, payload, result, response)
WHERE t.id = e.id

-- name: responses_of_attempts
SELECT task_id, id, response::text FROM taskflow_attempts
WHERE task_id = ANY (%(keys)s::uuid[]) AND response IS NOT NULL
UNION ALL
SELECT task_id, id, response::text FROM taskflow_archive_attempts
WHERE task_id = ANY (%(keys)s::uuid[]) AND response IS NOT NULL

-- name: replace_responses_of_attempts
UPDATE taskflow_attempts AS a SET response = e.response::json
FROM unnest(
    %(task_ids)b::uuid[], %(ids)b::bigint[], %(responses)b::text[]
) AS e (task_id, id, response)
WHERE a.task_id = e.task_id AND a.id = e.id

-- name: replace_responses_of_archived_attempts
UPDATE taskflow_archive_attempts AS a SET response = e.response::json
FROM unnest(
    %(task_ids)b::uuid[], %(ids)b::bigint[], %(responses)b::text[]
) AS e (task_id, id, response)
WHERE a.task_id = e.task_id AND a.id = e.id

-- name: sealed_schedules
SELECT page.name, page.size_bytes,
-- insert: heads
FROM (
    SELECT name, size_bytes, definition::text AS text FROM taskflow_schedules
    WHERE name > %(after)s ORDER BY name LIMIT %(limit)s
) AS page CROSS JOIN LATERAL (SELECT page.text) AS texts
ORDER BY page.name

-- name: hold_sealed_schedules
SELECT name, definition::text FROM taskflow_schedules WHERE name = ANY (%(keys)s::text[])
ORDER BY name FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_schedules
UPDATE taskflow_schedules AS s SET definition = e.definition::json
FROM unnest(%(keys)b::text[], %(values)b::text[]) AS e (name, definition)
WHERE s.name = e.name

-- name: sealed_queues
-- The credentials of egress proxies (model/proxy.py), in the base64 of URLs.
SELECT name, length(settings::text), ARRAY(
    SELECT translate(found[1], '-_', '+/')
    FROM regexp_matches(settings::text, '\$encrypted:([A-Za-z0-9_-]{8})') AS found
)
FROM taskflow_queues WHERE name > %(after)s ORDER BY name LIMIT %(limit)s

-- name: hold_sealed_queues
SELECT name, settings::text FROM taskflow_queues WHERE name = ANY (%(keys)s::text[])
ORDER BY name FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_queues
UPDATE taskflow_queues AS q SET settings = e.settings::json
FROM unnest(%(keys)b::text[], %(values)b::text[]) AS e (name, settings)
WHERE q.name = e.name

-- name: sealed_alerts
-- The URLs of chats (model/alert_destinations.py).
SELECT name, length(definition::text), ARRAY(
    SELECT DISTINCT found[1]
    FROM regexp_matches(definition::text, '"sealed_url":"([A-Za-z0-9+/]{8})', 'g') AS found
)
FROM taskflow_alerts WHERE name > %(after)s ORDER BY name LIMIT %(limit)s

-- name: hold_sealed_alerts
SELECT name, definition::text FROM taskflow_alerts WHERE name = ANY (%(keys)s::text[])
ORDER BY name FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_alerts
UPDATE taskflow_alerts AS a SET definition = e.definition::json
FROM unnest(%(keys)b::text[], %(values)b::text[]) AS e (name, definition)
WHERE a.name = e.name

-- name: sealed_credentials
SELECT name, octet_length(sealed), ARRAY[encode(substring(sealed FROM 1 FOR 6), 'base64')]
FROM taskflow_credentials WHERE name > %(after)s ORDER BY name LIMIT %(limit)s

-- name: hold_sealed_credentials
SELECT name, kind, sealed FROM taskflow_credentials WHERE name = ANY (%(keys)s::text[])
ORDER BY name FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_credentials
UPDATE taskflow_credentials AS c SET sealed = e.sealed
FROM unnest(%(keys)b::text[], %(values)b::bytea[]) AS e (name, sealed)
WHERE c.name = e.name

-- name: sealed_signing_keys
SELECT number, octet_length(sealed), ARRAY[encode(substring(sealed FROM 1 FOR 6), 'base64')]
FROM taskflow_signing_keys WHERE number > %(after)s ORDER BY number LIMIT %(limit)s

-- name: hold_sealed_signing_keys
SELECT number, public, sealed FROM taskflow_signing_keys WHERE number = ANY (%(keys)s::integer[])
ORDER BY number FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_signing_keys
UPDATE taskflow_signing_keys AS k SET sealed = e.sealed
FROM unnest(%(keys)s::integer[], %(values)b::bytea[]) AS e (number, sealed)
WHERE k.number = e.number

-- name: sealed_groups
-- The completion task is encrypted twice, with the same key: as it is shown, and as its payload.
SELECT page.id, page.size_bytes,
-- insert: heads
FROM (
    SELECT id, octet_length(concat(on_complete, completion)) AS size_bytes,
           left(on_complete::text, 50) AS text
    FROM taskflow_groups
    WHERE id > %(after)s::uuid ORDER BY id LIMIT %(limit)s
) AS page CROSS JOIN LATERAL (
    SELECT CASE WHEN page.text ^@ '{"$encrypted":"' THEN page.text END AS text
) AS texts
ORDER BY page.id

-- name: hold_sealed_groups
SELECT id, queue, on_complete::text, completion::text FROM taskflow_groups
WHERE id = ANY (%(keys)s::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_groups
UPDATE taskflow_groups AS g SET on_complete = e.shown::json, completion = e.completion::json
FROM unnest(%(ids)b::uuid[], %(shown)b::text[], %(completions)b::text[]) AS e (id, shown, completion)
WHERE g.id = e.id

-- name: sealed_parked
-- The URLs that are polled. A target may choose one that contains what looks like encrypted data.
SELECT texts.task_id, coalesce(octet_length(texts.text), 0),
-- insert: heads
FROM (
    SELECT task_id, CASE WHEN poll_url ^@ '{"$encrypted":"' THEN poll_url END AS text FROM taskflow_parked
    WHERE task_id > %(after)s::uuid ORDER BY task_id LIMIT %(limit)s
) AS texts
ORDER BY texts.task_id

-- name: hold_sealed_parked
SELECT task_id, poll_url FROM taskflow_parked
WHERE task_id = ANY (%(keys)s::uuid[]) ORDER BY task_id FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_parked
UPDATE taskflow_parked AS p SET poll_url = e.poll_url
FROM unnest(%(keys)b::uuid[], %(values)b::text[]) AS e (task_id, poll_url)
WHERE p.task_id = e.task_id

-- name: sealed_heartbeat_pings
-- The notes of pings. One from a client that looks like encrypted data has a space before it (note_of()).
SELECT texts.id, coalesce(octet_length(texts.text), 0),
-- insert: heads
FROM (
    SELECT id, encode(substring(note FROM 1 FOR 50), 'escape') AS text FROM taskflow_heartbeat_pings
    WHERE id > %(after)s::uuid ORDER BY id LIMIT %(limit)s
) AS kept CROSS JOIN LATERAL (
    SELECT kept.id, CASE WHEN kept.text ^@ '{"$encrypted":"' THEN kept.text END AS text
) AS texts
ORDER BY texts.id

-- name: hold_sealed_heartbeat_pings
SELECT id, note FROM taskflow_heartbeat_pings
WHERE id = ANY (%(keys)s::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_heartbeat_pings
UPDATE taskflow_heartbeat_pings AS p SET note = e.note
FROM unnest(%(keys)b::uuid[], %(values)b::bytea[]) AS e (id, note)
WHERE p.id = e.id

-- name: sealed_endpoints
-- The template and up to two signing secrets.
SELECT e.id, octet_length(e.template::text), ARRAY(
    SELECT DISTINCT head FROM (
        SELECT found[1] AS head
        FROM regexp_matches(left(e.template::text, 100), '\{"\$encrypted":"([A-Za-z0-9+/]{8})') AS found
        UNION ALL
        SELECT encode(substring(one.secret FROM 1 FOR 6), 'base64')
        FROM (VALUES (e.secret), (e.former_secret)) AS one (secret) WHERE one.secret IS NOT NULL
    ) AS heads
)
FROM taskflow_endpoints AS e WHERE e.id > %(after)s::uuid ORDER BY e.id LIMIT %(limit)s

-- name: hold_sealed_endpoints
SELECT id, topic || '/' || name, template::text, secret, former_secret FROM taskflow_endpoints
WHERE id = ANY (%(keys)s::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED

-- name: replace_sealed_endpoints
UPDATE taskflow_endpoints AS t
SET template = e.template::json, secret = e.secret, former_secret = e.former_secret
FROM unnest(%(ids)b::uuid[], %(templates)b::text[], %(secrets)b::bytea[], %(former_secrets)b::bytea[])
    AS e (id, template, secret, former_secret)
WHERE t.id = e.id
