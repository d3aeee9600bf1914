-- What nodes say of themselves, for whoever looks after them. Those of the version before say
-- nothing.

ALTER TABLE taskflow_nodes
    ADD COLUMN version text,
    ADD COLUMN workers integer CHECK (workers >= 1);

-- What all nodes share and nobody else knows: sessions in browsers are signed with it.
CREATE TABLE taskflow_secrets (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);
