-- Whole requests, and what a task may say beside its payload.

ALTER TABLE taskflow_tasks
    -- From when on no attempt is begun.
    ADD COLUMN expires_at        timestamptz,
    -- How long it is kept after its end, where it says so, and until when that is.
    ADD COLUMN retention_seconds float8 CHECK (retention_seconds >= 0),
    ADD COLUMN delete_at         timestamptz,
    -- The host of its URL, as the fetch would read it.
    ADD COLUMN host              text,
    ADD COLUMN tags              json,
    -- How it is to be run, where it says so: model/options.py.
    ADD COLUMN options           json;

-- What hardly any task has costs the others nothing.
CREATE INDEX taskflow_tasks_expiring ON taskflow_tasks (expires_at)
    WHERE status = 'PENDING' AND expires_at IS NOT NULL;
CREATE INDEX taskflow_tasks_to_delete ON taskflow_tasks (delete_at) WHERE delete_at IS NOT NULL;
CREATE INDEX taskflow_tasks_by_queue ON taskflow_tasks (queue, id) WHERE queue <> 'default';

-- What tasks can be found by. A table, not an index over the rows: so tasks of a tag come by
-- pages, newest first, and those without tags cost nothing.
CREATE TABLE taskflow_tags (
    name    text NOT NULL,
    value   text NOT NULL,
    task_id uuid NOT NULL REFERENCES taskflow_tasks ON DELETE CASCADE,
    PRIMARY KEY (name, value, task_id)
);
CREATE INDEX taskflow_tags_of_task ON taskflow_tags (task_id);

-- Which requests have come already. Not tied to the tasks by a foreign key: a task that was
-- deleted in the meantime must not be made a second time.
CREATE TABLE taskflow_idempotency_keys (
    key         text        PRIMARY KEY,
    fingerprint bytea       NOT NULL,
    task_ids    uuid[]      NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX taskflow_idempotency_keys_expired ON taskflow_idempotency_keys (expires_at);
