-- How many tasks stand how, by queue, and how many ended lately, without counting them.
-- Each statement that moves tasks adds what it changed to taskflow_changes, and waits for nobody.
-- Nodes fold these rows into taskflow_counts and taskflow_endings now and then; who reads adds
-- what is folded and what is not.

CREATE TABLE taskflow_changes (
    at     timestamptz NOT NULL DEFAULT now(),
    queue  text        NOT NULL,
    status text        NOT NULL,
    -- How many tasks stand so more than before, or less.
    change bigint      NOT NULL
);

-- Rows stay for seconds. To give free pages back would take a lock that all writers wait for.
ALTER TABLE taskflow_changes SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, vacuum_truncate = off
);

CREATE TABLE taskflow_counts (
    queue  text   NOT NULL,
    status text   NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (queue, status)
);

-- How many tasks came to an end in which minute.
CREATE TABLE taskflow_endings (
    minute timestamptz NOT NULL,
    queue  text        NOT NULL,
    status text        NOT NULL,
    count  bigint      NOT NULL,
    PRIMARY KEY (minute, queue, status)
);

-- Which part of a minute by the clock lies within so much time up to now.
CREATE FUNCTION taskflow_share(minute timestamptz, so_much interval) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT greatest(0, least(1, extract(epoch FROM minute + interval '1 minute' + so_much - now()) / 60))
$$;

-- One statement each, and of the rows two short columns: this runs with every write. What did
-- not change its status or its queue is on both sides and adds up to nothing.
CREATE FUNCTION taskflow_note_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO taskflow_changes (queue, status, change)
    SELECT queue, status, count(*) FROM after GROUP BY queue, status;
    RETURN NULL;
END
$$;

CREATE FUNCTION taskflow_note_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO taskflow_changes (queue, status, change)
    SELECT queue, status, sum(change) FROM (
        SELECT queue, status, 1 AS change FROM after
        UNION ALL
        SELECT queue, status, -1 FROM before
    ) AS sides
    GROUP BY queue, status HAVING sum(change) <> 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION taskflow_note_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO taskflow_changes (queue, status, change)
    SELECT queue, status, -count(*) FROM before GROUP BY queue, status;
    RETURN NULL;
END
$$;

CREATE FUNCTION taskflow_note_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE taskflow_changes, taskflow_counts;
    RETURN NULL;
END
$$;

-- Nodes of the version before write tasks meanwhile: they wait from here on until their writes
-- are noted, and what they wrote before is counted.
LOCK TABLE taskflow_tasks IN SHARE ROW EXCLUSIVE MODE;

CREATE TRIGGER taskflow_added AFTER INSERT ON taskflow_tasks
    REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow_note_added();
CREATE TRIGGER taskflow_moved AFTER UPDATE ON taskflow_tasks
    REFERENCING NEW TABLE AS after OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow_note_moved();
CREATE TRIGGER taskflow_deleted AFTER DELETE ON taskflow_tasks
    REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow_note_deleted();
CREATE TRIGGER taskflow_emptied AFTER TRUNCATE ON taskflow_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow_note_emptied();

INSERT INTO taskflow_counts (queue, status, count)
SELECT queue, status, count(*) FROM taskflow_tasks GROUP BY queue, status;

-- For how long the first task of a queue waits. (Of all queues the index of claims tells.)
CREATE INDEX taskflow_tasks_waiting ON taskflow_tasks (queue, run_at) WHERE status = 'PENDING';
