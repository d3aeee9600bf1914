-- Schedules, and for which of their times a task was made.

CREATE TABLE taskflow_schedules (
    -- In the order of its bytes on all servers: pages go by it.
    name           text COLLATE "C" PRIMARY KEY,
    -- What it is: model/schedule.py.
    definition     json        NOT NULL,
    size_bytes     integer     NOT NULL,
    anchor_at      timestamptz NOT NULL,
    -- The first time that is not dealt with yet; none while it is paused.
    next_at        timestamptz,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    last_fired_at  timestamptz,
    last_task_id   uuid,
    -- Of a conditional one the last tasks, the newest first.
    compared       uuid[]      NOT NULL DEFAULT '{}'
);
CREATE INDEX taskflow_schedules_due ON taskflow_schedules (next_at) WHERE next_at IS NOT NULL;

-- A time is fired once, whichever node comes first and whatever clocks do: no second row can be.
CREATE TABLE taskflow_firings (
    schedule text COLLATE "C" NOT NULL REFERENCES taskflow_schedules ON DELETE CASCADE,
    at       timestamptz NOT NULL,
    task_id  uuid        NOT NULL,
    fired_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schedule, at)
);
CREATE INDEX taskflow_firings_old ON taskflow_firings (fired_at);
