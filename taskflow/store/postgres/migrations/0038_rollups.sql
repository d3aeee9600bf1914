-- Roll-ups of finished tasks and grouped failures, without a write of their own for a task.
--
-- A change says which tasks finished, and which tasks left FAILED. The housekeeping job that folds the changes reads these
-- tasks, and adds them to the roll-ups and to the failures in the transaction that deletes the changes: so each is added
-- once. One node folds at a time.

-- The finished tasks of a change, and the tasks that left FAILED. NULL if there are none.
ALTER TABLE taskflow_changes ADD COLUMN ids uuid[];
-- In the row: the ids of a large change would otherwise be stored in another table.
ALTER TABLE taskflow_changes ALTER COLUMN ids SET STORAGE MAIN;

-- A roll-up of the tasks of a queue, of the tasks for a host, or of all (both empty) that finished in a period.
CREATE TABLE taskflow_rollups (
    period_seconds integer     NOT NULL,
    at             timestamptz NOT NULL,
    queue          text        NOT NULL,
    host           text        NOT NULL,
    completed      bigint      NOT NULL,
    failed         bigint      NOT NULL,
    canceled       bigint      NOT NULL,
    -- Histograms: the buckets that are not empty, and the number of tasks in each (taskflow_time_bucket).
    wait_buckets   smallint[]  NOT NULL,
    wait_counts    bigint[]    NOT NULL,
    run_buckets    smallint[]  NOT NULL,
    run_counts     bigint[]    NOT NULL,
    -- The maximum number of due tasks at any sample. NULL without a sample.
    backlog        bigint,
    PRIMARY KEY (period_seconds, queue, host, at)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX taskflow_rollups_by_time ON taskflow_rollups (period_seconds, at);

-- The bucket of a duration, as in taskflow/model/rollups.py.
CREATE FUNCTION taskflow_time_bucket(seconds float8) RETURNS smallint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (CASE WHEN seconds > 0.001 THEN least(127, ceil((ln(seconds) - ln(0.001::float8)) / ln(1.2::float8))) ELSE 0 END)::smallint
$$;

-- The failures: FAILED tasks with the same cause. A failure without FAILED tasks is kept for some days.
CREATE TABLE taskflow_failures (
    -- A hash of the columns of the cause.
    id          uuid        PRIMARY KEY,
    queue       text        NOT NULL,
    host        text        NOT NULL,
    error_type  text,
    status_code integer,
    message     text        NOT NULL,
    -- The number of rows in taskflow_failed_tasks.
    failing     bigint      NOT NULL,
    occurrences bigint      NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    -- The last hours with occurrences, in hours since 1970, and the number of occurrences in each.
    hours       integer[]   NOT NULL,
    per_hour    bigint[]    NOT NULL
) WITH (fillfactor = 50);

-- The FAILED tasks, wherever they are.
CREATE TABLE taskflow_failed_tasks (
    task_id    uuid PRIMARY KEY,
    failure_id uuid NOT NULL
);
CREATE INDEX taskflow_failed_tasks_of_failure ON taskflow_failed_tasks (failure_id, task_id);

-- The rest of these functions is as before.

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
        INSERT INTO taskflow_changes (queue, status, change, ids)
        SELECT queue, status, sum(change), array_agg(id) FILTER (
            WHERE status = 'FAILED' OR change > 0 AND status IN ('COMPLETED', 'CANCELED')
        ) FROM (
            SELECT id, queue, status, 1 AS change FROM after
            UNION ALL
            SELECT id, queue, status, -1 FROM before
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

CREATE OR REPLACE FUNCTION taskflow_note_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    INSERT INTO taskflow_changes (queue, status, change, ids)
    SELECT queue, status, -count(*), array_agg(id) FILTER (WHERE status = 'FAILED') FROM before GROUP BY queue, status;
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
    DELETE FROM taskflow_edges;
    DELETE FROM taskflow_graph_steps;
    DELETE FROM taskflow_parked;
    DELETE FROM taskflow_groups;
    DELETE FROM taskflow_group_members;
    DELETE FROM taskflow_group_changes;
    DELETE FROM taskflow_group_counts;
    TRUNCATE taskflow_archive, taskflow_archive_attempts, taskflow_archive_tags;
    DELETE FROM taskflow_archive_counts;
    DELETE FROM taskflow_failures;
    DELETE FROM taskflow_failed_tasks;
    RETURN NULL;
END
$$;

-- The newest FAILED tasks, as changes of nothing.
INSERT INTO taskflow_changes (queue, status, change, ids)
SELECT queue, 'FAILED', 0, array_agg(id) FROM (
    SELECT id, queue, row_number() OVER (ORDER BY id DESC) / 200 AS part FROM (
        SELECT id, queue FROM taskflow_tasks WHERE status = 'FAILED' ORDER BY id DESC LIMIT 100000
    ) AS newest
) AS parts
GROUP BY queue, part;
