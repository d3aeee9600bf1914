-- Order keys: the tasks of a queue with the same key form a line, and run one at a time.
--
-- A task with an order key is stored waiting: PENDING, with waiting_for and without a due time, so
-- that no claim reads it. Only the statement `promote` starts a task, which needs no locks of keys:
-- an index of taskflow_ordered allows one started task for each key. Whatever may free a key also
-- adds a row to taskflow_order_steps, in its transaction; `promote` takes these rows, and starts the
-- first task of each key that is free. Nodes of earlier versions never claim a waiting task.

-- The due time of tasks that have none. Not infinity, which earlier versions cannot read as a due time.
CREATE FUNCTION taskflow_never() RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT timestamptz '9000-01-01 00:00:00+00' $$;

ALTER TABLE taskflow_tasks
    ADD COLUMN order_key   text,
    -- NULL for `continue`. A FAILED task with `hold` holds its key.
    ADD COLUMN on_failure  text CHECK (on_failure = 'hold'),
    -- What the task waits for, while it is PENDING.
    ADD COLUMN waiting_for text;

-- The tasks that have an order key. A table of its own: the other tasks pay for none of its indexes.
CREATE TABLE taskflow_ordered (
    task_id   uuid   PRIMARY KEY,
    queue     text   NOT NULL,
    order_key text   NOT NULL,
    position  bigint GENERATED ALWAYS AS IDENTITY,
    state     text   NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'started', 'held', 'left'))
);
ALTER TABLE taskflow_ordered SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- The lines.
CREATE INDEX taskflow_ordered_line ON taskflow_ordered (queue, order_key, position) WHERE state <> 'left';
-- At most one task of a key is active.
CREATE UNIQUE INDEX taskflow_ordered_started ON taskflow_ordered (queue, order_key) WHERE state = 'started';
-- Pages by order key.
CREATE INDEX taskflow_ordered_by_key ON taskflow_ordered (order_key, task_id);

-- Keys whose next task may have to be started.
CREATE TABLE taskflow_order_steps (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue     text   NOT NULL,
    order_key text   NOT NULL
);
-- Rows stay for milliseconds. To give free pages back would take a lock that all writers wait for.
ALTER TABLE taskflow_order_steps SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, vacuum_truncate = off
);

-- A task finished, was retried, or no longer holds its key. Triggers for each row, because their
-- conditions cost other tasks next to nothing.
CREATE FUNCTION taskflow_note_order_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE taskflow_ordered
    SET state = CASE WHEN NEW.status = 'PENDING' THEN 'waiting'
                WHEN NEW.status = 'FAILED' AND NEW.on_failure = 'hold' THEN 'held'
                ELSE 'left' END
    WHERE task_id = NEW.id;
    -- Nodes of earlier versions retry a task without letting it wait for its turn.
    IF NEW.status = 'PENDING' AND NEW.waiting_for IS NULL THEN
        UPDATE taskflow_tasks SET waiting_for = 'order_key', run_at = taskflow_never() WHERE id = NEW.id;
    END IF;
    INSERT INTO taskflow_order_steps (queue, order_key) VALUES (NEW.queue, NEW.order_key);
    RETURN NULL;
END
$$;

CREATE FUNCTION taskflow_note_order_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last_state text;
BEGIN
    DELETE FROM taskflow_ordered WHERE task_id = OLD.id RETURNING state INTO last_state;
    IF last_state <> 'left' THEN
        INSERT INTO taskflow_order_steps (queue, order_key) VALUES (OLD.queue, OLD.order_key);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER taskflow_order_moved AFTER UPDATE ON taskflow_tasks FOR EACH ROW
    WHEN (NEW.order_key IS NOT NULL AND (
        (OLD.finished_at IS NULL) <> (NEW.finished_at IS NULL)
        OR OLD.status = 'FAILED' AND (NEW.status <> 'FAILED' OR OLD.on_failure IS DISTINCT FROM NEW.on_failure)
    ))
    EXECUTE FUNCTION taskflow_note_order_moved();
CREATE TRIGGER taskflow_order_deleted AFTER DELETE ON taskflow_tasks FOR EACH ROW
    WHEN (OLD.order_key IS NOT NULL)
    EXECUTE FUNCTION taskflow_note_order_deleted();

CREATE OR REPLACE FUNCTION taskflow_note_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE taskflow_changes, taskflow_counts;
    -- Not TRUNCATE: `promote` locks these tables before the one that has been locked here.
    DELETE FROM taskflow_ordered;
    DELETE FROM taskflow_order_steps;
    RETURN NULL;
END
$$;

-- As in migration 0025, with order keys. A task with an order key has no unique key, and so tasks of a
-- request are stored in their order.
CREATE OR REPLACE FUNCTION taskflow_add_request(request json)
RETURNS TABLE (place integer, task_id uuid, task_priority smallint, task_run_at timestamptz,
               outcome text) LANGUAGE plpgsql AS $$
DECLARE
    new record;
    holder uuid;
    met_ids uuid[];
    created_ids uuid[] := '{}';
    rejected jsonb := '[]';
