-- Unique keys and debounce: submissions that meet a task which exists already.
--
-- Such tasks are stored by a function, one request after the other: each request sees what the one
-- before it stored, and one that has to wait too long for another transaction, or is rejected, is
-- undone by itself. The indexes are what guarantees that a key has one task: they hold for every
-- statement of every version.

ALTER TABLE taskflow_tasks
    -- The unique key, and the statuses in which no other task of the queue may have it.
    ADD COLUMN unique_key     text COLLATE "C",
    ADD COLUMN unique_while   text[],
    ADD COLUMN debounce_key   text COLLATE "C",
    -- When it is due at the latest, and how many later submissions were folded into it.
    ADD COLUMN debounce_until timestamptz,
    ADD COLUMN debounced      integer;

CREATE UNIQUE INDEX taskflow_tasks_unique ON taskflow_tasks (queue, unique_key)
    WHERE unique_key IS NOT NULL AND status = ANY (unique_while);
-- Until its first attempt starts. A task that is retried, released or rescued has started.
CREATE UNIQUE INDEX taskflow_tasks_debounced ON taskflow_tasks (queue, debounce_key)
    WHERE debounce_key IS NOT NULL AND status = 'PENDING' AND attempt = 0 AND started_at IS NULL;

-- Store the tasks of one request: all, or none. The outcome of each is created, returned, replaced
-- or debounced; or known, if the request has an idempotency key that an earlier request had.
-- Raises TF001 if tasks are rejected; the detail lists the place of each and the id of the other task,
-- which is null for a task of the same request. Keys are taken in order, so that two requests cannot deadlock.
-- Migration 0026 has what tasks with order keys need, and shows all keys in callbacks.
CREATE FUNCTION taskflow_add_request(request json)
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
                ELSE  -- it has no unique key, and so comes in the order of its place
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

-- Store the tasks of several requests, each by itself. A request that has to wait for another
-- transaction is undone after at most that many milliseconds for all requests together, and its
-- outcome is busy; without a number it waits. A request with rejected tasks is undone, too; its rows
-- have their places and the ids of the other tasks.
CREATE FUNCTION taskflow_add_keyed(requests text[], wait_ms integer)
RETURNS TABLE (request integer, place integer, task_id uuid, task_priority smallint,
               task_run_at timestamptz, outcome text) LANGUAGE plpgsql AS $$
DECLARE
    former_timeout text := current_setting('lock_timeout');
    deadline timestamptz := clock_timestamp() + make_interval(secs => wait_ms / 1000.0);
    document json;
    key text;
    busy_keys text[] := '{}';
    rejected text;
BEGIN
    -- Events are recorded at the commit: rows are still to be locked (0010).
    PERFORM set_config('taskflow.commits_later', 'on', true);
    FOR request IN 1 .. cardinality(requests) LOOP
        document := requests[request]::json;
        key := concat_ws(' ', document #>> '{tasks,0,queue}',
                         document #>> '{tasks,0,options,unique,key}',
                         document #>> '{tasks,0,options,debounce,key}');
        BEGIN
            IF key = ANY (busy_keys) THEN
                RAISE lock_not_available;
            ELSIF wait_ms IS NOT NULL THEN
                PERFORM set_config('lock_timeout', greatest(1, ceil(
                    extract(epoch FROM deadline - clock_timestamp()) * 1000))::text, true);
            END IF;
            RETURN QUERY SELECT request, added.* FROM taskflow_add_request(document) AS added;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                IF wait_ms IS NULL THEN
                    RAISE;
                END IF;
                busy_keys := busy_keys || key;
                RETURN QUERY SELECT request, n, NULL::uuid, NULL::smallint, NULL::timestamptz, 'busy'
                FROM generate_series(1, json_array_length(document -> 'tasks')) AS n;
            WHEN SQLSTATE 'TF001' THEN
                GET STACKED DIAGNOSTICS rejected = PG_EXCEPTION_DETAIL;
                RETURN QUERY
                SELECT request, taken.place, taken.task_id, NULL::smallint, NULL::timestamptz, 'rejected'
                FROM jsonb_to_recordset(rejected::jsonb) AS taken (place integer, task_id uuid);
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', former_timeout, true);
END
$$;
