-- Alerts: an evaluation writes the state of an alert and the tasks that notify it in one transaction.

CREATE TABLE taskflow_alerts (
    -- Lists are sorted by the bytes of the name, whatever the collation of the database.
    name           text COLLATE "C" PRIMARY KEY,
    -- What a client said about it (AlertDefinition); URLs of chats are encrypted.
    definition     json        NOT NULL,
    -- What evaluations found (AlertState).
    state          json        NOT NULL,
    is_paused      boolean     NOT NULL,
    silenced_until timestamptz,
    -- Incremented by each evaluation that begins and each change: an evaluation with an earlier one writes nothing.
    revision       bigint      NOT NULL,
    -- When it is to be evaluated.
    due_at         timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);
ALTER TABLE taskflow_alerts SET (fillfactor = 50);

CREATE TABLE taskflow_alert_notifications (
    alert    text COLLATE "C" NOT NULL REFERENCES taskflow_alerts (name) ON DELETE CASCADE,
    id       uuid        NOT NULL,
    at       timestamptz NOT NULL,
    kind     text        NOT NULL,
    title    text        NOT NULL,
    task_ids uuid[]      NOT NULL,
    PRIMARY KEY (alert, id)
);
