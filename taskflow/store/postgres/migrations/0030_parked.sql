-- Parked attempts: their targets have answered 202 and work on.
--
-- A parked task is RUNNING under the token of its claim, and its node is the Max UUID (PARKED_NODE of
-- model/completion.py), the last one in an index. That node has a row in taskflow_nodes whose lease does not end, once
-- an attempt was parked: so nodes of earlier versions do not rescue such tasks. What ends an attempt (a settlement, a
-- retry, a cancellation, also by an earlier version) takes the task from that node, and a trigger deletes its row here.

-- No foreign key, for which each deletion of a task would pay.
CREATE TABLE taskflow_parked (
    task_id    uuid        PRIMARY KEY,
    -- Of the claim: a row with another one is left over.
    token      uuid        NOT NULL,
    queue      text        NOT NULL,
    -- NULL if the target reports the outcome. Possibly encrypted.
    poll_url   text,
    -- When a node has to look after it: for a poll, or because it is overdue.
    due_at     timestamptz NOT NULL,
    overdue_at timestamptz NOT NULL
);
CREATE INDEX taskflow_parked_due ON taskflow_parked (due_at);
-- Parked attempts count towards the concurrency limit of their queue.
CREATE INDEX taskflow_parked_by_queue ON taskflow_parked (queue);
ALTER TABLE taskflow_parked SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

CREATE FUNCTION taskflow_forget_parked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM taskflow_parked WHERE task_id = OLD.id;
    RETURN NULL;
END
$$;
-- Other tasks pay for one condition. Whatever ends a claim says so in node_id.
CREATE TRIGGER taskflow_unparked AFTER UPDATE OF node_id ON taskflow_tasks FOR EACH ROW
    WHEN (OLD.node_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' AND NEW.node_id IS DISTINCT FROM OLD.node_id)
    EXECUTE FUNCTION taskflow_forget_parked();
-- TaskFlow does not delete a task before it has finished.
CREATE TRIGGER taskflow_parked_deleted AFTER DELETE ON taskflow_tasks FOR EACH ROW
    WHEN (OLD.node_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    EXECUTE FUNCTION taskflow_forget_parked();

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
    RETURN NULL;
END
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
        ',"completion":', coalesce((task.options -> 'completion')::text, 'null'),
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
