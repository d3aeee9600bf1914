-- Topics, their endpoints, and the events that make deliveries.

-- part: topic_columns
t.name, t.queue, (SELECT count(*) FROM taskflow_endpoints AS e WHERE e.topic = t.name),
t.created_at, t.updated_at

-- part: endpoint_columns
e.topic, e.name, e.id, e.event_types, e.queue, e.template::text, e.is_enabled, e.disabled_reason,
e.failing_since, e.secret, e.former_secret, e.former_secret_until, e.created_at, e.updated_at

-- name: read_topic
SELECT
-- insert: topic_columns
FROM taskflow_topics AS t WHERE t.name = %(name)s

-- name: hold_topic
SELECT
-- insert: topic_columns
FROM taskflow_topics AS t WHERE t.name = %(name)s FOR UPDATE

-- name: add_topic_if_new
INSERT INTO taskflow_topics (name, queue) VALUES (%(name)s, %(queue)s)
ON CONFLICT (name) DO NOTHING RETURNING name

-- name: change_topic
UPDATE taskflow_topics SET queue = %(queue)s, updated_at = now() WHERE name = %(name)s RETURNING name

-- name: topics_after
-- One more is read than is shown.
SELECT
-- insert: topic_columns
FROM taskflow_topics AS t WHERE t.name > %(after)s ORDER BY t.name LIMIT %(limit)s + 1

-- name: scoped_topics_after
SELECT
-- insert: topic_columns
FROM taskflow_topics AS t
WHERE t.name > %(after)s
  AND (t.queue = ANY (%(scope_names)b::text[]) OR t.queue ^@ ANY (%(scope_prefixes)b::text[]))
ORDER BY t.name LIMIT %(limit)s + 1

-- name: delete_topic
-- With its endpoints.
WITH deleted AS (
    DELETE FROM taskflow_topics WHERE name = %(name)s RETURNING name
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_topics', '') FROM deleted
)
SELECT name FROM deleted LEFT JOIN notified ON true

-- name: read_endpoint
SELECT
-- insert: endpoint_columns
FROM taskflow_endpoints AS e WHERE e.topic = %(topic)s AND e.name = %(name)s

-- name: endpoint_to_change
-- The topic is held. Its number of endpoints, the time, and an id for a new one.
SELECT (SELECT count(*) FROM taskflow_endpoints WHERE topic = %(topic)s), now(), taskflow_new_id()

-- name: put_endpoint
WITH put AS (
    INSERT INTO taskflow_endpoints (
        topic, name, id, event_types, queue, template, credential, is_enabled, disabled_reason,
        failing_since, secret, former_secret, former_secret_until, created_at, updated_at
    )
    VALUES (
        %(topic)s, %(name)s, %(id)s, %(event_types)s::text[], %(queue)s, %(template)s::json,
        %(credential)s, %(is_enabled)s, %(disabled_reason)s, %(failing_since)s, %(secret)s,
        %(former_secret)s, %(former_secret_until)s, %(created_at)s, %(updated_at)s
    )
    ON CONFLICT (topic, name) DO UPDATE
    SET event_types = excluded.event_types, queue = excluded.queue, template = excluded.template,
        credential = excluded.credential, is_enabled = excluded.is_enabled,
        disabled_reason = excluded.disabled_reason, failing_since = excluded.failing_since,
        secret = excluded.secret, former_secret = excluded.former_secret,
        former_secret_until = excluded.former_secret_until, updated_at = excluded.updated_at
    RETURNING name
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_topics', '') FROM put
)
SELECT name FROM put LEFT JOIN notified ON true

-- name: rotate_endpoint_secret
-- Columns on the right have their former values.
WITH e AS (
    UPDATE taskflow_endpoints
    SET secret = %(secret)s, updated_at = now(),
        former_secret = CASE WHEN %(overlap)s > 0 THEN secret END,
        former_secret_until = CASE WHEN %(overlap)s > 0 AND secret IS NOT NULL
                              THEN taskflow_after(%(overlap)s) END
    WHERE topic = %(topic)s AND name = %(name)s
    RETURNING *
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_topics', '') FROM e
)
SELECT
-- insert: endpoint_columns
FROM e LEFT JOIN notified ON true

-- name: endpoints_after
SELECT
-- insert: endpoint_columns
FROM taskflow_endpoints AS e WHERE e.topic = %(topic)s AND e.name > %(after)s
ORDER BY e.topic, e.name LIMIT %(limit)s + 1

