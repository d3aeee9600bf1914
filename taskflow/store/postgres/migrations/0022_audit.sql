-- The audit log. An entry is written in the transaction of the change, and deleted only because of its
-- age: it does not reference what it is about. Nodes of earlier versions write no entries.

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
    -- The batches of a bulk action share an entry, and so do rejected keys from one address.
    batch   uuid
);

CREATE INDEX taskflow_audit_by_actor ON taskflow_audit (actor, id);
CREATE INDEX taskflow_audit_by_target ON taskflow_audit (target, id);
CREATE UNIQUE INDEX taskflow_audit_batch ON taskflow_audit (batch) WHERE batch IS NOT NULL;
