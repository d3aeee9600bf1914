-- Sessions of the dashboard that were signed out of before they ended by themselves. Their cookies are
-- signed, and kept by browsers alone; nodes of the version before do not look here.

CREATE TABLE taskflow_ended_sessions (
    id           text        PRIMARY KEY,
    forgotten_at timestamptz NOT NULL
);
