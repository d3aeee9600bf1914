-- The triggers of the counts and events execute one statement instead of three.

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
        INSERT INTO taskflow_events (task_id, status, queue, attempt, tags)
        SELECT id, step.status, queue, least(step.place, attempt), tags
        FROM after CROSS JOIN (VALUES (0, 'PENDING'), (1, 'RUNNING')) AS step (place, status)
        -- What was claimed as it was stored did both.
        WHERE step.status = 'PENDING' OR after.status = 'RUNNING'
        ORDER BY id, step.place;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_note_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_recorded boolean;
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
    SELECT is_recorded AND EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > now())
    INTO is_recorded;
    IF is_recorded
       AND EXISTS (SELECT FROM after JOIN before USING (id) WHERE after.status <> before.status)
    THEN
        PERFORM taskflow_begin_events();
        INSERT INTO taskflow_events (task_id, status, queue, attempt, error, error_type, tags)
        SELECT after.id, after.status, after.queue, after.attempt, after.error, after.error_type,
               after.tags
        FROM after JOIN before USING (id)
        WHERE after.status <> before.status
        ORDER BY after.id;
    END IF;
    RETURN NULL;
END
$$;
