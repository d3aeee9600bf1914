-- Saved views of the dashboard: named addresses of the list of tasks (model/views.py).

CREATE TABLE taskflow_views (
    name  text PRIMARY KEY,
    query text NOT NULL
);
