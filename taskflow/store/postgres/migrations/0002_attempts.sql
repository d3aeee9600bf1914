-- Attempts are kept. The last one of a task stands in its row; those before it in a table of
-- their own, so that a task that succeeds at once (nearly all) is written no oftener than before.

ALTER TABLE taskflow_tasks
    -- Of the last attempt: who ran it, what the target answered, how long the fetch took.
    ADD COLUMN node        text,
    ADD COLUMN status_code smallint,
    ADD COLUMN elapsed_ms  float8,
    -- Not checked for the rows that are there: no priority could be chosen before.
    ADD CONSTRAINT priority_in_bounds CHECK (priority BETWEEN -100 AND 100) NOT VALID;

CREATE TABLE taskflow_attempts (
    task_id     uuid        NOT NULL REFERENCES taskflow_tasks ON DELETE CASCADE,
    -- In the order in which they were made; numbers repeat when an attempt did not count.
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    number      integer     NOT NULL CHECK (number >= 1),
    status      text        NOT NULL CHECK (status IN ('FAILED', 'INTERRUPTED', 'LOST', 'CANCELED')),
    status_code smallint,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    elapsed_ms  float8,
    node        text,
    error_type  text,
    error       text,
    PRIMARY KEY (task_id, id),
    CONSTRAINT failed_has_error
        CHECK ((status = 'FAILED') = (error IS NOT NULL AND error_type IS NOT NULL))
);

-- The least id that a task of this time can have (UUIDv7: its first 48 bits are milliseconds).
CREATE FUNCTION taskflow_least_id(moment timestamptz) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')
            || '7000' || '8000' || '000000000000')::uuid
$$;

-- The priorities of the tasks that wait, highest first, found by hops over the index of claims;
-- a NULL ends them.
CREATE VIEW taskflow_present_priorities AS
WITH RECURSIVE present (priority) AS (
    (SELECT priority FROM taskflow_tasks WHERE status = 'PENDING' ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (
        SELECT t.priority FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority < present.priority
        ORDER BY t.priority DESC LIMIT 1
    ) FROM present WHERE present.priority IS NOT NULL
)
SELECT priority FROM present;
