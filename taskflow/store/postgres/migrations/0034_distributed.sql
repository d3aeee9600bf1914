-- Schemas that Citus distributes (distributed.sql). Other schemas have these functions, which are inlined and change
-- nothing.

-- What distributed.sql and its schema were when it was applied; NULL if it was not.
CREATE FUNCTION taskflow_distributed_form() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULL::text;

-- Citus refuses columns of the type void. So functions in statements return something else.

-- Notify nodes at the commit.
CREATE FUNCTION taskflow_notify(channel text, message text) RETURNS boolean
    LANGUAGE sql VOLATILE
AS $$ SELECT pg_notify(channel, message) IS NOT NULL $$;

-- As in migration 0031.
DROP FUNCTION taskflow_announce(text, smallint[], timestamptz[]);
CREATE FUNCTION taskflow_announce(
    sender text, priorities smallint[], run_ats timestamptz[]
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF cardinality(priorities) > 0 THEN
        PERFORM taskflow_notify_work(sender || ' ' || string_agg(place, ' '))
        FROM (
            SELECT format('%s@%s', priority,
                          (extract(epoch FROM taskflow_bounded(min(run_at))) * 1000000)::bigint)
            FROM unnest(priorities, run_ats) AS t (priority, run_at)
            GROUP BY priority
        ) AS places (place);
    END IF;
    RETURN true;
END
$$;

-- As in migration 0027, with the notification that commits do not wait for (migration 0031).
CREATE OR REPLACE FUNCTION taskflow_update_groups(ids uuid[], failed_ids uuid[]) RETURNS void
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
        PERFORM taskflow_notify_work(' cancel');
    END IF;
    PERFORM taskflow_complete_groups(ids);
END
$$;

-- Citus accepts in the condition of an upsert only functions that are immutable, as this one is in a distributed schema.
CREATE FUNCTION taskflow_is_over(moment timestamptz) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN moment <= now();

-- Likewise: Citus accepts no other functions in CASE, COALESCE and RETURNING, and in updates none of columns.

CREATE FUNCTION taskflow_after(seconds float8) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN now() + make_interval(secs => seconds);

CREATE FUNCTION taskflow_or_now(moment timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(moment, now());

CREATE FUNCTION taskflow_now_if(condition boolean) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN condition THEN now() END;

-- Seconds since a moment.
CREATE FUNCTION taskflow_age(moment timestamptz) RETURNS float8
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN date_part('epoch', now() - taskflow_bounded(moment));

-- A function, because Citus refuses the places of rows in a statement with common table expressions.
CREATE FUNCTION taskflow_mark_edges(places tid[]) RETURNS TABLE (child_id uuid, parent_id uuid)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY UPDATE taskflow_edges AS e SET is_done = true
    WHERE e.ctid = ANY (places) AND NOT e.is_done
    RETURNING e.child_id, e.parent_id;
END
$$;

-- As in migration 0025, with taskflow_is_over().
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
        WHERE taskflow_is_over(known.expires_at);
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
