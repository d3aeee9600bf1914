-- What the pages of schedules, hosts and nodes show.

-- The last runs of each schedule: the times that created a task, that were skipped because of an earlier task, and that
-- no node started in time. A table of its own, so that tasks pay for no index.
CREATE TABLE taskflow_schedule_runs (
    schedule text COLLATE "C" NOT NULL REFERENCES taskflow_schedules ON DELETE CASCADE,
    -- The scheduled time; of a run that a client started, when that was; of missed times, the last one.
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('scheduled', 'manual', 'skipped', 'missed')),
    task_id uuid,
    -- The number of times that the row stands for.
    count integer NOT NULL DEFAULT 1,
    PRIMARY KEY (schedule, at)
);

-- When the circuit breaker of a host opened. Nodes of every version write it, by its default; it is unknown for those
-- that are open now.
ALTER TABLE taskflow_hosts ADD COLUMN opened_at timestamptz;
ALTER TABLE taskflow_hosts ALTER COLUMN opened_at SET DEFAULT now();

-- Some settings of a node, none of them secret; NULL for versions that do not report them.
ALTER TABLE taskflow_nodes ADD COLUMN settings json;
