-- Groups: a group completes when it is closed and its last member has finished, in the transaction of that end.
--
-- Whatever finishes a member or starts one again locks the row of its group (FOR NO KEY UPDATE), and then
-- reads in a new snapshot whether a member is open: of two transactions that finish the last members, the second one
-- sees the first. New members take the weakest lock (FOR KEY SHARE), which only the transaction that closes the
-- group waits for: it may be the lock of a program whose transaction is open for minutes. Locks are taken in this order:
-- rows of tasks, rows of members, rows of groups by id, the lock of the events. So nothing that holds a group waits for a task.

ALTER TABLE taskflow_tasks ADD COLUMN group_id uuid;
ALTER TABLE taskflow_events ADD COLUMN group_id uuid;

CREATE TABLE taskflow_groups (
    id                 uuid        PRIMARY KEY DEFAULT taskflow_new_id(),
    name               text,
    queue              text        NOT NULL,
    status             text        NOT NULL DEFAULT 'OPEN'
                                   CHECK (status IN ('OPEN', 'CLOSED', 'COMPLETED', 'CANCELED')),
    -- The task that is created when the group completes: as it was submitted, and as its columns.
    on_complete        json,
    completion         json,
    -- NULL for `run`.
    on_failure         text        CHECK (on_failure = 'cancel_rest'),
    tags               json,
    -- Whether the open members are to be canceled, or were: then no member is added.
    cancel_state       text        CHECK (cancel_state IN ('pending', 'done')),
    -- Until then no task joins it: it is about to be closed or canceled.
    closing_until      timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    closed_at          timestamptz,
    finished_at        timestamptz,
    -- How often it has completed, and the task of the last time.
    completions        integer     NOT NULL DEFAULT 0,
    completion_task_id uuid
);
CREATE INDEX taskflow_groups_by_queue ON taskflow_groups (queue, id);
CREATE INDEX taskflow_groups_by_status ON taskflow_groups (status, id);
CREATE INDEX taskflow_groups_by_name ON taskflow_groups (name, id) WHERE name IS NOT NULL;
CREATE INDEX taskflow_groups_finished ON taskflow_groups (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX taskflow_groups_canceling ON taskflow_groups (id) WHERE cancel_state = 'pending';

-- The members. A table of its own: tasks without a group pay for none of its indexes.
CREATE TABLE taskflow_group_members (
    group_id uuid NOT NULL,
    task_id  uuid NOT NULL,
    state    text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'COMPLETED', 'FAILED', 'CANCELED')),
    PRIMARY KEY (group_id, task_id)
);
CREATE INDEX taskflow_group_members_open ON taskflow_group_members (group_id, task_id)
    WHERE state = 'open';
CREATE INDEX taskflow_group_members_failed ON taskflow_group_members (group_id, task_id)
    WHERE state = 'FAILED';
ALTER TABLE taskflow_group_members SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000
);

-- The counts of members by status, like taskflow_changes and taskflow_counts. A deleted task stays counted.
CREATE TABLE taskflow_group_changes (
    group_id uuid   NOT NULL,
    status   text   NOT NULL,
    change   bigint NOT NULL
);
CREATE INDEX taskflow_group_changes_by_group ON taskflow_group_changes (group_id);
ALTER TABLE taskflow_group_changes SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, vacuum_truncate = off
);
CREATE TABLE taskflow_group_counts (
    group_id uuid   NOT NULL,
    status   text   NOT NULL,
    count    bigint NOT NULL,
    PRIMARY KEY (group_id, status)
);

-- The number of members by status, in this order of statuses.
CREATE FUNCTION taskflow_counts_of_group(wanted uuid) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(least(greatest(coalesce(found.sum, 0), -9e18), 9e18)::bigint ORDER BY place)
    FROM unnest(ARRAY['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED'])
         WITH ORDINALITY AS s (status, place)
    LEFT JOIN (
        SELECT status, sum(part) FROM (
            SELECT status, count AS part FROM taskflow_group_counts WHERE group_id = wanted
            UNION ALL
            SELECT status, change FROM taskflow_group_changes WHERE group_id = wanted
        ) AS parts GROUP BY status
    ) AS found USING (status)
