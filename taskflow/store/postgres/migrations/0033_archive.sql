-- The archive: tasks that have been finished for long are moved to a table of their own, in partitions by week, so that
-- the table of tasks stays small, and a week is deleted by dropping its partition.
--
-- Ids grow with the time of creation, so a partition is a range of ids. A task is in one of the two tables, in every
-- snapshot: it is moved, and moved back for a retry, in one transaction. Rows of attempts and tags move with it. Other
-- tables refer to tasks by their ids, and stay as they are.

-- Nodes of earlier versions do not read the archive. While one is alive, nothing is moved.
ALTER TABLE taskflow_nodes ADD COLUMN reads_archive boolean;

-- The same columns in the same order: a column that is added to the one table is added to the other, and to the view.
CREATE TABLE taskflow_archive (LIKE taskflow_tasks, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE INDEX taskflow_archive_by_status ON taskflow_archive (status, id);
CREATE INDEX taskflow_archive_by_queue ON taskflow_archive (queue, id) WHERE queue <> 'default';
CREATE INDEX taskflow_archive_to_delete ON taskflow_archive (delete_at) WHERE delete_at IS NOT NULL;

CREATE TABLE taskflow_archive_attempts (LIKE taskflow_attempts, PRIMARY KEY (task_id, id))
    PARTITION BY RANGE (task_id);
CREATE TABLE taskflow_archive_tags (LIKE taskflow_tags, PRIMARY KEY (name, value, task_id))
    PARTITION BY RANGE (task_id);
CREATE INDEX taskflow_archive_tags_of_task ON taskflow_archive_tags (task_id);

CREATE VIEW taskflow_all_tasks AS
    SELECT * FROM taskflow_tasks UNION ALL SELECT * FROM taskflow_archive;

-- The id of the endpoint of a delivery; NULL for other tasks, and for rows that no version wrote.
CREATE FUNCTION taskflow_endpoint_of(options json) RETURNS uuid LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    IF position('"delivery"' IN options::text) = 0 THEN
        RETURN NULL;
    END IF;
    RETURN (taskflow_field(options, 'delivery')::json ->> 'endpoint_id')::uuid;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- Tasks with rows in tables that are not partitioned. They are deleted one by one before their partition is dropped.
CREATE INDEX taskflow_archive_linked ON taskflow_archive (id)
    WHERE group_id IS NOT NULL OR order_key IS NOT NULL OR parents_left IS NOT NULL OR has_children
       OR position('"delivery"' IN options::text) > 0;

-- The partitions: taskflow_archive_<name>, taskflow_archive_attempts_<name> and taskflow_archive_tags_<name>.
CREATE TABLE taskflow_archive_periods (
    -- The first day, as YYYYMMDD.
    name             text        PRIMARY KEY,
    first_id         uuid        NOT NULL,
    -- The first id of the next period.
    end_id           uuid        NOT NULL,
    -- False from the time when it is detached to the time when it is dropped.
    is_attached      boolean     NOT NULL DEFAULT true,
    -- No task in it has a greater id. NULL if that is not known.
    last_id          uuid,
    -- At most this late did a task without a retention of its own finish,
    last_finished_at timestamptz NOT NULL DEFAULT '-infinity',
    -- and at most this late is one with a retention of its own to be deleted.
    last_delete_at   timestamptz NOT NULL DEFAULT '-infinity'
);

-- The number of archived tasks, as the sum of changes: so a partition is dropped without counting its rows. They are
-- also in taskflow_counts.
CREATE TABLE taskflow_archive_counts (
    period text   NOT NULL,
    queue  text   NOT NULL,
    status text   NOT NULL,
    change bigint NOT NULL
);
CREATE INDEX taskflow_archive_counts_of_period ON taskflow_archive_counts (period);

-- A task that is moved is neither added nor deleted: the statements that move tasks set taskflow.is_archiving for their
-- transaction. The rest of these functions is as before.

CREATE OR REPLACE FUNCTION taskflow_note_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_recorded boolean;
BEGIN
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
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

CREATE OR REPLACE FUNCTION taskflow_note_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
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

CREATE OR REPLACE FUNCTION taskflow_note_order_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last_state text;
BEGIN
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    DELETE FROM taskflow_ordered WHERE task_id = OLD.id RETURNING state INTO last_state;
    IF last_state <> 'left' THEN
        INSERT INTO taskflow_order_steps (queue, order_key) VALUES (OLD.queue, OLD.order_key);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_note_graph_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF OLD.parents_left IS NOT NULL THEN
        DELETE FROM taskflow_edges WHERE child_id = OLD.id;
    END IF;
    IF OLD.has_children AND OLD.finished_at IS NULL THEN
        INSERT INTO taskflow_graph_steps (parent_id, status) VALUES (OLD.id, 'CANCELED');
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION taskflow_forget_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    DELETE FROM taskflow_deliveries
    WHERE task_id = OLD.id
      AND endpoint_id = (taskflow_field(OLD.options, 'delivery')::json ->> 'endpoint_id')::uuid;
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;  -- of a row that no version wrote
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
    RETURN NULL;
END
$$;
