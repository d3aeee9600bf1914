-- The form of the schema that Citus can distribute, applied after the migrations to a schema that is distributed, and
-- again whenever this file or the name of the schema has changed (distribution.py). It can be applied to any schema.
--
-- Statements of these functions run on a worker, where each statement on a table is planned by Citus. Such a statement
-- cannot read a transition table: so the rows that changed are collected in arrays first. Sequences of the workers have
-- ranges of their own, which the schema leaves when it is moved: so numbers that are compared do not come from them.
-- Notifications are heard on the worker only: so the session announces them, once it has committed.

-- The rest of these functions is as in the migrations.

CREATE OR REPLACE FUNCTION taskflow_notify(channel text, message text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE INFO USING MESSAGE = channel || ' ' || message, ERRCODE = 'TF002';
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_notify_work(message text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE INFO USING MESSAGE = message, ERRCODE = 'TF001';
END
$$;

CREATE OR REPLACE FUNCTION taskflow_begin_events() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(8386658447506927981);
    PERFORM taskflow_notify('taskflow_events', '');
END
$$;

-- Citus accepts no stable functions of columns in updates and upserts. Their arguments are never constants.
ALTER FUNCTION taskflow_delete_at(float8) IMMUTABLE;
ALTER FUNCTION taskflow_is_over(timestamptz) IMMUTABLE;
ALTER FUNCTION taskflow_after(float8) IMMUTABLE;
ALTER FUNCTION taskflow_or_now(timestamptz) IMMUTABLE;
ALTER FUNCTION taskflow_now_if(boolean) IMMUTABLE;
ALTER FUNCTION taskflow_age(timestamptz) IMMUTABLE;
ALTER FUNCTION taskflow_has_open_members(uuid) IMMUTABLE;

-- The number of the last event. While taskflow_begin_events() holds its lock, the next events have the numbers after it.
CREATE OR REPLACE FUNCTION taskflow_last_event() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT greatest((SELECT max(id) FROM taskflow_events), (SELECT max(complete_after) FROM taskflow_event_log), 0)
$$;

-- A number that grows with the time, and within a session in any case.
CREATE OR REPLACE FUNCTION taskflow_next_number() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    next_number bigint := greatest(
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        coalesce(nullif(current_setting('taskflow.last_number', true), ''), '0')::bigint + 1
    );
BEGIN
    PERFORM set_config('taskflow.last_number', next_number::text, false);
    RETURN next_number;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_number_position() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.position := taskflow_next_number();
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_number_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.id := taskflow_next_number();
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER taskflow_position_numbered BEFORE INSERT ON taskflow_ordered FOR EACH ROW
    EXECUTE FUNCTION taskflow_number_position();

-- Attempts that are moved back from the archive have their numbers.
CREATE OR REPLACE TRIGGER taskflow_attempt_numbered BEFORE INSERT ON taskflow_attempts FOR EACH ROW
    WHEN (current_setting('taskflow.is_archiving', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION taskflow_number_attempt();

-- While Citus moves the schema, rows can be deleted only if they can be identified. These tables have no key.
ALTER TABLE taskflow_changes REPLICA IDENTITY FULL;
ALTER TABLE taskflow_group_changes REPLICA IDENTITY FULL;
ALTER TABLE taskflow_archive_counts REPLICA IDENTITY FULL;

-- Steps, whose order matters less, are numbered by the sequence of the worker. Otherwise statements would use the sequence
-- of the coordinator, and triggers the sequence of the worker.
CREATE OR REPLACE FUNCTION taskflow_number_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.id := nextval(TG_ARGV[0]::regclass);
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER taskflow_step_numbered BEFORE INSERT ON taskflow_order_steps FOR EACH ROW
    EXECUTE FUNCTION taskflow_number_step('taskflow_order_steps_id_seq');

CREATE OR REPLACE TRIGGER taskflow_step_numbered BEFORE INSERT ON taskflow_graph_steps FOR EACH ROW
    EXECUTE FUNCTION taskflow_number_step('taskflow_graph_steps_id_seq');

CREATE OR REPLACE FUNCTION taskflow_note_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_recorded boolean;
    queues      text[];
    statuses    text[];
    changes     bigint[];
    added       json;
    last_event  bigint;
BEGIN
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(queue), array_agg(status), array_agg(change) INTO queues, statuses, changes FROM (
        SELECT queue, status, count(*) AS change FROM after GROUP BY queue, status
    ) AS counted;
    IF queues IS NULL THEN
        RETURN NULL;
    END IF;
    -- As in taskflow_are_events_recorded(): first the lock, then the snapshot of the statement.
    is_recorded := CASE WHEN current_setting('taskflow.commits_later', true) = 'on' THEN false
                   ELSE pg_advisory_xact_lock_shared(8386658447506927982) IS NOT NULL END;
    INSERT INTO taskflow_changes (queue, status, change) SELECT * FROM unnest(queues, statuses, changes);
    IF is_recorded AND EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > now()) THEN
        PERFORM taskflow_begin_events();
        last_event := taskflow_last_event();
        SELECT json_agg(rows) INTO added FROM (
            SELECT last_event + row_number() OVER (ORDER BY id, step.place) AS id, id AS task_id, step.status, queue,
                   least(step.place, attempt) AS attempt, tags, group_id
            FROM after CROSS JOIN (VALUES (0, 'PENDING'), (1, 'RUNNING')) AS step (place, status)
            -- What was claimed as it was stored did both.
            WHERE step.status = 'PENDING' OR after.status = 'RUNNING'
        ) AS rows;
        PERFORM taskflow_add_events(added);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_add_events(rows json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO taskflow_events (id, at, task_id, status, queue, attempt, error, error_type, tags, group_id)
    OVERRIDING SYSTEM VALUE
    SELECT id, coalesce(at, now()), task_id, status, queue, attempt, error, error_type, tags, group_id
    FROM json_to_recordset(rows) AS r (id bigint, at timestamptz, task_id uuid, status text, queue text,
                                       attempt integer, error text, error_type text, tags json, group_id uuid);
END
$$;

-- With the privileges of its owner, as since migration 0037.
CREATE OR REPLACE FUNCTION taskflow_record_enqueued() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(8386658447506927982);
    -- One with a snapshot of its own does not see whether a client has begun to watch.
    IF current_setting('transaction_isolation') <> 'read committed'
       OR EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > clock_timestamp())
    THEN
        PERFORM taskflow_begin_events();
        INSERT INTO taskflow_events (id, at, task_id, status, queue, attempt, tags, group_id)
        OVERRIDING SYSTEM VALUE
        VALUES (taskflow_last_event() + 1, clock_timestamp(), NEW.id, 'PENDING', NEW.queue, 0, NEW.tags, NEW.group_id);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_note_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_recorded boolean;
    queues      text[];
    statuses    text[];
    changes     bigint[];
    lists       text[];
    groups      uuid[];
    members     uuid[];
    states      text[];
    moved       json;
    last_event  bigint;
BEGIN
    is_recorded := CASE WHEN current_setting('taskflow.commits_later', true) = 'on' THEN false
                   ELSE pg_advisory_xact_lock_shared(8386658447506927982) IS NOT NULL END;
    SELECT array_agg(queue), array_agg(status), array_agg(change), array_agg(ids)
    INTO queues, statuses, changes, lists FROM (
        SELECT queue, status, sum(change)::bigint AS change, array_agg(id) FILTER (
            WHERE status = 'FAILED' OR change > 0 AND status IN ('COMPLETED', 'CANCELED')
        )::text AS ids FROM (
            SELECT id, queue, status, 1 AS change FROM after
            UNION ALL
            SELECT id, queue, status, -1 FROM before
        ) AS sides
        GROUP BY queue, status HAVING sum(change) <> 0
    ) AS counted;
    IF queues IS NOT NULL THEN
        INSERT INTO taskflow_changes (queue, status, change, ids)
        SELECT queue, status, change, ids::uuid[]
        FROM unnest(queues, statuses, changes, lists) AS one (queue, status, change, ids);
    END IF;
    SELECT array_agg(group_id), array_agg(status), array_agg(change) INTO groups, statuses, changes FROM (
        SELECT group_id, status, sum(change)::bigint AS change FROM (
            SELECT group_id, status, 1 AS change FROM after
            UNION ALL
            SELECT group_id, status, -1 FROM before
        ) AS sides
        WHERE group_id IS NOT NULL
        GROUP BY group_id, status HAVING sum(change) <> 0
    ) AS counted;
    IF groups IS NOT NULL THEN
        INSERT INTO taskflow_group_changes (group_id, status, change) SELECT * FROM unnest(groups, statuses, changes);
    END IF;
    SELECT array_agg(group_id), array_agg(id), array_agg(state) INTO groups, members, states FROM (
        SELECT after.group_id, after.id,
               CASE WHEN after.finished_at IS NULL THEN 'open' ELSE after.status END AS state
        FROM after JOIN before USING (id)
        WHERE after.group_id IS NOT NULL AND after.status <> before.status
          AND (before.finished_at IS NOT NULL OR after.finished_at IS NOT NULL)
    ) AS finished;
    IF groups IS NOT NULL THEN
        UPDATE taskflow_group_members AS m SET state = one.state
        FROM unnest(groups, members, states) AS one (group_id, task_id, state)
        WHERE m.group_id = one.group_id AND m.task_id = one.task_id;
        PERFORM taskflow_update_groups(
            ARRAY(SELECT DISTINCT one FROM unnest(groups) AS one),
            ARRAY(SELECT DISTINCT one FROM unnest(groups, states) AS t (one, state) WHERE state = 'FAILED')
        );
    END IF;
    IF is_recorded AND EXISTS (SELECT FROM after JOIN before USING (id) WHERE after.status <> before.status) THEN
        IF EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > now()) THEN
            PERFORM taskflow_begin_events();
            last_event := taskflow_last_event();
            SELECT json_agg(rows) INTO moved FROM (
                SELECT last_event + row_number() OVER (ORDER BY after.id) AS id, after.id AS task_id, after.status,
                       after.queue, after.attempt, after.error, after.error_type, after.tags, after.group_id
                FROM after JOIN before USING (id)
                WHERE after.status <> before.status
            ) AS rows;
            PERFORM taskflow_add_events(moved);
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_note_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    queues   text[];
    statuses text[];
    changes  bigint[];
    lists    text[];
    groups   uuid[];
    members  uuid[];
BEGIN
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(queue), array_agg(status), array_agg(change), array_agg(ids)
    INTO queues, statuses, changes, lists FROM (
        SELECT queue, status, -count(*) AS change, array_agg(id) FILTER (WHERE status = 'FAILED')::text AS ids
        FROM before GROUP BY queue, status
    ) AS counted;
    IF queues IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO taskflow_changes (queue, status, change, ids)
    SELECT queue, status, change, ids::uuid[]
    FROM unnest(queues, statuses, changes, lists) AS one (queue, status, change, ids);
    SELECT array_agg(group_id), array_agg(id) INTO groups, members FROM before WHERE group_id IS NOT NULL;
    IF groups IS NULL THEN
        RETURN NULL;
    END IF;
    DELETE FROM taskflow_group_members AS m USING unnest(groups, members) AS one (group_id, task_id)
    WHERE m.group_id = one.group_id AND m.task_id = one.task_id;
    SELECT array_agg(group_id), array_agg(status), array_agg(change) INTO groups, statuses, changes FROM (
        SELECT group_id, status, -count(*) AS change FROM before
        WHERE group_id IS NOT NULL AND finished_at IS NULL GROUP BY group_id, status
    ) AS counted;
    IF groups IS NOT NULL THEN
        INSERT INTO taskflow_group_changes (group_id, status, change) SELECT * FROM unnest(groups, statuses, changes);
        PERFORM taskflow_update_groups(ARRAY(SELECT DISTINCT one FROM unnest(groups) AS one), '{}');
    END IF;
    RETURN NULL;
END
$$;

-- On a worker, the rows of a table do not have the row type of the function's argument. A variable has it.
CREATE OR REPLACE FUNCTION taskflow_make_callbacks(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    task         taskflow_tasks;
    callback_ids uuid[] := ARRAY(SELECT taskflow_new_id() FROM unnest(ids));
    bodies       text[] := '{}';
BEGIN
    UPDATE taskflow_tasks AS t SET callback_id = one.callback_id
    FROM unnest(ids, callback_ids) AS one (id, callback_id) WHERE t.id = one.id;
    FOR place IN 1 .. cardinality(ids) LOOP
        SELECT * INTO task FROM taskflow_tasks AS t WHERE t.id = ids[place];
        bodies[place] := taskflow_task_as_json(task);
    END LOOP;
    WITH named AS MATERIALIZED (
        SELECT t.id, t.options, t.retention_seconds, t.callback_id, one.body
        FROM taskflow_tasks AS t JOIN unnest(ids, bodies) AS one (id, body) ON t.id = one.id
    ), made AS MATERIALIZED (
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

CREATE OR REPLACE FUNCTION taskflow_call_back() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids          uuid[];
    callback_ids uuid[];
    ended        uuid[];
    one          uuid;
BEGIN
    IF EXISTS (
        SELECT FROM taskflow_tasks WHERE id = NEW.id AND callback_id IS DISTINCT FROM NEW.callback_id
    ) THEN
        RETURN NULL;  -- the first one did it
    END IF;
    ids := ARRAY(SELECT group_id FROM after WHERE group_id IS NOT NULL);
    IF ids <> '{}' THEN
        PERFORM taskflow_lock_groups(ids);
    END IF;
    SELECT array_agg(id), array_agg(callback_id) INTO ids, callback_ids FROM (
        SELECT after.id, after.callback_id FROM after JOIN before USING (id)
        WHERE before.finished_at IS NULL AND after.finished_at IS NOT NULL
          AND taskflow_field(after.options, 'callback_url') IS NOT NULL
    ) AS finished;
    ended := ARRAY(
        SELECT t.id FROM taskflow_tasks AS t JOIN unnest(ids, callback_ids) AS f (id, callback_id) ON t.id = f.id
        WHERE t.callback_id IS NOT DISTINCT FROM f.callback_id
        ORDER BY t.id
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

-- Citus cannot plan most statements without the values of their parameters: functions that ask for generic plans, as the
-- ones that submit tasks with SQL do, get custom plans.
DO $$
DECLARE
    generic regprocedure;
BEGIN
    FOR generic IN
        SELECT p.oid FROM pg_proc AS p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname ^@ 'taskflow_'
          AND 'plan_cache_mode=force_generic_plan' = ANY (p.proconfig)
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_custom_plan', generic);
    END LOOP;
END
$$;