$$;

-- The last members are usually the last to finish: so the scan from the end meets few dead entries of the index.
CREATE FUNCTION taskflow_has_open_members(wanted uuid) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT EXISTS (
        SELECT FROM (
            SELECT task_id FROM taskflow_group_members
            WHERE group_id = wanted AND state = 'open'
            ORDER BY group_id DESC, task_id DESC LIMIT 1
        ) AS last
    )
$$;

-- What the task of a completed group receives.
CREATE FUNCTION taskflow_completion_body(g taskflow_groups) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT concat(
        '{"group":{"id":"', g.id, '","name":', taskflow_text_as_json(g.name),
        ',"queue":', taskflow_text_as_json(g.queue),
        ',"status":"COMPLETED","tags":', coalesce(g.tags::text, '{}'),
        ',"created_at":', taskflow_moment_as_json(g.created_at),
        ',"closed_at":', taskflow_moment_as_json(g.closed_at),
        ',"finished_at":', taskflow_moment_as_json(g.finished_at),
        ',"completions":', least(g.completions, 2147483646) + 1,
        '},"counts":',
        (SELECT format(
            '{"PENDING":%s,"RUNNING":%s,"COMPLETED":%s,"FAILED":%s,"CANCELED":%s}', VARIADIC c
        ) FROM taskflow_counts_of_group(g.id) AS c),
        '}'
    )
$$;

-- Create the task of a completed group, whose time this is. The payload is an object without a body, possibly encrypted.
CREATE FUNCTION taskflow_add_completion(g taskflow_groups) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    made_id  uuid := taskflow_new_id();
    c        record;
    payload  text;
BEGIN
    SELECT * INTO c FROM json_to_record(g.completion) AS t (
        payload text, queue text, priority smallint, delay_seconds float8, max_attempts integer,
        host text, authority text, retention_seconds float8, tags json, options jsonb
    );
    payload := concat(left(c.payload, -1), ',"body":', taskflow_completion_body(g), '}');
    c.options := coalesce(c.options, '{}') || jsonb_build_object('completion_of', g.id);
    INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, priority, created_at, run_at,
                                max_attempts, host, authority, retention_seconds, tags, options)
    VALUES (made_id, payload::json, octet_length(concat(payload, c.tags, c.options)), c.queue,
            c.priority, g.finished_at, g.finished_at + make_interval(secs => c.delay_seconds),
            c.max_attempts, c.host, c.authority, c.retention_seconds, c.tags, c.options::json);
    IF c.tags IS NOT NULL THEN
        INSERT INTO taskflow_tags (name, value, task_id)
        SELECT tag.key, tag.value, made_id FROM json_each_text(c.tags) AS tag;
    END IF;
    PERFORM taskflow_announce('', ARRAY[c.priority],
                              ARRAY[g.finished_at + make_interval(secs => c.delay_seconds)]);
    RETURN made_id;
END
$$;

