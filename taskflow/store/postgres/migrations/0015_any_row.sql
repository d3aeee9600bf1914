-- A row that no version wrote (a trigger, a restore or a person did) never keeps others from being
-- written: whatever a statement or a trigger does with a column works for every value of its type.

-- A moment that clients can read: within the years 2 and 9998, as store/postgres/cursor.py loads it.
CREATE FUNCTION taskflow_bounded(moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN moment < '0002-01-01 00:00:00+00'::timestamptz THEN '0002-01-01 00:00:00+00'
           WHEN moment > '9999-01-01 00:00:00+00'::timestamptz THEN '9999-01-01 00:00:00+00'
           ELSE moment END
$$;

-- Until when a task is kept that ends now; what is no number of seconds, or too many, is no end.
CREATE FUNCTION taskflow_delete_at(retention_seconds float8) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN retention_seconds BETWEEN 0 AND 315576000
           THEN now() + make_interval(secs => retention_seconds) END
$$;

-- A member of a JSON object as text; NULL if there is none, or if the document has escapes that
-- PostgreSQL cannot read. Documents without escapes do not pay for the exception handler.
CREATE FUNCTION taskflow_field(document json, name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    IF position('\u' IN document::text) = 0 THEN
        RETURN document ->> name;
    END IF;
    BEGIN
        RETURN document ->> name;
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_announce(
    sender text, priorities smallint[], run_ats timestamptz[]
) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_notify('taskflow_work', sender || ' ' || string_agg(place, ' '))
    FROM (
        SELECT format('%s@%s', priority,
                      (extract(epoch FROM taskflow_bounded(min(run_at))) * 1000000)::bigint)
        FROM unnest(priorities, run_ats) AS t (priority, run_at)
        GROUP BY priority
    ) AS places (place)
    HAVING count(*) > 0
$$;

CREATE OR REPLACE FUNCTION taskflow_moment_as_json(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        '"' || replace(
            to_char(
                CASE WHEN moment >= '0001-01-01 00:00:00+00' AND moment < '10000-01-01 00:00:00+00'
                     THEN moment ELSE taskflow_bounded(moment) END AT TIME ZONE 'UTC',
                'YYYY-MM-DD"T"HH24:MI:SS.US'
            ), '.000000', ''
        ) || 'Z"',
        'null'
    )
$$;

-- JSON has no numbers that are infinite or none.
CREATE OR REPLACE FUNCTION taskflow_seconds_as_json(seconds float8) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN seconds > '-Infinity' AND seconds < 'Infinity'
           THEN seconds::text || CASE WHEN seconds::text ~ '[.e]' THEN '' ELSE '.0' END
           ELSE 'null' END
$$;

-- A task that came to its end, as GET shows it from then on.
CREATE OR REPLACE FUNCTION taskflow_task_as_json(task taskflow_tasks) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat(
        '{"id":"', task.id, '"',
        ',"payload":', task.payload,
        ',"status":"', task.status, '"',
        ',"result":', coalesce(task.result::text, 'null'),
        ',"error":', taskflow_text_as_json(coalesce(task.error, '')),
        ',"error_type":', taskflow_text_as_json(task.error_type),
        ',"created_at":', taskflow_moment_as_json(task.created_at),
        ',"run_at":', taskflow_moment_as_json(task.run_at),
        ',"started_at":', taskflow_moment_as_json(task.started_at),
        ',"finished_at":', taskflow_moment_as_json(task.finished_at),
        ',"queue":', taskflow_text_as_json(task.queue),
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

-- The callbacks of tasks that have just ended.
CREATE FUNCTION taskflow_make_callbacks(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH ended AS MATERIALIZED (
        SELECT id, taskflow_new_id() AS callback_id FROM unnest(ids) WITH ORDINALITY AS t (id, place)
        ORDER BY place
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
END
$$;

-- As in migration 0008. If the callback of one task cannot be made, the others are made one by
-- one, and that task ends without: its end is not to be lost as well.
CREATE OR REPLACE FUNCTION taskflow_call_back() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended uuid[];
    one   uuid;
BEGIN
    IF EXISTS (
        SELECT FROM taskflow_tasks WHERE id = NEW.id AND callback_id IS DISTINCT FROM NEW.callback_id
    ) THEN
        RETURN NULL;  -- the first one did it
    END IF;
    ended := ARRAY(
        SELECT id FROM after JOIN before USING (id)
        WHERE before.finished_at IS NULL AND after.finished_at IS NOT NULL
          AND taskflow_field(after.options, 'callback_url') IS NOT NULL
          AND EXISTS (
              SELECT FROM taskflow_tasks AS t
              WHERE t.id = after.id AND t.callback_id IS NOT DISTINCT FROM after.callback_id
          )
        ORDER BY id
    );
    BEGIN
        PERFORM taskflow_make_callbacks(ended);
    EXCEPTION WHEN data_exception OR program_limit_exceeded OR integrity_constraint_violation THEN
        FOREACH one IN ARRAY ended LOOP
            BEGIN
                PERFORM taskflow_make_callbacks(ARRAY[one]);
            EXCEPTION
                WHEN data_exception OR program_limit_exceeded OR integrity_constraint_violation THEN
                    RAISE WARNING 'TaskFlow: task % has no callback: %', one, SQLERRM;
            END;
        END LOOP;
    END;
    -- By nobody, so that whoever listens takes it for another's.
    PERFORM taskflow_announce('', ARRAY[0]::smallint[], ARRAY[now()]);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER taskflow_call_back AFTER UPDATE ON taskflow_tasks
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
          AND taskflow_field(NEW.options, 'callback_url') IS NOT NULL)
    EXECUTE FUNCTION taskflow_call_back();
