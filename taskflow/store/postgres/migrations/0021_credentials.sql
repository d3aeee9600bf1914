-- Credentials, which tasks use by name. Their values are stored only encrypted.

CREATE TABLE taskflow_credentials (
    -- Lists are sorted by the bytes of the name, whatever the collation of the database.
    name         text COLLATE "C" PRIMARY KEY,
    kind         text        NOT NULL,
    -- Patterns of the hosts that it may be sent to.
    hosts        text[]      NOT NULL,
    -- Its values, encrypted (model/sealed_credential.py).
    sealed       bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);

-- The credential that a queue or schedule uses, to find what uses a credential before it is deleted.
-- Nodes of earlier versions do not write these columns.
ALTER TABLE taskflow_queues ADD COLUMN credential text COLLATE "C";
ALTER TABLE taskflow_schedules ADD COLUMN credential text COLLATE "C";
CREATE INDEX taskflow_queues_credential ON taskflow_queues (credential, name)
    WHERE credential IS NOT NULL;
CREATE INDEX taskflow_schedules_credential ON taskflow_schedules (credential, name)
    WHERE credential IS NOT NULL;

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
        ',"run_at":', taskflow_moment_as_json(task.run_at),
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
        ',"retention_seconds":', taskflow_seconds_as_json(task.retention_seconds),
        ',"callback_url":', coalesce((task.options -> 'callback_url')::text, 'null'),
        ',"callback_id":"', task.callback_id, '"',
        ',"callback_of":null',
        ',"schedule":', coalesce((task.options -> 'schedule')::text, 'null'),
        ',"scheduled_at":', coalesce((task.options -> 'scheduled_at')::text, 'null'),
        ',"held":null}'
    )
$$;
