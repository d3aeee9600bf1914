-- Schedules whose tasks must not overlap.

ALTER TABLE taskflow_schedules
    -- "skip" or "cancel_previous"; NULL if its tasks may overlap, as in most schedules.
    ADD COLUMN overlap         text,
    ADD COLUMN skipped_count   bigint NOT NULL DEFAULT 0,
    ADD COLUMN last_skipped_at timestamptz;

-- A time that was skipped has fired, without a task.
ALTER TABLE taskflow_firings ALTER COLUMN task_id DROP NOT NULL;

-- The tasks of these schedules that may be PENDING or RUNNING. Not tied to the schedules by a
-- foreign key: retries of tasks, which add rows, must not wait until a schedule has fired.
CREATE TABLE taskflow_schedule_tasks (
    schedule text COLLATE "C" NOT NULL,
    task_id  uuid NOT NULL,
    PRIMARY KEY (schedule, task_id)
);