CREATE FUNCTION taskflow_lock_groups(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM taskflow_groups WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
END
$$;

-- Complete the closed groups among these that have no open members. The caller has locked them.
CREATE FUNCTION taskflow_complete_groups(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    g    taskflow_groups;
    made uuid;
BEGIN
    FOR g IN SELECT * FROM taskflow_groups WHERE id = ANY (ids) AND status = 'CLOSED' ORDER BY id LOOP
        CONTINUE WHEN taskflow_has_open_members(g.id);
        made := NULL;
        -- Not now(), the begin of this transaction: others have finished members since.
        g.finished_at := clock_timestamp();
        IF g.completion IS NOT NULL THEN
            BEGIN
                made := taskflow_add_completion(g);
            EXCEPTION
                -- Of a row that no version wrote: the end of the member is not to be lost as well.
                WHEN data_exception OR program_limit_exceeded OR integrity_constraint_violation THEN
                    RAISE WARNING 'TaskFlow: group % has no completion task: %', g.id, SQLERRM;
            END;
        END IF;
        UPDATE taskflow_groups
        SET status = 'COMPLETED', finished_at = g.finished_at,
            completions = least(completions, 2147483646) + 1,
            completion_task_id = made
        WHERE id = g.id;
    END LOOP;
END
$$;

-- Members of these groups have finished, started again or gone; of some groups, one has failed.
CREATE FUNCTION taskflow_update_groups(ids uuid[], failed_ids uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM taskflow_lock_groups(ids);
    -- A finished member was retried. It may run, although another one has failed before.
    UPDATE taskflow_groups
    SET status = 'CLOSED', finished_at = NULL, cancel_state = NULL
    WHERE id = ANY (ids) AND status = 'COMPLETED' AND taskflow_has_open_members(id);
    UPDATE taskflow_groups SET cancel_state = 'pending'
    WHERE id = ANY (failed_ids) AND on_failure = 'cancel_rest' AND status IN ('OPEN', 'CLOSED')
      AND cancel_state IS DISTINCT FROM 'pending';
    IF FOUND THEN
        PERFORM pg_notify('taskflow_work', ' cancel');
    END IF;
    PERFORM taskflow_complete_groups(ids);
END
$$;

-- As in migration 0019, with groups.
CREATE OR REPLACE FUNCTION taskflow_note_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_recorded boolean;
BEGIN
    -- As in taskflow_are_events_recorded(): first the lock, then the snapshot of the statement.
    is_recorded := CASE WHEN current_setting('taskflow.commits_later', true) = 'on' THEN false
                   ELSE pg_advisory_xact_lock_shared(8386658447506927982) IS NOT NULL END;
    WITH noted AS (
        INSERT INTO taskflow_changes (queue, status, change)
        SELECT queue, status, count(*) FROM after GROUP BY queue, status
    )
    SELECT is_recorded AND EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > now())
    INTO is_recorded;
    IF is_recorded AND EXISTS (SELECT FROM after) THEN
        PERFORM taskflow_begin_events();
        INSERT INTO taskflow_events (task_id, status, queue, attempt, tags, group_id)
        SELECT id, step.status, queue, least(step.place, attempt), tags, group_id
        FROM after CROSS JOIN (VALUES (0, 'PENDING'), (1, 'RUNNING')) AS step (place, status)
        -- What was claimed as it was stored did both.
        WHERE step.status = 'PENDING' OR after.status = 'RUNNING'
        ORDER BY id, step.place;
    END IF;
    RETURN NULL;
END
$$;

-- As in migration 0010, with groups.
CREATE OR REPLACE FUNCTION taskflow_record_enqueued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(8386658447506927982);
    -- One with a snapshot of its own does not see whether somebody has begun to watch.
    IF current_setting('transaction_isolation') <> 'read committed'
       OR EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > clock_timestamp())
    THEN
        PERFORM taskflow_begin_events();
        INSERT INTO taskflow_events (at, task_id, status, queue, attempt, tags, group_id)
        VALUES (clock_timestamp(), NEW.id, 'PENDING', NEW.queue, 0, NEW.tags, NEW.group_id);
    END IF;
    RETURN NULL;
END
$$;

-- As in migration 0019, with groups.
CREATE OR REPLACE FUNCTION taskflow_note_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_recorded boolean;
    has_members boolean;
    ids         uuid[];
    failed_ids  uuid[];
BEGIN
    is_recorded := CASE WHEN current_setting('taskflow.commits_later', true) = 'on' THEN false
                   ELSE pg_advisory_xact_lock_shared(8386658447506927982) IS NOT NULL END;
    WITH noted AS (
        INSERT INTO taskflow_changes (queue, status, change)
        SELECT queue, status, sum(change) FROM (
            SELECT queue, status, 1 AS change FROM after
            UNION ALL
            SELECT queue, status, -1 FROM before
        ) AS sides
        GROUP BY queue, status HAVING sum(change) <> 0
    )
    SELECT is_recorded AND EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > now()),
           EXISTS (SELECT FROM after WHERE group_id IS NOT NULL)
    INTO is_recorded, has_members;
    IF has_members THEN
        INSERT INTO taskflow_group_changes (group_id, status, change)
        SELECT group_id, status, sum(change) FROM (
            SELECT group_id, status, 1 AS change FROM after
            UNION ALL
            SELECT group_id, status, -1 FROM before
        ) AS sides
        WHERE group_id IS NOT NULL
        GROUP BY group_id, status HAVING sum(change) <> 0;
        WITH moved AS (
            SELECT after.id, after.group_id,
                   CASE WHEN after.finished_at IS NULL THEN 'open' ELSE after.status END AS state
            FROM after JOIN before USING (id)
            WHERE after.group_id IS NOT NULL AND after.status <> before.status
              AND (before.finished_at IS NOT NULL OR after.finished_at IS NOT NULL)
        ), noted AS (
            UPDATE taskflow_group_members AS m SET state = moved.state
            FROM moved WHERE m.group_id = moved.group_id AND m.task_id = moved.id
        )
        SELECT array_agg(DISTINCT group_id), array_agg(DISTINCT group_id) FILTER (WHERE state = 'FAILED')
        INTO ids, failed_ids FROM moved;
        IF ids IS NOT NULL THEN
            PERFORM taskflow_update_groups(ids, failed_ids);
        END IF;
    END IF;
    IF is_recorded
       AND EXISTS (SELECT FROM after JOIN before USING (id) WHERE after.status <> before.status)
    THEN
        PERFORM taskflow_begin_events();
        INSERT INTO taskflow_events (task_id, status, queue, attempt, error, error_type, tags,
                                     group_id)
        SELECT after.id, after.status, after.queue, after.attempt, after.error, after.error_type,
               after.tags, after.group_id
        FROM after JOIN before USING (id)
        WHERE after.status <> before.status
        ORDER BY after.id;
    END IF;
    RETURN NULL;
