-- What a target answered to attempts that failed: a KeptResponse. NULL for all others, and for attempts of nodes
-- of the version before.
ALTER TABLE taskflow_tasks ADD COLUMN response json;
ALTER TABLE taskflow_attempts ADD COLUMN response json;
