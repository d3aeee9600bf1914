-- Tasks that are enqueued in transactions of others (enqueuing.py).
--
-- What happens to tasks is recorded under a lock, from the first number to the commit, so that
-- numbers come in the order of commits (0005). Our own transactions are one statement long. One of
-- somebody else's may stay open for minutes, and all nodes would wait for it. So it says that it
-- will commit later, and what it adds is recorded at its commit.

CREATE OR REPLACE FUNCTION taskflow_are_events_recorded() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('taskflow.commits_later', true) = 'on' THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(8386658447506927982);
    RETURN EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > now());
END
$$;

-- At the commit, by the clock of then: now() is when the transaction began, and events are
-- forgotten by their age.
CREATE FUNCTION taskflow_record_enqueued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(8386658447506927982);
    -- One with a snapshot of its own does not see whether somebody has begun to watch.
    IF current_setting('transaction_isolation') <> 'read committed'
       OR EXISTS (SELECT FROM taskflow_event_log WHERE recorded_until > clock_timestamp())
    THEN
        PERFORM taskflow_begin_events();
        INSERT INTO taskflow_events (at, task_id, status, queue, attempt, tags)
        VALUES (clock_timestamp(), NEW.id, 'PENDING', NEW.queue, 0, NEW.tags);
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER taskflow_record_enqueued AFTER INSERT ON taskflow_tasks
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (current_setting('taskflow.commits_later', true) = 'on')
    EXECUTE FUNCTION taskflow_record_enqueued();