BEGIN
    IF request ->> 'key' IS NOT NULL THEN
        INSERT INTO taskflow_idempotency_keys AS known (key, fingerprint, task_ids, expires_at)
        VALUES (request ->> 'key', decode(request ->> 'fingerprint', 'hex'), '{}',
                now() + make_interval(secs => (request ->> 'key_seconds')::float8))
        ON CONFLICT (key) DO UPDATE
        SET fingerprint = EXCLUDED.fingerprint, task_ids = EXCLUDED.task_ids,
            expires_at = EXCLUDED.expires_at
        WHERE known.expires_at <= now();
        IF NOT FOUND THEN
            RETURN QUERY SELECT n, NULL::uuid, NULL::smallint, NULL::timestamptz, 'known'
            FROM generate_series(1, json_array_length(request -> 'tasks')) AS n;
            RETURN;
        END IF;
    END IF;
    FOR new IN
        SELECT t.place::integer AS place, t.payload, t.queue, t.priority, t.max_attempts, t.host,
               t.authority, t.expires_at, t.retention_seconds, t.tags, t.options,
               octet_length(concat(t.payload, t.tags, t.options)) AS size_bytes,
               t.order_key, t.on_failure,
               CASE WHEN t.order_key IS NOT NULL THEN taskflow_never()
                    WHEN key.debounce_seconds IS NOT NULL
                    THEN now() + make_interval(secs => key.debounce_seconds)
                    WHEN t.run_at IS NULL THEN now() + make_interval(secs => t.delay_seconds)
                    ELSE greatest(t.run_at, now()) END AS run_at,
               key.unique_key, key.unique_while, key.debounce_key, key.debounce_until,
               CASE WHEN key.debounce_key IS NULL THEN key.on_conflict ELSE 'debounce' END AS policy
        FROM ROWS FROM (json_to_recordset(request -> 'tasks') AS (
            payload text, queue text, priority smallint, delay_seconds float8,
            max_attempts integer, host text, authority text, run_at timestamptz,
            expires_at timestamptz, retention_seconds float8, tags json, options json,
            order_key text, on_failure text
        )) WITH ORDINALITY AS t (payload, queue, priority, delay_seconds, max_attempts, host,
                                 authority, run_at, expires_at, retention_seconds, tags, options,
                                 order_key, on_failure, place)
        CROSS JOIN LATERAL (
            SELECT t.options #>> '{unique,key}' AS unique_key,
                   CASE WHEN t.options #> '{unique,while}' IS NOT NULL THEN ARRAY(
                       SELECT json_array_elements_text(t.options #> '{unique,while}')
                   ) END AS unique_while,
                   t.options #>> '{unique,on_conflict}' AS on_conflict,
                   t.options #>> '{debounce,key}' AS debounce_key,
                   (t.options #>> '{debounce,delay_seconds}')::float8 AS debounce_seconds,
                   now() + make_interval(
                       secs => (t.options #>> '{debounce,max_wait_seconds}')::float8
                   ) AS debounce_until
        ) AS key
        ORDER BY t.queue COLLATE "C", coalesce(key.unique_key, key.debounce_key) COLLATE "C", t.place
    LOOP
        outcome := NULL;
        task_run_at := NULL;
        place := new.place;
        task_id := taskflow_new_id();
        FOR try IN 1 .. 100 LOOP
            INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, priority, run_at,
                                        max_attempts, host, authority, expires_at,
                                        retention_seconds, tags, options, unique_key, unique_while,
                                        debounce_key, debounce_until,
                                        order_key, on_failure, waiting_for)
            VALUES (task_id, new.payload::json, new.size_bytes, new.queue, new.priority, new.run_at,
                    new.max_attempts, new.host, new.authority, new.expires_at,
                    new.retention_seconds, new.tags, new.options, new.unique_key, new.unique_while,
                    new.debounce_key, new.debounce_until, new.order_key, new.on_failure,
                    CASE WHEN new.order_key IS NOT NULL THEN 'order_key' END)
            ON CONFLICT DO NOTHING;
            IF FOUND THEN
                outcome := 'created';
                holder := task_id;
                created_ids := created_ids || holder;
                IF new.order_key IS NULL THEN
                    task_run_at := new.run_at;
                ELSE
                    INSERT INTO taskflow_ordered (task_id, queue, order_key)
                    VALUES (holder, new.queue, new.order_key);
                    INSERT INTO taskflow_order_steps (queue, order_key)
                    VALUES (new.queue, new.order_key);
                END IF;
                EXIT;
            END IF;
            IF new.policy = 'debounce' THEN
                SELECT t.id INTO holder FROM taskflow_tasks AS t
                WHERE t.queue = new.queue AND t.debounce_key = new.debounce_key
                  AND t.debounce_key IS NOT NULL AND t.status = 'PENDING' AND t.attempt = 0
                  AND t.started_at IS NULL;
            ELSE
                SELECT t.id INTO holder FROM taskflow_tasks AS t
                WHERE t.queue = new.queue AND t.unique_key = new.unique_key
                  AND t.unique_key IS NOT NULL AND t.status = ANY (t.unique_while);
            END IF;
            -- It started or finished at this moment: the key is free.
            CONTINUE WHEN holder IS NULL;
            IF new.policy = 'reject' THEN
                rejected := rejected || jsonb_build_object('place', new.place, 'task_id',
                    CASE WHEN holder <> ALL (created_ids) THEN holder END);
                outcome := 'rejected';
                EXIT;
            ELSIF new.policy = 'return' THEN
                outcome := 'returned';
                EXIT;
            END IF;
            UPDATE taskflow_tasks AS t
            SET payload = new.payload::json, size_bytes = new.size_bytes, priority = new.priority,
                run_at = CASE WHEN new.policy = 'debounce'
                              THEN least(new.run_at, t.debounce_until) ELSE new.run_at END,
                max_attempts = new.max_attempts, host = new.host, authority = new.authority,
                expires_at = new.expires_at, retention_seconds = new.retention_seconds,
                tags = new.tags, options = new.options, unique_while = new.unique_while,
                debounced = CASE WHEN new.policy = 'debounce'
                                 THEN least(coalesce(t.debounced, 0), 2147483646) + 1 END
            WHERE t.id = holder AND t.status = 'PENDING' AND t.attempt = 0
              AND t.started_at IS NULL
            RETURNING t.run_at INTO task_run_at;
            IF FOUND THEN
                DELETE FROM taskflow_tags AS tag WHERE tag.task_id = holder;
                outcome := CASE WHEN new.policy = 'debounce' THEN 'debounced' ELSE 'replaced' END;
                EXIT;
            END IF;
            IF new.policy = 'replace' AND EXISTS (
                SELECT FROM taskflow_tasks AS t
                WHERE t.id = holder AND t.status = ANY (t.unique_while)
            ) THEN
                outcome := 'returned';
                EXIT;
            END IF;
        END LOOP;
        IF outcome IS NULL THEN
            RAISE lock_not_available;
        END IF;
        CONTINUE WHEN outcome = 'rejected';
        IF outcome <> 'returned' AND new.tags IS NOT NULL THEN
            INSERT INTO taskflow_tags (name, value, task_id)
            SELECT tag.key, tag.value, holder FROM json_each_text(new.tags) AS tag;
        END IF;
        task_id := holder;
        task_priority := new.priority;
        met_ids[place] := holder;
        RETURN NEXT;
    END LOOP;
    IF jsonb_array_length(rejected) > 0 THEN
        RAISE EXCEPTION 'unique keys are taken' USING ERRCODE = 'TF001', DETAIL = rejected::text;
    END IF;
    UPDATE taskflow_idempotency_keys AS known SET task_ids = met_ids
    WHERE known.key = request ->> 'key';
END
$$;

-- A finished task, as GET shows it.
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
        -- A task that never left its line was never due.
        ',"run_at":', taskflow_moment_as_json(
            CASE WHEN task.order_key IS NULL OR task.run_at < taskflow_never() THEN task.run_at END),
        ',"started_at":', taskflow_moment_as_json(task.started_at),
        ',"finished_at":', taskflow_moment_as_json(task.finished_at),
        ',"queue":', taskflow_text_as_json(task.queue),
        ',"priority":', task.priority,
        ',"attempt":', task.attempt,
        ',"max_attempts":', task.max_attempts,
        ',"rescues":', task.rescues,
        ',"tags":', coalesce(task.tags::text, '{}'),
        ',"expires_at":', taskflow_moment_as_json(task.expires_at),
        ',"backoff":', taskflow_backoff_as_json(task.options -> 'backoff'),
        ',"retry_on":', coalesce((task.options -> 'retry_on')::text, 'null'),
        ',"success_on":', coalesce((task.options -> 'success_on')::text, 'null'),
        ',"sign":', coalesce((task.options -> 'sign')::text, 'null'),
        ',"credential":', coalesce((task.options -> 'credential')::text, 'null'),
        ',"unique":', coalesce((task.options -> 'unique')::text, 'null'),
        ',"debounce":', coalesce((task.options -> 'debounce')::text, 'null'),
        ',"debounced":', coalesce(task.debounced, 0),
        ',"retention_seconds":', taskflow_seconds_as_json(task.retention_seconds),
        ',"callback_url":', coalesce((task.options -> 'callback_url')::text, 'null'),
        ',"callback_id":"', task.callback_id, '"',
        ',"callback_of":null',
        ',"schedule":', coalesce((task.options -> 'schedule')::text, 'null'),
        ',"scheduled_at":', coalesce((task.options -> 'scheduled_at')::text, 'null'),
        ',"order_key":', taskflow_text_as_json(task.order_key),
        ',"on_failure":', CASE WHEN task.order_key IS NULL THEN 'null'
                          ELSE taskflow_text_as_json(coalesce(task.on_failure, 'continue')) END,
        ',"held":null,"waiting_for":null}'
    )
$$;
