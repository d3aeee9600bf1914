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

-- The lines, without the tasks that are started: these would leave another dead entry each.
CREATE INDEX taskflow_ordered_line ON taskflow_ordered (queue, order_key, position)
    WHERE state IN ('waiting', 'held');
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
