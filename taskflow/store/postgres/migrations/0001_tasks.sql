-- The tables of TaskFlow. The CHECKs repeat the law that model/lifecycle.py holds.

-- Time-ordered ids by the database's clock: PostgreSQL 18 makes them itself; before that
-- the same layout (RFC 9562, section 5.7, with method 3 for what is below a millisecond).
DO $$
BEGIN
    IF to_regprocedure('uuidv7()') IS NOT NULL THEN
        CREATE FUNCTION taskflow_new_id() RETURNS uuid
            LANGUAGE sql VOLATILE PARALLEL SAFE
            RETURN uuidv7();
    ELSE
        CREATE FUNCTION taskflow_new_id() RETURNS uuid
            LANGUAGE plpgsql VOLATILE PARALLEL SAFE
        AS $body$
        DECLARE
            microseconds bigint := extract(epoch FROM clock_timestamp()) * 1000000;
            id bytea := uuid_send(gen_random_uuid());
            fraction int := (microseconds % 1000) * 4096 / 1000;
        BEGIN
            id := overlay(id PLACING substring(int8send(microseconds / 1000) FROM 3) FROM 1 FOR 6);
            id := set_byte(id, 6, 112 | (fraction >> 8));
            id := set_byte(id, 7, fraction & 255);
            RETURN encode(id, 'hex')::uuid;
        END
        $body$;
    END IF;
END
$$;

-- Who runs tasks. A node is alive until expires_at; it moves that forward by itself.
CREATE TABLE taskflow_nodes (
    id            uuid        PRIMARY KEY,
    name          text        NOT NULL,
    lease_seconds float8      NOT NULL CHECK (lease_seconds > 0),
    started_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);

CREATE TABLE taskflow_tasks (
    id           uuid        PRIMARY KEY DEFAULT taskflow_new_id(),
    status       text        NOT NULL DEFAULT 'PENDING'
                             CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED')),
    priority     smallint    NOT NULL DEFAULT 0,
    attempt      integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    max_attempts integer     NOT NULL DEFAULT 1 CHECK (max_attempts >= 1),
    rescues      integer     NOT NULL DEFAULT 0 CHECK (rescues >= 0),
    -- Length in bytes of what GET gives back, so that a page can be bounded without reading it.
    size_bytes   integer     NOT NULL,
    run_at       timestamptz NOT NULL DEFAULT now(),
    created_at   timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    finished_at  timestamptz,
    -- Not a foreign key: that would lock the node's row at every claim, and a task whose
    -- node is gone is rescued all the same.
    node_id      uuid,
    claim_token  uuid,
    queue        text        NOT NULL DEFAULT 'default',
    error_type   text,
    error        text,
    -- json, not jsonb: it is given back to the byte.
    payload      json        NOT NULL,
    result       json,
    CONSTRAINT running_is_held CHECK ((status = 'RUNNING') = (claim_token IS NOT NULL)),
    CONSTRAINT held_by_a_node CHECK ((claim_token IS NULL) = (node_id IS NULL)),
    CONSTRAINT final_is_finished
        CHECK ((status IN ('COMPLETED', 'FAILED', 'CANCELED')) = (finished_at IS NOT NULL)),
    CONSTRAINT completed_has_result CHECK ((status = 'COMPLETED') = (result IS NOT NULL)),
    CONSTRAINT failed_has_error
        CHECK (status <> 'FAILED' OR (error IS NOT NULL AND error_type IS NOT NULL))
);

-- A finished task is written once more at most; the waiting ones come and go all the time.
ALTER TABLE taskflow_tasks SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- The order of claims.
CREATE INDEX taskflow_tasks_due ON taskflow_tasks (priority DESC, run_at, id) WHERE status = 'PENDING';
-- What nodes hold, for rescues.
CREATE INDEX taskflow_tasks_held ON taskflow_tasks (node_id) WHERE status = 'RUNNING';
-- Pages by status; pages of all come from the primary key.
CREATE INDEX taskflow_tasks_by_status ON taskflow_tasks (status, id);
