"""Rows that no version of TaskFlow writes, but that its schema permits.

A trigger, a restore, another version or a hand-written INSERT may leave them. They are made from
``information_schema``: for each column of each table all that is hostile to its type.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Final

import psycopg

from taskflow.model.completion import PARKED_NODE

Row = dict[str, str | None]

# No server listens here.
NOWHERE: Final = "http://127.0.0.1:9/"
_TEXTS: Final = (
    *("", " ", "nonsense", '"\\<script>{{1}}%s', "\x01\x7f\n\r\t\u2028\u202e\ufffe", "\U0001f600"),
    *("../a/b?c#d%00", "x" * 9_000, "null", "2**64", "COMPLETED", "default"),
)
_JSON: Final = (
    *("null", "true", "5", "1e400", "-0.0", '""', '"text"', "[]", "[null]", "{}", '{"a":{"b":[]}}'),
    *(r'"\ud800"', r'"\u0000"', r'{"\u0000":"\u0000"}', r'{"a":"\ud800"}', r'{"\udfff":1}'),
    *("[" * 1500 + "]" * 1500, '{"a":' * 1500 + "1" + "}" * 1500, '{"a":1,"a":"b"}', '["","x"]'),
    *(' { "a" : 1e400 } ', '{"a":123456789012345678901234567890}', '{"":0}'),
)
HOSTILE: Final[Mapping[str, tuple[str, ...]]] = {
    "timestamp with time zone": (
        *("infinity", "-infinity", "0044-03-15 00:00 BC", "4713-01-01 00:00 BC"),
        *(
            "294276-12-31 23:59:59.999999",
            "10000-01-01",
            "0001-01-01",
            "9999-12-31 23:59:59.999999",
        ),
        "1969-12-31",
    ),
    "text": _TEXTS,
    "smallint": ("-32768", "-1", "0", "32767"),
    "integer": ("-2147483648", "-1", "0", "2147483647"),
    "bigint": ("-9223372036854775808", "-1", "0", "9223372036854775807"),
    "double precision": ("NaN", "Infinity", "-Infinity", "-1", "0", "1e308", "5e-324"),
    "json": _JSON,
    "uuid": (str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1)), str(uuid.uuid4())),
    "ARRAY": ("{}", "{NULL}", f"{{{uuid.UUID(int=0)}}}", f"{{{{{uuid.UUID(int=0)},NULL}}}}"),
    "boolean": ("true", "false"),
    "bytea": ("", "\\x00", "\\x" + "ff" * 5000),
}
_OPTIONS: Final = (
    {"backoff": "soon"},
    {"backoff": [-1]},
    {"backoff": {"factor": 0}},
    {"retry_on": [9999]},
    {"success_on": 5},
    {"sign": "yes"},
    {"credential": 5},
    {"unique": 5},
    {"unique": {"key": 5}},
    {"unique": {"key": "\0", "while": ["nonsense"]}},
    {"debounce": {"key": "a"}},
    {"debounce": {"key": "\ud800", "delay_seconds": -1}},
    {"callback_url": 5},
    {"callback_url": {"a": []}},
    {"callback_url": NOWHERE, "callback_host": 7},
    {"callback_url": NOWHERE, "callback_authority": []},
    {"callback_url": NOWHERE, "traceparent": [[]]},
    {"callback_url": NOWHERE, "tracestate": "\0"},
    {"callback_url": NOWHERE, "backoff": "\0"},
    {"callback_url": NOWHERE, "backoff": "\ud800"},
    {"callback_url": "\ud800"},
    {"callback_of": "unknown"},
    {"traceparent": "\n"},
    {"traceparent": 5},
    {"schedule": 5},
    {"scheduled_at": "infinity"},
    {"if_none_match": "\r\n\r\n"},
    {"if_modified_since": {}},
    {"timeout": "of another version"},
)
_PAYLOADS: Final = (
    {"url": 5},
    {"url": None},
    {"url": "\ud800"},
    {"url": NOWHERE, "headers": 5},
    {"url": NOWHERE, "headers": ["a"]},
    {"url": NOWHERE, "headers": {"a": 5, "b": [], "c": "\ud800", "\n": "\n"}},
    {"url": NOWHERE, "body": "\ud800"},
    {"url": NOWHERE, "body": {"base64": "%"}},
    {"url": NOWHERE, "body": {"base64": 5}},
    {"url": NOWHERE, "method": 5},
    {"url": NOWHERE, "method": [{}]},
    {"url": NOWHERE, "timeout": "1"},
    {"body": 1},
)
_RESULTS: Final = (
    {"result": {}, "status_code": "x", "headers": []},
    {"result": "", "encoding": "base64", "headers": {"a": 5}, "content_type": 5},
    {"message": "fetched", "result": "%", "status": "200 OK", "status_code": 200, "headers": {},
     "content_type": "\n", "encoding": "base64", "url": "", "elapsed_ms": 1, "size": 1},
    {"message": "fetched", "result": 5, "status": "200 OK", "status_code": 200, "headers": {},
     "content_type": None, "encoding": "text", "url": "", "elapsed_seconds": -1, "size": -1},
    {"message": "fetched", "result": "\ud800", "status": 5, "status_code": 200,
     "headers": {"etag": "\ud800"}, "content_type": None, "encoding": "text", "url": 1,
     "elapsed_seconds": 1, "size": 10**30},
)  # fmt: skip
_TAGS: Final = ({"a": [1]}, {"a": None}, {"a": 1.5}, {"a": 2**70}, {"no name!": "\ud800"}, [1])
_SETTINGS: Final = (
    {"rate": 5},
    {"rate": {"per_second": 0}},
    {"rate": {"per_second": 1, "burst": "x"}},
    {"max_concurrency": "many"},
    {"max_concurrency": -1},
    {"paused": "yes"},
    {"paused": 1, "per_host": []},
    {"sign": 1, "rate": None},
    {"per_host": {"rate": {"per_second": -1}}},
)
_TEMPLATE: Final = {"payload": "no url"}


def _definition(**changed: object) -> dict[str, object]:
    timing = {"cron": "* * * * *"}
    return {"name": "odd", "timing": timing, "task": _TEMPLATE, "template": _TEMPLATE, **changed}


_DEFINITIONS: Final = (
    _definition(timing={"cron": "x"}),
    _definition(timing={"cron": ""}),
    _definition(timing={"cron": "0 0 30 2 *"}),
    _definition(timing={"cron": 5}),
    _definition(timing={}),
    _definition(timing={"every": 0}),
    _definition(timing={"every": -5}),
    _definition(timing={"every": 1e-9}),
    _definition(timing={"every": 1e300}),
    _definition(timing={"every": 60, "start_at": "infinity"}),
    _definition(timing={"cron": "* * * * *", "timezone": "Nowhere/Else"}),
    _definition(timing={"cron": "* * * * *", "timezone": "\0"}),
    _definition(timing={"cron": "* * * * *", "timezone": ""}),
    _definition(timing={"cron": "* * * * *", "timezone": "/etc/passwd"}),
    _definition(missed="never"),
    _definition(conditional="yes"),
    _definition(template={}),
    _definition(template=5),
    _definition(template={"payload": "\ud800"}),
    _definition(template={"payload": "\0"}),
    _definition(template={"payload": "x", "queue": "\0"}),
    _definition(template={"payload": "x", "priority": 2**40}),
    _definition(template={"payload": "x", "priority": 101}),
    _definition(template={"payload": "x", "max_attempts": 0}),
    _definition(template={"payload": "x", "delay_seconds": 1e300}),
    _definition(template={"payload": "x", "retention_seconds": -1}),
    _definition(template={"payload": "x", "tags": {"a": "\0"}}),
    _definition(template={"payload": "x", "host": "\0"}),
    _definition(template={"payload": "x", "options": {"callback_url": "\0"}}),
    _definition(name=5),
    _definition(name="other"),
)
_TEMPLATES: Final = (
    {"payload": "text"},
    {"payload": {"url": 5}},
    {"payload": {"url": NOWHERE, "headers": {"a": 5}}},
    {"payload": {"url": NOWHERE, "headers": {"\ud800": "\ud800"}}},
    {"payload": {"$encrypted": "AQAA"}},
    {"payload": {"url": NOWHERE}, "options": {"backoff": "soon"}},
    {"payload": {"url": NOWHERE}, "options": 5},
    {"payload": {"url": NOWHERE}, "max_attempts": -5},
)
KNOWN_GROUP: Final = str(uuid.UUID(int=7 << 76 | 2 << 62 | 8))
_COMPLETION: Final = {
    "payload": '{"url":"no url","method":"POST"}', "queue": "default", "priority": 0,
    "delay_seconds": 0.0, "max_attempts": 1, "authority": "",
}  # fmt: skip
_COMPLETIONS: Final = (
    *({"payload": text} for text in ("null", "{}", '"x"', '{"url":5}', r'{"url":"\u0000"}')),
    *({"queue": queue} for queue in ("", "x" * 9000, None)),
    {"priority": 10**6},
    {"delay_seconds": 1e300},
    {"max_attempts": -1},
    {"tags": [1]},
    {"tags": {"a": None}},
    {"options": 5},
    {"options": [1]},
    {"options": {"retry_on": "never"}},
)
_MORE: Final[Mapping[tuple[str, str], tuple[object, ...]]] = {
    ("taskflow_groups", "completion"): tuple(_COMPLETION | one for one in _COMPLETIONS),
    ("taskflow_groups", "tags"): _TAGS,
    ("taskflow_tasks", "options"): _OPTIONS,
    ("taskflow_tasks", "payload"): _PAYLOADS,
    ("taskflow_tasks", "result"): _RESULTS,
    ("taskflow_tasks", "tags"): _TAGS,
    ("taskflow_events", "tags"): _TAGS,
    ("taskflow_queues", "settings"): _SETTINGS,
    ("taskflow_schedules", "definition"): _DEFINITIONS,
    ("taskflow_endpoints", "template"): _TEMPLATES,
    ("taskflow_parked", "poll_url"): ({"$encrypted": "AQAA"}, {"$encrypted": 5}),
}
_RESULT: Final = {
    "message": "fetched", "result": "x", "status": "200 OK", "status_code": 200,
    "headers": {"etag": '"1"'}, "content_type": "text/plain", "encoding": "text", "url": NOWHERE,
    "elapsed_seconds": 1.0, "size": 1,
}  # fmt: skip
_HELD: Final = {
    "status": "RUNNING", "attempt": "1", "node": "gone", "started_at": "now",
    "node_id": str(uuid.UUID(int=1)), "claim_token": str(uuid.UUID(int=2)),
}  # fmt: skip
_ENDED: Final = {"attempt": "1", "node": "gone", "started_at": "now", "finished_at": "now"}
_TASK: Final = {"payload": '"no url"', "size_bytes": "8"}
_TOLD: Final = {"options": json.dumps({"callback_url": NOWHERE, "callback_host": "127.0.0.1"})}
_PAST: Final = "2000-01-01"
# A task that is COMPLETED, for rows that belong to a task.
KNOWN: Final = str(uuid.UUID(int=7 << 76 | 2 << 62 | 7))
_FAILED: Final = {**_ENDED, "status": "FAILED", "error": "odd", "error_type": "http_status"}
_MONITOR: Final = {
    "name": "odd", "ping_id": str(uuid.UUID(int=5)), "description": "", "timezone": "UTC",
    "grace_seconds": "60", "paused": "false", "state": "new", "state_since": "now",
    "ping_count": "0", "transition_count": "0", "created_at": "now", "updated_at": "now",
}  # fmt: skip
# What stands beside a hostile value: rows of every kind that there is.
GOOD: Final[Mapping[str, tuple[Row, ...]]] = {
    "taskflow_tasks": (
        _TASK,
        {**_TASK, "run_at": "2100-01-01"},
        {**_TASK, "max_attempts": "3", "tags": '{"a":"b"}'},
        {**_TASK, **_TOLD},
        {**_TASK, **_TOLD, "expires_at": _PAST},
        {**_TASK, **_TOLD, **_HELD},
        {**_TASK, **_HELD},
        {**_TASK, **_HELD, "rescues": "4"},
        {**_TASK, **_ENDED, "status": "COMPLETED", "result": json.dumps(_RESULT),
         "elapsed_ms": "1", "status_code": "200"},
        {**_TASK, **_FAILED},
        {**_TASK, **_FAILED, "retention_seconds": "5"},
        {**_TASK, "status": "CANCELED", "finished_at": "now"},
        {**_TASK, **_TOLD, **_HELD, "node_id": str(uuid.UUID(int=2**128 - 1))},
    ),
    "taskflow_attempts": (
        {"task_id": KNOWN, "number": "1", "status": "INTERRUPTED", "started_at": "now",
         "finished_at": "now"},
        {"task_id": KNOWN, "number": "1", "status": "FAILED", "started_at": "now",
         "finished_at": "now", "error": "odd", "error_type": "timeout"},
    ),
    "taskflow_tags": ({"name": "a", "value": "b", "task_id": KNOWN},),
    "taskflow_idempotency_keys": (
        {"key": "k", "fingerprint": "\\x00", "task_ids": f"{{{KNOWN}}}",
         "expires_at": "2100-01-01"},
        {"key": "old", "fingerprint": "\\x00", "task_ids": f"{{{KNOWN}}}", "expires_at": _PAST},
    ),
    "taskflow_events": (
        {"task_id": KNOWN, "status": "FAILED", "queue": "default", "attempt": "1"},
        {"task_id": KNOWN, "status": "FAILED", "queue": "default", "attempt": "1",
         "error": "odd", "error_type": "timeout", "tags": '{"a":"b"}'},
    ),
    "taskflow_changes": ({"queue": "default", "status": "COMPLETED", "change": "1"},),
    "taskflow_counts": ({"queue": "odd", "status": "COMPLETED", "count": "1"},),
    "taskflow_endings": (
        {"minute": "now", "queue": "odd", "status": "COMPLETED", "count": "1"},
    ),
    "taskflow_rollups": (
        {"period_seconds": "60", "at": "now", "queue": "odd", "host": "", "completed": "1",
         "failed": "1", "canceled": "1", "wait_buckets": "{3}", "wait_counts": "{1}",
         "run_buckets": "{3}", "run_counts": "{1}", "backlog": "1"},
        {"period_seconds": "3600", "at": "now", "queue": "", "host": "", "completed": "1",
         "failed": "1", "canceled": "1", "wait_buckets": "{3}", "wait_counts": "{1}",
         "run_buckets": "{3}", "run_counts": "{1}", "backlog": "1"},
    ),
    "taskflow_failures": (
        {"id": str(uuid.UUID(int=9)), "queue": "odd", "host": "", "error_type": "timeout",
         "status_code": "500", "message": "odd", "failing": "1", "occurrences": "1",
         "first_at": "now", "last_at": "now", "hours": "{1}", "per_hour": "{1}"},
    ),
    "taskflow_failed_tasks": ({"task_id": KNOWN, "failure_id": str(uuid.UUID(int=9))},),
    "taskflow_queues": (
        {"name": "odd", "settings": '{"max_concurrency":1}', "paused": "false",
         "is_limited": "true"},
        {"name": "default", "settings": '{"max_concurrency":50}', "paused": "false",
         "is_limited": "true"},
    ),
    "taskflow_credentials": (
        {"name": "odd", "kind": "bearer", "hosts": "{a.example}", "sealed": "\\x00"},
        {"name": "known", "kind": "bearer", "hosts": "{a.example}", "sealed": "\\x00",
         "last_used_at": "now"},
    ),
    "taskflow_ended_sessions": ({"id": "odd", "forgotten_at": "2100-01-01"},),
    "taskflow_paces": ({"key": "odd", "next_at": "2100-01-01"},),
    "taskflow_hosts": (
        {"host": "odd.example", "held_until": "2100-01-01", "times": "1", "why": "odd",
         "opened_at": "now"},
    ),
    "taskflow_schedules": (
        {"name": "odd", "definition": json.dumps(_definition()), "size_bytes": "9",
         "anchor_at": "now", "next_at": _PAST, "created_at": "now", "updated_at": "now"},
        {"name": "odd", "definition": json.dumps(_definition(conditional=True)),
         "size_bytes": "9", "anchor_at": "now", "next_at": _PAST, "created_at": "now",
         "updated_at": "now", "last_task_id": KNOWN, "compared": f"{{{KNOWN}}}"},
        {"name": "odd", "definition": json.dumps(_definition(overlap="cancel_previous")),
         "size_bytes": "9", "anchor_at": "now", "next_at": _PAST, "created_at": "now",
         "updated_at": "now", "overlap": "cancel_previous", "last_skipped_at": "now"},
        {"name": "odd", "definition": json.dumps(
            _definition(timing={"every": 3600.0}, missed="all")), "size_bytes": "9",
         "anchor_at": _PAST, "next_at": "2026-01-01", "created_at": "now", "updated_at": "now"},
    ),
    "taskflow_schedule_tasks": ({"schedule": "known", "task_id": KNOWN},),
    "taskflow_topics": ({"name": "odd", "queue": "default"},),
    "taskflow_endpoints": (
        {"topic": "known", "name": "odd", "id": str(uuid.UUID(int=5)), "event_types": "{*}",
         "template": json.dumps({"payload": {"url": NOWHERE}}), "is_enabled": "true",
         "created_at": "now", "updated_at": "now"},
        {"topic": "known", "name": "odd", "id": str(uuid.UUID(int=5)), "event_types": "{a.*}",
         "template": json.dumps({"payload": {"url": NOWHERE}}), "is_enabled": "false",
         "created_at": "now", "updated_at": "now", "secret": "\\x00", "former_secret": "\\x00",
         "former_secret_until": "2100-01-01", "failing_since": "now", "credential": "odd",
         "disabled_reason": "odd", "queue": "odd"},
    ),
    "taskflow_topic_events": (
        {"id": str(uuid.UUID(int=6)), "topic": "known", "type": "a", "created_at": "now",
         "task_ids": f"{{{KNOWN}}}"},
    ),
    "taskflow_deliveries": ({"endpoint_id": str(uuid.UUID(int=5)), "task_id": KNOWN},),
    "taskflow_schedule_runs": (
        {"schedule": "known", "at": "now", "kind": "scheduled", "task_id": KNOWN},
        {"schedule": "known", "at": "now", "kind": "missed", "count": "3"},
    ),
    "taskflow_firings": ({"schedule": "known", "at": "now", "task_id": KNOWN},),
    "taskflow_groups": (
        {"queue": "odd", "status": "CLOSED"},
        {"queue": "odd", "status": "CLOSED", "on_failure": "cancel_rest", "tags": '{"a":"b"}',
         "name": "odd", "on_complete": "{}", "completion": json.dumps(_COMPLETION)},
        {"queue": "odd", "status": "COMPLETED", "finished_at": "now", "completions": "1",
         "completion_task_id": KNOWN},
        {"queue": "odd", "cancel_state": "pending"},
    ),
    "taskflow_group_members": (
        {"group_id": KNOWN_GROUP, "task_id": KNOWN},
        {"group_id": KNOWN_GROUP, "task_id": KNOWN, "state": "FAILED"},
    ),
    "taskflow_group_changes": (
        {"group_id": KNOWN_GROUP, "status": "COMPLETED", "change": "1"},
    ),
    "taskflow_group_counts": (
        {"group_id": KNOWN_GROUP, "status": "COMPLETED", "count": "1"},
    ),
    "taskflow_parked": (
        {"task_id": str(uuid.UUID(int=5)), "token": str(uuid.UUID(int=2)), "queue": "odd",
         "due_at": _PAST, "overdue_at": _PAST},
        {"task_id": str(uuid.UUID(int=5)), "token": str(uuid.UUID(int=2)), "queue": "odd",
         "due_at": _PAST, "overdue_at": "2100-01-01", "poll_url": NOWHERE},
    ),
    "taskflow_heartbeat_monitors": (
        {**_MONITOR, "every_seconds": "60"},
        {**_MONITOR, "cron": "* * * * *", "state": "up", "expected_at": _PAST,
         "last_ping_at": _PAST, "last_signal": "success", "next_check_at": _PAST,
         "max_run_seconds": "5"},
        {**_MONITOR, "cron": "* * * * *", "state": "up", "expected_at": _PAST, "started_at": _PAST,
         "next_check_at": _PAST, "last_duration_seconds": "1", "last_exit_code": "0"},
        {**_MONITOR, "every_seconds": "60", "state": "down", "paused": "true"},
    ),
    "taskflow_heartbeat_pings": (
        {"id": str(uuid.UUID(int=5)), "monitor": "known", "number": "1", "at": "now",
         "signal": "success", "note": "\\x00"},
        {"id": str(uuid.UUID(int=5)), "monitor": "known", "number": "1", "at": "now",
         "signal": "fail", "exit_code": "1", "duration_seconds": "1", "address": "odd"},
    ),
    "taskflow_heartbeat_transitions": (
        {"monitor": "known", "number": "99", "at": "now", "state": "down", "reason": "missed"},
    ),
    "taskflow_heartbeat_watch": ({"id": "1", "checked_at": "now"},),
    "taskflow_heartbeat_outages": ({"began": _PAST, "ended": "now"},),
    "taskflow_nodes": (
        {"id": str(uuid.UUID(int=3)), "name": "odd", "lease_seconds": "5", "expires_at": _PAST},
        {"id": str(uuid.UUID(int=4)), "name": "odd", "lease_seconds": "5",
         "expires_at": "2100-01-01", "version": "9.9", "workers": "1", "settings": '{"A":"1"}'},
    ),
}  # fmt: skip
# Settings of TaskFlow itself, rather than data: operators must not change them.
_NOT_DATA: Final = ("taskflow_migrations", "taskflow_secrets", "taskflow_event_log")
# Tables whose rows need names of their own.
_NAMED: Final = (
    "taskflow_queues",
    "taskflow_schedules",
    "taskflow_topics",
    "taskflow_endpoints",
    "taskflow_heartbeat_monitors",
)
# What makes a row another row, or what a server counts by itself.
_KEYS: Final = (("taskflow_tasks", "id"), ("taskflow_events", "id"), ("taskflow_attempts", "id"))


def columns(connection: psycopg.Connection) -> Iterator[tuple[str, str, str]]:
    """Each column of each table, and its type."""
    return iter(
        connection.execute(
            """
            SELECT table_name, column_name, data_type FROM information_schema.columns
            JOIN information_schema.tables USING (table_schema, table_name)
            WHERE table_name LIKE 'taskflow%' AND table_type = 'BASE TABLE'
            ORDER BY table_name, ordinal_position
            """
        ).fetchall()
    )


def is_data(table: str, column: str) -> bool:
    """Return whether users, programs or triggers may write to this column."""
    return table not in _NOT_DATA and (table, column) not in _KEYS


def values(table: str, column: str, kind: str) -> list[str | None]:
    """All that is hostile to a column."""
    more = [json.dumps(value) for value in _MORE.get((table, column), ())]
    # Parked tasks that nothing is known of end within minutes: tests/store/test_parking.py.
    left_out = {str(PARKED_NODE)} if (table, column) == ("taskflow_tasks", "node_id") else set()
    return [None, *(value for value in HOSTILE[kind] if value not in left_out), *more]


def insert_all(
    connection: psycopg.Connection, table: str, column: str, kind: str, part: slice = slice(None)
) -> int:
    """Put in all hostile rows that the schema permits, or a part, and return how many it does."""
    rows = [
        {**good, column: value} for good in GOOD[table] for value in values(table, column, kind)
    ]
    statements = [_statement(table, row) for row in rows[part]]
    connection.execute(_INSERT_EACH)
    [(count,)] = connection.execute("SELECT pg_temp.insert_each(%s)", [statements]).fetchall()
    return count


def _statement(table: str, row: Row) -> str:
    id_column = {
        "taskflow_endpoints": "id",
        "taskflow_parked": "task_id",
        "taskflow_heartbeat_pings": "id",
        "taskflow_heartbeat_monitors": "ping_id",
    }.get(table)
    if id_column is not None and row.get(id_column) == str(uuid.UUID(int=5)):
        row = {**row, id_column: str(uuid.uuid4())}
    if table in _NAMED and row.get("name") == "odd":
        row = {**row, "name": f"odd-{uuid.uuid4()}"}
    places = (_literal(value) for value in row.values())
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(places)})"


def _literal(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


# One round trip for all of them: each alone takes three.
_INSERT_EACH: Final = """
CREATE OR REPLACE FUNCTION pg_temp.insert_each(statements text[]) RETURNS integer
    LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    inserted integer := 0;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            EXECUTE statement;
            inserted := inserted + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    RETURN inserted;
END $$
"""
