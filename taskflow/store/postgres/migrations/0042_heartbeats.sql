-- Heartbeats: jobs elsewhere ping, and a ping that is missed is noticed (model/heartbeat_states.py).

CREATE TABLE taskflow_heartbeat_monitors (
    name                  text COLLATE "C" PRIMARY KEY,
    -- Of its ping URL.
    ping_id               uuid        NOT NULL,
    description           text        NOT NULL,
    every_seconds         float8,
    cron                  text,
    timezone              text        NOT NULL,
    grace_seconds         float8      NOT NULL,
    max_run_seconds       float8,
    paused                boolean     NOT NULL,
    -- "new", "up" or "down"; the other states follow from the time.
    state                 text        NOT NULL,
    state_since           timestamptz NOT NULL,
    expected_at           timestamptz,
    started_at            timestamptz,
    last_ping_at          timestamptz,
    last_signal           text,
    last_exit_code        integer,
    last_duration_seconds float8,
    ping_count            bigint      NOT NULL,
    transition_count      bigint      NOT NULL,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    -- The deadline; NULL if it has none.
    next_check_at         timestamptz
);
CREATE UNIQUE INDEX taskflow_heartbeat_monitors_by_ping_id ON taskflow_heartbeat_monitors (ping_id);
CREATE INDEX taskflow_heartbeat_monitors_due ON taskflow_heartbeat_monitors (next_check_at)
    WHERE next_check_at IS NOT NULL;
-- Each ping updates a row.
ALTER TABLE taskflow_heartbeat_monitors SET (fillfactor = 70);

-- The last ones of each heartbeat. They are written and deleted by the holder of its row.
CREATE TABLE taskflow_heartbeat_pings (
    id               uuid        PRIMARY KEY,
    monitor          text COLLATE "C" NOT NULL,
    number           bigint      NOT NULL,
    at               timestamptz NOT NULL,
    signal           text        NOT NULL,
    exit_code        integer,
    duration_seconds float8,
    address          text,
    -- Possibly encrypted.
    note             bytea
);
CREATE UNIQUE INDEX taskflow_heartbeat_pings_by_number ON taskflow_heartbeat_pings (monitor, number);

CREATE TABLE taskflow_heartbeat_transitions (
    monitor text COLLATE "C" NOT NULL,
    number  bigint      NOT NULL,
    at      timestamptz NOT NULL,
    state   text        NOT NULL,
    reason  text        NOT NULL,
    PRIMARY KEY (monitor, number)
);
CREATE INDEX taskflow_heartbeat_transitions_by_time ON taskflow_heartbeat_transitions (at);

-- When a node last checked for missed pings: one row. The node that holds it checks.
CREATE TABLE taskflow_heartbeat_watch (
    id         integer     PRIMARY KEY,
    checked_at timestamptz NOT NULL
);
INSERT INTO taskflow_heartbeat_watch (id, checked_at) VALUES (1, now());

-- Times without a check: pings may be lost.
CREATE TABLE taskflow_heartbeat_outages (
    began  timestamptz PRIMARY KEY,
    ended  timestamptz NOT NULL
);
