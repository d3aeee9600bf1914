-- The keys that sign ID tokens. Private keys are stored only encrypted (model/key_generation.py).

CREATE TABLE taskflow_signing_keys (
    number   integer     PRIMARY KEY,
    public   text        NOT NULL,
    sealed   bytea       NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
