-- Graphs: tasks that start when other tasks, their parents, have finished.
--
-- A task with parents is stored waiting, like one with an order key (0026): PENDING, with waiting_for and without a due
-- time. Nothing is locked at its submission, which may be in a transaction of another program. Whatever may let a child
-- start adds a row to taskflow_graph_steps, in its transaction; the promoter takes these rows, and the statement
-- `promote_children` subtracts finished parents from the number of those that are left. An edge counts once: it is
-- marked in the same statement. Nodes of earlier versions never claim a task that waits.

ALTER TABLE taskflow_tasks
    -- NULL for tasks without children. The parents of a task that was submitted later learn of it from the promoter.
    ADD COLUMN has_children boolean,
    -- NULL for tasks without parents. The number of edges to it that are not done.
    ADD COLUMN parents_left integer;

CREATE TABLE taskflow_edges (
    parent_id uuid    NOT NULL,
    child_id  uuid    NOT NULL,
    -- The name of the parent, if the child gives its name and not its id.
    name      text,
    -- Whether the end of the parent was counted.
    is_done   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (parent_id, child_id)
);
CREATE INDEX taskflow_edges_open ON taskflow_edges (parent_id, child_id) WHERE NOT is_done;
CREATE INDEX taskflow_edges_by_child ON taskflow_edges (child_id, parent_id);
ALTER TABLE taskflow_edges SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- A parent has finished, with its last status; or a task has joined its parents, and some may have finished before.
CREATE TABLE taskflow_graph_steps (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id uuid,
    status    text,
    child_id  uuid
);
ALTER TABLE taskflow_graph_steps SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, vacuum_truncate = off
);

-- Triggers for each row, because their conditions cost other tasks next to nothing.
CREATE FUNCTION taskflow_note_graph_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.finished_at IS NOT NULL THEN
        IF NEW.has_children THEN
            INSERT INTO taskflow_graph_steps (parent_id, status) VALUES (NEW.id, NEW.status);
        END IF;
    ELSIF NEW.parents_left IS NOT NULL THEN
        -- It is retried, maybe by a node of an earlier version. It waits for those of its parents that are being
        -- retried, too; the others have finished, and how they did does not matter any more.
        UPDATE taskflow_edges AS e
        SET is_done = NOT EXISTS (
            SELECT FROM taskflow_tasks AS p WHERE p.id = e.parent_id AND p.finished_at IS NULL
        )
        WHERE e.child_id = NEW.id;
        UPDATE taskflow_tasks
        SET waiting_for = 'parents', run_at = taskflow_never(), parents_left = (
            SELECT count(*) FROM taskflow_edges AS e WHERE e.child_id = NEW.id AND NOT e.is_done
        )
        WHERE id = NEW.id;
        INSERT INTO taskflow_graph_steps (child_id) VALUES (NEW.id);
    END IF;
    RETURN NULL;
END
$$;

-- A task that is deleted before it has finished, which TaskFlow does not do, counts as canceled. The edges to its
-- children are kept: they are the parents that these show.
CREATE FUNCTION taskflow_note_graph_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.parents_left IS NOT NULL THEN
        DELETE FROM taskflow_edges WHERE child_id = OLD.id;
    END IF;
    IF OLD.has_children AND OLD.finished_at IS NULL THEN
        INSERT INTO taskflow_graph_steps (parent_id, status) VALUES (OLD.id, 'CANCELED');
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER taskflow_graph_moved AFTER UPDATE ON taskflow_tasks FOR EACH ROW
    WHEN ((NEW.has_children OR NEW.parents_left IS NOT NULL)
          AND (OLD.finished_at IS NULL) <> (NEW.finished_at IS NULL))
    EXECUTE FUNCTION taskflow_note_graph_moved();
CREATE TRIGGER taskflow_graph_deleted AFTER DELETE ON taskflow_tasks FOR EACH ROW
    WHEN (OLD.has_children OR OLD.parents_left IS NOT NULL)
    EXECUTE FUNCTION taskflow_note_graph_deleted();

CREATE OR REPLACE FUNCTION taskflow_note_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE taskflow_changes, taskflow_counts;
    -- Not TRUNCATE: `promote` locks these tables before the one that has been locked here.
    DELETE FROM taskflow_ordered;
    DELETE FROM taskflow_order_steps;
    DELETE FROM taskflow_edges;
    DELETE FROM taskflow_graph_steps;
    DELETE FROM taskflow_groups;
    DELETE FROM taskflow_group_members;
    DELETE FROM taskflow_group_changes;
    DELETE FROM taskflow_group_counts;
    RETURN NULL;
END
$$;

-- The ids of the parents of a task as JSON; null without parents.
CREATE FUNCTION taskflow_parents_as_json(task taskflow_tasks) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN task.parents_left IS NULL THEN 'null' ELSE coalesce(
        (SELECT '["' || string_agg(e.parent_id::text, '","' ORDER BY e.parent_id) || '"]'
         FROM taskflow_edges AS e WHERE e.child_id = task.id), '[]') END
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
        -- A task that never left its line, or whose parents never finished, was never due.
        ',"run_at":', taskflow_moment_as_json(
            CASE WHEN coalesce(task.order_key, task.parents_left::text) IS NULL
                   OR task.run_at < taskflow_never() THEN task.run_at END),
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
        ',"name":', coalesce((task.options -> 'name')::text, 'null'),
        ',"after":', taskflow_parents_as_json(task),
        ',"on_parent_failure":', coalesce((task.options -> 'on_parent_failure')::text, 'null'),
        ',"held":null,"waiting_for":null}'
    )
$$;
