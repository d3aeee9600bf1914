-- What nodes say of themselves, for whoever looks after them. Those of the version before say
-- nothing.

ALTER TABLE taskflow_nodes
    ADD COLUMN version text,
    ADD COLUMN workers integer CHECK (workers >= 1);
