-- Topics: an event makes a task for each endpoint that matches its type. Attempts read their endpoint, and nodes
-- note when one begins to fail, and when it no longer does: so the triggers of tasks know nothing of endpoints.

CREATE TABLE taskflow_topics (
    -- Lists are sorted by the bytes of the name, whatever the collation of the database.
    name       text COLLATE "C" PRIMARY KEY,
    queue      text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE taskflow_endpoints (
    topic               text COLLATE "C" NOT NULL REFERENCES taskflow_topics (name) ON DELETE CASCADE,
    name                text COLLATE "C" NOT NULL,
    id                  uuid        NOT NULL UNIQUE,
    -- Patterns of event types: a type, a beginning such as invoice.*, or *.
    event_types         text[]      NOT NULL,
    -- Of its deliveries; NULL for the queue of the topic.
    queue               text,
    -- A delivery (NewTask). Its payload is an object without a body, possibly encrypted.
    template            json        NOT NULL,
    credential          text COLLATE "C",
    is_enabled          boolean     NOT NULL,
    disabled_reason     text,
    failing_since       timestamptz,
    -- Signing secrets, encrypted (model/endpoint_secrets.py).
    secret              bytea,
    former_secret       bytea,
    former_secret_until timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    PRIMARY KEY (topic, name)
);
CREATE INDEX taskflow_endpoints_credential ON taskflow_endpoints (credential, topic, name)
    WHERE credential IS NOT NULL;

-- Events, for requests that are repeated with their Idempotency-Key.
CREATE TABLE taskflow_topic_events (
    id         uuid        PRIMARY KEY,
    topic      text        NOT NULL,
    type       text        NOT NULL,
    created_at timestamptz NOT NULL,
    task_ids   uuid[]      NOT NULL
);
CREATE INDEX taskflow_topic_events_by_time ON taskflow_topic_events (created_at);

-- The deliveries of each endpoint. A table of its own: other tasks pay for no index.
CREATE TABLE taskflow_deliveries (
    endpoint_id uuid NOT NULL,
    task_id     uuid NOT NULL,
    PRIMARY KEY (endpoint_id, task_id)
);

CREATE FUNCTION taskflow_forget_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM taskflow_deliveries
    WHERE task_id = OLD.id
      AND endpoint_id = (taskflow_field(OLD.options, 'delivery')::json ->> 'endpoint_id')::uuid;
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;  -- of a row that no version wrote
END
$$;
-- Tasks without options pay for one condition.
CREATE TRIGGER taskflow_delivery_deleted AFTER DELETE ON taskflow_tasks FOR EACH ROW
    WHEN (OLD.options IS NOT NULL AND taskflow_field(OLD.options, 'delivery') IS NOT NULL)
    EXECUTE FUNCTION taskflow_forget_delivery();

CREATE FUNCTION taskflow_forget_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM taskflow_deliveries;
    DELETE FROM taskflow_topic_events;
    RETURN NULL;
END
$$;
CREATE TRIGGER taskflow_deliveries_emptied AFTER TRUNCATE ON taskflow_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION taskflow_forget_deliveries();
