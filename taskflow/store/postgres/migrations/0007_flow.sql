-- What keeps tasks waiting although they are due: what is asked of their queue, and hosts that fail.
-- See model/flow.py.

ALTER TABLE taskflow_tasks
    -- The host and port of its URL; compared byte by byte, which is what its index is walked by.
    -- Not filled in for tasks that are there: limits by host pass over these.
    ADD COLUMN authority text COLLATE "C" NOT NULL DEFAULT '';

CREATE TABLE taskflow_queues (
    name       text        PRIMARY KEY,
    -- As it was asked for: QueueSettings.
    settings   json        NOT NULL,
    paused     boolean     NOT NULL,
    -- Whether anything can keep a task of it waiting.
    is_limited boolean     NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT paused_is_limited CHECK (is_limited OR NOT paused)
);
CREATE INDEX taskflow_queues_limited ON taskflow_queues (name) WHERE is_limited;

-- When the next start of a queue, or of a host within it, would be on time.
CREATE TABLE taskflow_paces (
    key     text        PRIMARY KEY,
    next_at timestamptz NOT NULL
);
CREATE INDEX taskflow_paces_old ON taskflow_paces (next_at);

-- Hosts that failed again and again. Nothing goes to them for a while, then one task at a time.
CREATE TABLE taskflow_hosts (
    host       text        COLLATE "C" PRIMARY KEY,
    held_until timestamptz NOT NULL,
    -- How often they were held back, one time after the other.
    times      integer     NOT NULL CHECK (times >= 1),
    why        text        NOT NULL
);

-- By queue and host: who is next there, and which others there are.
CREATE INDEX taskflow_tasks_lanes
    ON taskflow_tasks (queue COLLATE "C", authority, priority DESC, run_at, id)
    WHERE status = 'PENDING';

-- Somebody's limits were changed, or somebody made room within them: whoever has idle workers looks.
CREATE FUNCTION taskflow_make_room(sender text) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_notify('taskflow_work', sender || ' room')
$$;
