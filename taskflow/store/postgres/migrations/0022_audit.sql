-- The audit log. Entries are written in the transaction of the change, and deleted by their age alone:
-- they do not reference what they are about. Nodes of the version before record none.

CREATE TABLE taskflow_audit (
    id      uuid        PRIMARY KEY DEFAULT taskflow_new_id(),
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    action  text        NOT NULL,
    actor   text,
    session text,
    address text,
    target  text,
    count   bigint      NOT NULL CHECK (count >= 1),
    detail  json        NOT NULL,
    -- The portions of a bulk action, and refused keys of one address, share an entry.
    batch   uuid
);

CREATE INDEX taskflow_audit_by_actor ON taskflow_audit (actor, id);
CREATE INDEX taskflow_audit_by_target ON taskflow_audit (target, id);
CREATE UNIQUE INDEX taskflow_audit_batch ON taskflow_audit (batch) WHERE batch IS NOT NULL;
