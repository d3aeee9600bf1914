-- Callbacks: whoever is to be told of a task's end is sent the task, by a task of its own. That is
-- made in the transaction of the end, whichever way it comes; model/callback.py has the same for
-- tasks in memory.

ALTER TABLE taskflow_tasks
    -- By which task its last end is told.
    ADD COLUMN callback_id uuid;

-- As the API writes them, down to the byte.
CREATE FUNCTION taskflow_moment_as_json(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        '"' || replace(to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', '')
            || 'Z"',
        'null'
    )
$$;

CREATE FUNCTION taskflow_text_as_json(said text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(to_json(said)::text, 'null')
$$;

CREATE FUNCTION taskflow_seconds_as_json(seconds float8) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(seconds::text || CASE WHEN seconds = trunc(seconds) THEN '.0' ELSE '' END, 'null')
$$;

-- A task that came to its end, as GET shows it from then on.
CREATE FUNCTION taskflow_task_as_json(task taskflow_tasks) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat(
        '{"id":"', task.id, '"',
        ',"payload":', task.payload,
        ',"status":"', task.status, '"',
        ',"result":', coalesce(task.result::text, 'null'),
        ',"error":', taskflow_text_as_json(task.error),
        ',"error_type":', taskflow_text_as_json(task.error_type),
        ',"created_at":', taskflow_moment_as_json(task.created_at),
        ',"run_at":', taskflow_moment_as_json(task.run_at),
        ',"started_at":', taskflow_moment_as_json(task.started_at),
        ',"finished_at":', taskflow_moment_as_json(task.finished_at),
        ',"queue":"', task.queue, '"',
        ',"priority":', task.priority,
        ',"attempt":', task.attempt,
        ',"max_attempts":', task.max_attempts,
        ',"rescues":', task.rescues,
        ',"tags":', coalesce(task.tags::text, '{}'),
        ',"expires_at":', taskflow_moment_as_json(task.expires_at),
        ',"backoff":', coalesce((task.options -> 'backoff')::text, 'null'),
        ',"retry_on":', coalesce((task.options -> 'retry_on')::text, 'null'),
        ',"success_on":', coalesce((task.options -> 'success_on')::text, 'null'),
        ',"retention":', taskflow_seconds_as_json(task.retention_seconds),
        ',"callback_url":', coalesce((task.options -> 'callback_url')::text, 'null'),
        ',"callback_id":"', task.callback_id, '"',
        ',"callback_of":null',
        ',"schedule":', coalesce((task.options -> 'schedule')::text, 'null'),
        ',"scheduled_at":', coalesce((task.options -> 'scheduled_at')::text, 'null'),
        ',"waiting_for":null}'
    )
$$;

-- They are made after the statement that ended the tasks, not while that goes from row to row: then
-- all of them are locked, and only then may the lock of the events be taken, as it is here. Tasks
-- that tell nobody pay for the condition of the trigger alone; of the others the first one makes all
-- callbacks of the statement at once, in a third of the time that it takes one by one.
CREATE FUNCTION taskflow_call_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM taskflow_tasks WHERE id = NEW.id AND callback_id IS DISTINCT FROM NEW.callback_id
    ) THEN
        RETURN NULL;  -- the first one did it
    END IF;
    WITH ended AS MATERIALIZED (
        SELECT id, taskflow_new_id() AS callback_id
        FROM after JOIN before USING (id)
        WHERE before.finished_at IS NULL AND after.finished_at IS NOT NULL
          AND after.options ->> 'callback_url' IS NOT NULL
        ORDER BY id
    ), named AS (
        UPDATE taskflow_tasks AS t SET callback_id = ended.callback_id
        FROM ended WHERE t.id = ended.id
        RETURNING t.id, t.options, t.retention_seconds, t.callback_id, taskflow_task_as_json(t) AS body
    ), made AS (
        SELECT callback_id AS id, retention_seconds, options ->> 'callback_host' AS host,
            coalesce(options ->> 'callback_authority', '') AS authority,
            concat(
                '{"url":', options -> 'callback_url',
                ',"method":"POST","headers":{"Content-Type":"application/json"}',
                ',"follow_redirects":false,"body":', body, '}'
            ) AS payload,
            -- 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h
            concat(
                '{"backoff":[5.0,300.0,1800.0,7200.0,18000.0,36000.0,50400.0,72000.0,86400.0]',
                ',"retry_on":["3xx","4xx","5xx"]',
                ',"traceparent":' || (options -> 'traceparent')::text,
                ',"tracestate":' || (options -> 'tracestate')::text,
                ',"callback_of":"', id, '"}'
            ) AS options
        FROM named
    )
    INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, max_attempts, host, authority,
                                retention_seconds, options)
    SELECT id, payload::json, octet_length(payload) + octet_length(options), 'callbacks', 10,
           host, authority, retention_seconds, options::json
    FROM made ORDER BY id;
    -- By nobody, so that whoever listens takes it for another's.
    PERFORM taskflow_announce('', ARRAY[0]::smallint[], ARRAY[now()]);
    RETURN NULL;
END
$$;

CREATE TRIGGER taskflow_call_back AFTER UPDATE ON taskflow_tasks
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
          AND NEW.options ->> 'callback_url' IS NOT NULL)
    EXECUTE FUNCTION taskflow_call_back();