END
$$;

-- Tasks that are deleted before they have finished: TaskFlow does not do that. The others stay counted.
CREATE OR REPLACE FUNCTION taskflow_note_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    INSERT INTO taskflow_changes (queue, status, change)
    SELECT queue, status, -count(*) FROM before GROUP BY queue, status;
    IF EXISTS (SELECT FROM before WHERE group_id IS NOT NULL) THEN
        DELETE FROM taskflow_group_members AS m USING before
        WHERE m.group_id = before.group_id AND m.task_id = before.id;
        WITH gone AS (
            INSERT INTO taskflow_group_changes (group_id, status, change)
            SELECT group_id, status, -count(*) FROM before
            WHERE group_id IS NOT NULL AND finished_at IS NULL GROUP BY group_id, status
            RETURNING group_id
        )
        SELECT array_agg(DISTINCT group_id) INTO ids FROM gone;
        IF ids IS NOT NULL THEN
            PERFORM taskflow_update_groups(ids, '{}');
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_note_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE taskflow_changes, taskflow_counts;
    -- Not TRUNCATE: `promote` locks these tables before the one that has been locked here.
    DELETE FROM taskflow_ordered;
    DELETE FROM taskflow_order_steps;
    DELETE FROM taskflow_groups;
    DELETE FROM taskflow_group_members;
    DELETE FROM taskflow_group_changes;
    DELETE FROM taskflow_group_counts;
    RETURN NULL;
END
$$;

-- As in migration 0015. Groups are locked first: callbacks may take the lock of the events.
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
    IF EXISTS (SELECT FROM after WHERE group_id IS NOT NULL) THEN
        PERFORM taskflow_lock_groups(ARRAY(SELECT group_id FROM after WHERE group_id IS NOT NULL));
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
    -- Without a sender, so that every node processes it.
    PERFORM taskflow_announce('', ARRAY[0]::smallint[], ARRAY[now()]);
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
        ',"group":', coalesce('"' || task.group_id || '"', 'null'),
        ',"completion_of":', coalesce((task.options -> 'completion_of')::text, 'null'),
        ',"held":null,"waiting_for":null}'
    )
$$;
