-- What happens to tasks, for those who watch. It is recorded only while somebody does, and some
-- minutes longer, so that who comes back finds what happened meanwhile; so when nobody watches it
-- costs a look at one row for each statement.

CREATE TABLE taskflow_events (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    task_id    uuid        NOT NULL,
    status     text        NOT NULL,
    queue      text        NOT NULL,
    attempt    integer     NOT NULL,
    error      text,
    error_type text,
    tags       json
);
-- Rows stay for minutes. To give free pages back would take a lock that all writers wait for.
ALTER TABLE taskflow_events SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, vacuum_truncate = off
);

CREATE TABLE taskflow_event_log (
    is_the_only_one boolean     PRIMARY KEY DEFAULT true CHECK (is_the_only_one),
    recorded_until  timestamptz NOT NULL DEFAULT '-infinity',
    -- Whatever happened after this event is here; of what was before it some may be missing.
    complete_after  bigint      NOT NULL DEFAULT 0
);
INSERT INTO taskflow_event_log DEFAULT VALUES;

-- Events are numbered in the order in which they can be seen, so that whoever has read up to one
-- of them has missed none before it. Therefore one transaction after the other writes some, from
-- the first number to its commit: a lock that is taken when all rows are, so that nobody waits in
-- a circle.
CREATE FUNCTION taskflow_begin_events() RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(8386658447506927981);  -- "task_evm" in ASCII: any number will do
    SELECT pg_notify('taskflow_events', '');
$$;

-- Who begins the recording waits for those who looked before: they hold this lock together, from
-- the look to their commit. A lock of the table would do as well, but wait for its vacuum.
CREATE FUNCTION taskflow_are_events_recorded() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(8386658447506927982);
    RETURN EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > now());
END
$$;

CREATE FUNCTION taskflow_record_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF taskflow_are_events_recorded()
       AND EXISTS (SELECT FROM after)
    THEN
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

CREATE FUNCTION taskflow_record_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF taskflow_are_events_recorded()
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

CREATE TRIGGER taskflow_record_added AFTER INSERT ON taskflow_tasks
    REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow_record_added();
CREATE TRIGGER taskflow_record_moved AFTER UPDATE ON taskflow_tasks
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow_record_moved();
