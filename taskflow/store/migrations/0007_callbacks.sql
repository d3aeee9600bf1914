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
        ',"callback_of":null}'
    )
$$;

-- It is made after the statement that ended the tasks, not while that goes from row to row: then
-- all of them are locked, and only then may the lock of the events be taken, as it is here.
CREATE FUNCTION taskflow_call_back() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended   taskflow_tasks := NEW;
    payload text;
    options text;
BEGIN
    ended.callback_id := taskflow_new_id();
    payload := concat(
        '{"url":', NEW.options -> 'callback_url',
        ',"method":"POST","headers":{"Content-Type":"application/json"}',
        ',"follow_redirects":false,"body":', taskflow_task_as_json(ended), '}'
    );
    -- 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h
    options := concat(
        '{"backoff":[5.0,300.0,1800.0,7200.0,18000.0,36000.0,50400.0,72000.0,86400.0]',
        ',"retry_on":["3xx","4xx","5xx"]',
        ',"traceparent":' || (NEW.options -> 'traceparent')::text,
        ',"tracestate":' || (NEW.options -> 'tracestate')::text,
        ',"callback_of":"', NEW.id, '"}'
    );
    INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, max_attempts, host, retention_seconds, options)
    VALUES (ended.callback_id, payload::json, octet_length(payload) + octet_length(options), 'callbacks', 10,
            NEW.options ->> 'callback_host', NEW.retention_seconds, options::json);
    UPDATE taskflow_tasks SET callback_id = ended.callback_id WHERE id = NEW.id;
    -- By nobody, so that whoever listens takes it for another's.
    PERFORM taskflow_announce('', ARRAY[0]::smallint[], ARRAY[now()]);
    RETURN NULL;
END
$$;

CREATE TRIGGER taskflow_call_back AFTER UPDATE ON taskflow_tasks
    FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
          AND NEW.options ->> 'callback_url' IS NOT NULL)
    EXECUTE FUNCTION taskflow_call_back();