-- name: delete_endpoint
WITH deleted AS (
    DELETE FROM taskflow_endpoints WHERE topic = %(topic)s AND name = %(name)s RETURNING name
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_topics', '') FROM deleted
)
SELECT name FROM deleted LEFT JOIN notified ON true

-- name: new_event
-- No row if there is no such topic.
SELECT queue, taskflow_new_id(), now() FROM taskflow_topics WHERE name = %(topic)s

-- name: remember_event_if_new
-- No row if an earlier request has the key.
INSERT INTO taskflow_idempotency_keys AS known (key, fingerprint, task_ids, expires_at)
VALUES (%(key)s, %(fingerprint)s, ARRAY[%(id)s::uuid], now() + make_interval(secs => %(seconds)s))
ON CONFLICT (key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, task_ids = EXCLUDED.task_ids, expires_at = EXCLUDED.expires_at
WHERE taskflow_is_over(known.expires_at)
RETURNING true

-- name: endpoints_for_event
SELECT
-- insert: endpoint_columns
FROM taskflow_endpoints AS e
WHERE e.topic = %(topic)s AND e.is_enabled
  AND CASE WHEN %(endpoint)s::text IS NULL THEN e.event_types && %(patterns)b::text[]
      ELSE e.name = %(endpoint)s END
ORDER BY e.topic, e.name

-- name: add_event
WITH delivered AS (
    INSERT INTO taskflow_deliveries (endpoint_id, task_id)
    SELECT * FROM unnest(%(endpoint_ids)b::uuid[], %(task_ids)b::uuid[])
)
INSERT INTO taskflow_topic_events (id, topic, type, created_at, task_ids)
VALUES (%(id)s, %(topic)s, %(type)s, %(created_at)s, %(task_ids)b::uuid[])

-- name: read_event
SELECT id, topic, type, created_at, task_ids FROM taskflow_topic_events WHERE id = %(id)s

-- name: replace_requests_if_failed
-- In the order of ids, as in all actions on many tasks.
WITH held AS MATERIALIZED (
    SELECT id FROM taskflow_tasks
    WHERE id = ANY (%(ids)b::uuid[]) AND status = 'FAILED' ORDER BY id FOR UPDATE
)
UPDATE taskflow_tasks AS t
SET payload = e.payload::json, host = e.host, authority = e.authority, options = e.options::json,
    max_attempts = e.max_attempts,
    size_bytes = octet_length(e.payload) + coalesce(octet_length(t.tags::text), 0)
                 + coalesce(octet_length(e.options), 0)
FROM held JOIN unnest(
    %(ids)b::uuid[], %(payloads)b::text[], %(hosts)b::text[], %(authorities)b::text[],
    %(options)b::text[], %(max_attempts)b::integer[]
) AS e (id, payload, host, authority, options, max_attempts) ON e.id = held.id
WHERE t.id = held.id
RETURNING t.id

-- name: endpoint_secrets
SELECT e.topic || '/' || e.name, e.is_enabled, e.secret,
       CASE WHEN e.former_secret_until > now() THEN e.former_secret END,
       extract(epoch FROM now() - e.failing_since)::float8
FROM taskflow_endpoints AS e WHERE e.id = %(id)s

-- name: note_endpoint_success
WITH noted AS (
    UPDATE taskflow_endpoints SET failing_since = NULL
    WHERE id = %(id)s AND failing_since IS NOT NULL RETURNING id
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_topics', '') FROM noted
)
SELECT id FROM noted LEFT JOIN notified ON true

-- name: note_endpoint_failure_if_enabled
WITH e AS (
    UPDATE taskflow_endpoints
    SET failing_since = taskflow_or_now(failing_since),
        is_enabled = taskflow_age(taskflow_or_now(failing_since)) < %(seconds)s,
        disabled_reason = CASE
            WHEN taskflow_age(taskflow_or_now(failing_since)) >= %(seconds)s THEN %(reason)s END
    WHERE id = %(id)s AND is_enabled
      AND (failing_since IS NULL OR taskflow_age(failing_since) >= %(seconds)s OR %(seconds)s = 0)
    RETURNING *
), notified AS MATERIALIZED (
    SELECT taskflow_notify('taskflow_topics', '') FROM e
)
SELECT
-- insert: endpoint_columns
FROM e LEFT JOIN notified ON true

-- name: delete_old_topic_events
WITH old AS (
    SELECT id FROM taskflow_topic_events
    WHERE created_at < now() - make_interval(secs => %(age_seconds)s)
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM taskflow_topic_events AS e USING old WHERE e.id = old.id RETURNING e.id
