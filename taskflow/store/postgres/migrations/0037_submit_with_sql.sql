-- Submission of tasks with SQL: taskflow_enqueue() and taskflow_enqueue_many(), for triggers, psql and programs in any
-- language, in their own transactions. In a schema named taskflow they are also taskflow.enqueue() and
-- taskflow.enqueue_many().
--
-- A task is validated by the rules of the API. `python -m tools.sql_submission` writes what is between "generated" and
-- "end" from the declarations in Python and the statement `add`; if these change, it writes the functions of that part
-- into a later migration. tests/store/test_sql_submission.py compares the two.
--
-- An error has the SQLSTATE TF and the status of the HTTP API: TF400, TF409, TF410, TF413 or TF422. Its detail is JSON: the type
-- of the problem, and all errors with their places, as the API has them.
--
-- The functions are SECURITY DEFINER. What they call, in particular the triggers, runs with their search_path and their
-- settings, so nothing that the caller sets or creates decides what is executed.
--
-- An overload in the schema of the tables can be a better match than a function or an operator of pg_catalog, although
-- that is earlier in the search_path. So the functions first call taskflow_check_schema(), which refuses to continue if
-- other roles may create such an overload, or have one there. Nothing may be evaluated before it.

-- generated: rules
CREATE FUNCTION taskflow_submission_rules() RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $rules$
SELECT '{
 "task": {
  "names": ["payload", "max_attempts", "priority", "queue", "run_at", "delay_seconds", "expires_at", "backoff", "retry_on", "success_on", "sign", "credential", "unique", "debounce", "tags", "completion", "callback_url", "retention_seconds", "order_key", "on_failure", "group", "name", "after", "on_parent_failure"],
  "elsewhere": {
   "body": "body goes inside payload",
   "cron": "cron is for PUT /schedules/NAME, beside a task",
   "every_seconds": "every_seconds is for PUT /schedules/NAME, beside a task",
   "follow_redirects": "follow_redirects goes inside payload",
   "headers": "headers goes inside payload",
   "method": "method goes inside payload",
   "timeout_seconds": "timeout_seconds goes inside payload",
   "timezone": "timezone is for PUT /schedules/NAME, beside a task",
   "url": "url goes inside payload"
  },
  "ignored": ["attempt", "callback_id", "callback_of", "completion_of", "created_at", "debounced", "delivery", "error", "error_type", "existing", "finished_at", "held", "id", "rescues", "result", "schedule", "scheduled_at", "started_at", "status", "waiting_for"],
  "required": ["payload"],
  "fields": {
   "payload": {"kinds": [{"kind": "any"}], "expected": "an object", "is_any": true},
   "max_attempts": {
    "kinds": [{"kind": "integer", "min": 1, "max": 100}],
    "expected": "a whole number from 1 to 100",
    "is_whole": true
   },
   "priority": {
    "kinds": [{"kind": "integer", "min": -100, "max": 100}],
    "expected": "a whole number from -100 to 100",
    "is_whole": true
   },
   "queue": {
    "kinds": [{"kind": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\\u000a)", "max": 64}],
    "expected": "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
   },
   "run_at": {
    "kinds": [{"kind": "moment"}, {"kind": "null"}],
    "expected": "a date and time with a zone, such as 2026-11-24T06:57:50Z"
   },
   "delay_seconds": {
    "kinds": [{"kind": "number", "min": 0, "max": 31622400}, {"kind": "null"}],
    "expected": "a number of seconds from 0 to 31622400"
   },
   "expires_at": {
    "kinds": [{"kind": "moment"}, {"kind": "null"}],
    "expected": "a date and time with a zone, such as 2026-11-24T06:57:50Z"
   },
   "backoff": {
    "kinds": [{"kind": "object", "required": [], "fields": {"initial_seconds": [{"kind": "number", "min": 0, "max": 86400}, {"kind": "null"}], "factor": [{"kind": "number", "min": 1, "max": 100}], "max_seconds": [{"kind": "number", "min": 0, "max": 86400}, {"kind": "null"}]}}, {"kind": "array", "min": 1, "max": 100, "items": [{"kind": "number", "min": 0, "max": 86400}]}, {"kind": "one_of", "values": ["webhook"]}, {"kind": "null"}],
    "expected": "an object of initial_seconds, factor and max_seconds, a list of 1 to 100 waits, or webhook; waits are seconds up to 86400, factor is 1 to 100",
    "parts": ["object", "array"],
    "names": ["initial_seconds", "factor", "max_seconds"]
   },
   "retry_on": {
    "kinds": [{"kind": "array", "max": 50, "items": [{"kind": "integer", "min": 100, "max": 999}, {"kind": "string", "pattern": "^[1-9]xx$(?!\\u000a)"}]}, {"kind": "null"}],
    "expected": "a list of up to 50 statuses, such as 503 or \"5xx\"",
    "parts": ["array"]
   },
   "success_on": {
    "kinds": [{"kind": "array", "max": 50, "items": [{"kind": "integer", "min": 100, "max": 999}, {"kind": "string", "pattern": "^[1-9]xx$(?!\\u000a)"}]}, {"kind": "null"}],
    "expected": "a list of up to 50 statuses, such as 503 or \"5xx\"",
    "parts": ["array"]
   },
   "sign": {"kinds": [{"kind": "boolean"}, {"kind": "null"}], "expected": "true or false"},
   "credential": {
    "kinds": [{"kind": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\\u000a)", "max": 64}, {"kind": "null"}],
    "expected": "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
   },
   "unique": {
    "kinds": [{"kind": "object", "required": ["key"], "fields": {"key": [{"kind": "string", "pattern": "^[^\\u0001-\\u001f\\u007f]+$(?!\\u000a)", "min": 1, "max": 255}], "while": [{"kind": "array", "min": 1, "max": 5, "items": [{"kind": "one_of", "values": ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELED"]}]}], "on_conflict": [{"kind": "one_of", "values": ["return", "replace", "reject"]}]}}, {"kind": "null"}],
    "expected": "an object of key, while and on_conflict",
    "names": ["key", "while", "on_conflict"]
   },
   "debounce": {
    "kinds": [{"kind": "object", "required": ["key", "delay_seconds"], "fields": {"key": [{"kind": "string", "pattern": "^[^\\u0001-\\u001f\\u007f]+$(?!\\u000a)", "min": 1, "max": 255}], "delay_seconds": [{"kind": "number", "min": 0.001, "max": 31622400}], "max_wait_seconds": [{"kind": "number", "min": 0.001, "max": 31622400}, {"kind": "null"}]}}, {"kind": "null"}],
    "expected": "an object of key, delay_seconds and max_wait_seconds",
    "names": ["key", "delay_seconds", "max_wait_seconds"]
   },
   "tags": {
    "kinds": [{"kind": "members", "max": 16, "names": [{"kind": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\\u000a)", "max": 64}], "values": [{"kind": "string", "pattern": "^[^\\u0001-\\u001f\\u007f]*$(?!\\u000a)", "max": 256}, {"kind": "integer", "min": -9007199254740991, "max": 9007199254740991}, {"kind": "boolean"}]}, {"kind": "null"}],
    "expected": "an object of up to 16 names (as for queues) with text of up to 256 characters, whole numbers, true or false",
    "parts": ["object"]
   },
   "completion": {
    "kinds": [{"kind": "object", "required": ["mode", "within_seconds"], "fields": {"mode": [{"kind": "one_of", "values": ["callback", "poll"]}], "within_seconds": [{"kind": "number", "min": 1, "max": 31622400}]}}, {"kind": "null"}],
    "expected": "an object of mode and within_seconds",
    "names": ["mode", "within_seconds"]
   },
   "callback_url": {
    "kinds": [{"kind": "string", "pattern": "^https?://[!-~]+$(?!\\u000a)", "min": 8, "max": 8192}, {"kind": "null"}],
    "expected": "an http or https URL of printable ASCII"
   },
   "retention_seconds": {
    "kinds": [{"kind": "number", "min": 0, "max": 315576000}, {"kind": "null"}],
    "expected": "a number of seconds from 0 to 315576000"
   },
   "order_key": {
    "kinds": [{"kind": "string", "pattern": "^[^\\u0001-\\u001f\\u007f]+$(?!\\u000a)", "min": 1, "max": 255}, {"kind": "null"}],
    "expected": "text of 1 to 255 characters, none of them control characters"
   },
   "on_failure": {
    "kinds": [{"kind": "one_of", "values": ["continue", "hold"]}, {"kind": "null"}],
    "expected": "one of continue, hold"
   },
   "group": {"kinds": [{"kind": "uuid"}, {"kind": "null"}], "expected": "the id of a group, a UUID"},
   "name": {
    "kinds": [{"kind": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\\u000a)", "max": 64}, {"kind": "null"}],
    "expected": "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
   },
   "after": {
    "kinds": [{"kind": "array", "max": 100, "items": [{"kind": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\\u000a)", "max": 64}]}, {"kind": "null"}],
    "expected": "a list of up to 100 ids of tasks, or names of tasks of the same array",
    "parts": ["array"]
   },
   "on_parent_failure": {
    "kinds": [{"kind": "one_of", "values": ["cancel", "run", "fail"]}, {"kind": "null"}],
    "expected": "one of cancel, run, fail"
   }
  }
 },
 "payload": {
  "names": ["url", "method", "headers", "body", "timeout_seconds", "follow_redirects"],
  "elsewhere": {
   "after": "after goes beside payload, not inside it",
   "backoff": "backoff goes beside payload, not inside it",
   "callback_url": "callback_url goes beside payload, not inside it",
   "completion": "completion goes beside payload, not inside it",
   "credential": "credential goes beside payload, not inside it",
   "debounce": "debounce goes beside payload, not inside it",
   "delay_seconds": "delay_seconds goes beside payload, not inside it",
   "expires_at": "expires_at goes beside payload, not inside it",
   "group": "group goes beside payload, not inside it",
   "max_attempts": "max_attempts goes beside payload, not inside it",
   "name": "name goes beside payload, not inside it",
   "on_failure": "on_failure goes beside payload, not inside it",
   "on_parent_failure": "on_parent_failure goes beside payload, not inside it",
   "order_key": "order_key goes beside payload, not inside it",
   "payload": "payload goes beside payload, not inside it",
   "priority": "priority goes beside payload, not inside it",
   "queue": "queue goes beside payload, not inside it",
   "retention_seconds": "retention_seconds goes beside payload, not inside it",
   "retry_on": "retry_on goes beside payload, not inside it",
   "run_at": "run_at goes beside payload, not inside it",
   "sign": "sign goes beside payload, not inside it",
   "success_on": "success_on goes beside payload, not inside it",
   "tags": "tags goes beside payload, not inside it",
   "unique": "unique goes beside payload, not inside it"
  },
  "ignored": [],
  "required": ["url"],
  "fields": {
   "url": {"kinds": [{"kind": "string", "min": 1, "max": 8192}], "expected": "text of 1 to 8192 characters"},
   "method": {
    "kinds": [{"kind": "string", "pattern": "^(?!(CONNECT|TRACE)$)[A-Z][A-Z-]{0,19}$(?!\\u000a)", "max": 20}, {"kind": "null"}],
    "expected": "a method in capitals such as POST, but not CONNECT or TRACE"
   },
   "headers": {
    "kinds": [{"kind": "members", "max": 64, "names": [{"kind": "string", "pattern": "^(?!([Hh][Oo][Ss][Tt]|[Cc][Oo][Nn][Nn][Ee][Cc][Tt][Ii][Oo][Nn]|[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]|[Tt][Rr][Aa][Nn][Ss][Ff][Ee][Rr]-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]|[Kk][Ee][Ee][Pp]-[Aa][Ll][Ii][Vv][Ee]|[Pp][Rr][Oo][Xx][Yy]-[Cc][Oo][Nn][Nn][Ee][Cc][Tt][Ii][Oo][Nn]|[Tt][Ee]|[Tt][Rr][Aa][Ii][Ll][Ee][Rr]|[Uu][Pp][Gg][Rr][Aa][Dd][Ee]|[Hh][Tt][Tt][Pp]2-[Ss][Ee][Tt][Tt][Ii][Nn][Gg][Ss]|[Ee][Xx][Pp][Ee][Cc][Tt]|[Pp][Rr][Oo][Xx][Yy]-[Aa][Uu][Tt][Hh][Ee][Nn][Tt][Ii][Cc][Aa][Tt][Ee]|[Pp][Rr][Oo][Xx][Yy]-[Aa][Uu][Tt][Hh][Oo][Rr][Ii][Zz][Aa][Tt][Ii][Oo][Nn]|[Aa][Cc][Cc][Ee][Pp][Tt]-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]|[Xx]-[Tt][Aa][Ss][Kk][Ff][Ll][Oo][Ww]-[Ii][Dd]|[Xx]-[Tt][Aa][Ss][Kk][Ff][Ll][Oo][Ww]-[Aa][Tt][Tt][Ee][Mm][Pp][Tt])$)[!#$%&''*+.^_`|~0-9A-Za-z-]{1,128}$(?!\\u000a)", "max": 128}], "values": [{"kind": "string", "pattern": "^([!-~]([\\u0009 !-~]*[!-~])?)?$(?!\\u000a)", "max": 8192}]}, {"kind": "null"}],
    "expected": "an object",
    "parts": ["object"]
   },
   "body": {"kinds": [{"kind": "any"}], "expected": "an object", "is_any": true},
   "timeout_seconds": {
    "kinds": [{"kind": "number", "min": 0.01, "max": 3600}, {"kind": "null"}],
    "expected": "a number of seconds from 0.01 to 3600"
   },
   "follow_redirects": {"kinds": [{"kind": "boolean"}, {"kind": "null"}], "expected": "true or false"}
  }
 },
 "unique": {
  "names": ["key", "while", "on_conflict"],
  "elsewhere": {},
  "ignored": [],
  "required": ["key"],
  "fields": {
   "key": {
    "kinds": [{"kind": "string", "pattern": "^[^\\u0001-\\u001f\\u007f]+$(?!\\u000a)", "min": 1, "max": 255}],
    "expected": "1 to 255 characters without control characters"
   },
   "while": {
    "kinds": [{"kind": "array", "min": 1, "max": 5, "items": [{"kind": "one_of", "values": ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELED"]}]}],
    "expected": "one of PENDING, RUNNING, COMPLETED, FAILED, CANCELED",
    "parts": ["array"]
   },
   "on_conflict": {
    "kinds": [{"kind": "one_of", "values": ["return", "replace", "reject"]}],
    "expected": "one of return, replace, reject"
   }
  }
 },
 "debounce": {
  "names": ["key", "delay_seconds", "max_wait_seconds"],
  "elsewhere": {},
  "ignored": [],
  "required": ["key", "delay_seconds"],
  "fields": {
   "key": {
    "kinds": [{"kind": "string", "pattern": "^[^\\u0001-\\u001f\\u007f]+$(?!\\u000a)", "min": 1, "max": 255}],
    "expected": "1 to 255 characters without control characters"
   },
   "delay_seconds": {
    "kinds": [{"kind": "number", "min": 0.001, "max": 31622400}],
    "expected": "a number of seconds from 0.001 to 31622400"
   },
   "max_wait_seconds": {
    "kinds": [{"kind": "number", "min": 0.001, "max": 31622400}, {"kind": "null"}],
    "expected": "a number of seconds from 0.001 to 31622400"
   }
  }
 },
 "header_name": [{"kind": "string", "pattern": "^(?!([Hh][Oo][Ss][Tt]|[Cc][Oo][Nn][Nn][Ee][Cc][Tt][Ii][Oo][Nn]|[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]|[Tt][Rr][Aa][Nn][Ss][Ff][Ee][Rr]-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]|[Kk][Ee][Ee][Pp]-[Aa][Ll][Ii][Vv][Ee]|[Pp][Rr][Oo][Xx][Yy]-[Cc][Oo][Nn][Nn][Ee][Cc][Tt][Ii][Oo][Nn]|[Tt][Ee]|[Tt][Rr][Aa][Ii][Ll][Ee][Rr]|[Uu][Pp][Gg][Rr][Aa][Dd][Ee]|[Hh][Tt][Tt][Pp]2-[Ss][Ee][Tt][Tt][Ii][Nn][Gg][Ss]|[Ee][Xx][Pp][Ee][Cc][Tt]|[Pp][Rr][Oo][Xx][Yy]-[Aa][Uu][Tt][Hh][Ee][Nn][Tt][Ii][Cc][Aa][Tt][Ee]|[Pp][Rr][Oo][Xx][Yy]-[Aa][Uu][Tt][Hh][Oo][Rr][Ii][Zz][Aa][Tt][Ii][Oo][Nn]|[Aa][Cc][Cc][Ee][Pp][Tt]-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]|[Xx]-[Tt][Aa][Ss][Kk][Ff][Ll][Oo][Ww]-[Ii][Dd]|[Xx]-[Tt][Aa][Ss][Kk][Ff][Ll][Oo][Ww]-[Aa][Tt][Tt][Ee][Mm][Pp][Tt])$)[!#$%&''*+.^_`|~0-9A-Za-z-]{1,128}$(?!\\u000a)", "max": 128}],
 "header_value": [{"kind": "string", "pattern": "^([!-~]([\\u0009 !-~]*[!-~])?)?$(?!\\u000a)", "max": 8192}],
 "headers_made_here": ["host", "connection", "content-length", "transfer-encoding", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "http2-settings", "expect", "proxy-authenticate", "proxy-authorization", "accept-encoding", "x-taskflow-id", "x-taskflow-attempt"],
 "signature_headers": ["webhook-id", "webhook-timestamp", "webhook-signature"],
 "completion_header": "X-TaskFlow-Completion-Url",
 "webhook_seconds": [5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0],
 "always_unique": ["PENDING", "RUNNING"],
 "mask": "***",
 "masked_parameter": "(((?:[?&;#]|%3F|%26|%3B|%23)(?=(?:(?!(?:[^?&;#=%]|%(?!3F|26|3B|23|3D))*(?:rate-?limit|(?:allow|with)[-_]?credentials|max[-_]?(?:new|completion|output)?[-_]?tokens))(?:(?:[^?&;#=%]|%(?!3F|26|3B|23|3D))*(?:(?:t|%74|%54)(?:o|%6f|%4f)(?:k|%6b|%4b)(?:e|%65|%45)(?:n|%6e|%4e)|(?:s|%73|%53)(?:e|%65|%45)(?:c|%63|%43)(?:r|%72|%52)(?:e|%65|%45)(?:t|%74|%54)|(?:p|%70|%50)(?:a|%61|%41)(?:s|%73|%53)(?:s|%73|%53)(?:w|%77|%57)|(?:p|%70|%50)(?:a|%61|%41)(?:s|%73|%53)(?:s|%73|%53)(?:p|%70|%50)(?:h|%68|%48)(?:r|%72|%52)(?:a|%61|%41)(?:s|%73|%53)(?:e|%65|%45)|(?:p|%70|%50)(?:a|%61|%41)(?:s|%73|%53)(?:s|%73|%53)(?:c|%63|%43)(?:o|%6f|%4f)(?:d|%64|%44)(?:e|%65|%45)|(?:c|%63|%43)(?:r|%72|%52)(?:e|%65|%45)(?:d|%64|%44)(?:e|%65|%45)(?:n|%6e|%4e)(?:t|%74|%54)(?:i|%69|%49)(?:a|%61|%41)(?:l|%6c|%4c)|(?:s|%73|%53)(?:i|%69|%49)(?:g|%67|%47)(?:n|%6e|%4e)(?:a|%61|%41)(?:t|%74|%54)(?:u|%75|%55)(?:r|%72|%52)(?:e|%65|%45)|(?:s|%73|%53)(?:e|%65|%45)(?:s|%73|%53)(?:s|%73|%53)(?:i|%69|%49)(?:o|%6f|%4f)(?:n|%6e|%4e)|(?:j|%6a|%4a)(?:w|%77|%57)(?:t|%74|%54)|(?:b|%62|%42)(?:e|%65|%45)(?:a|%61|%41)(?:r|%72|%52)(?:e|%65|%45)(?:r|%72|%52)|(?:h|%68|%48)(?:m|%6d|%4d)(?:a|%61|%41)(?:c|%63|%43)|(?:a|%61|%41)(?:p|%70|%50)(?:i|%69|%49)(?:-|%2d|%2d)(?:k|%6b|%4b)(?:e|%65|%45)(?:y|%79|%59)|(?:a|%61|%41)(?:p|%70|%50)(?:i|%69|%49)(?:_|%5f|%5f)(?:k|%6b|%4b)(?:e|%65|%45)(?:y|%79|%59)|(?:a|%61|%41)(?:p|%70|%50)(?:i|%69|%49)(?:k|%6b|%4b)(?:e|%65|%45)(?:y|%79|%59)|(?:a|%61|%41)(?:u|%75|%55)(?:t|%74|%54)(?:h|%68|%48)(?!or(?!i[sz])|enticate))|(?:(?:[^?&;#=%]|%(?!3F|26|3B|23|3D))*[-_. ])?(?:(?:s|%73|%53)(?:i|%69|%49)(?:g|%67|%47)|(?:s|%73|%53)(?:i|%69|%49)(?:g|%67|%47)(?:n|%6e|%4e)|(?:p|%70|%50)(?:w|%77|%57)(?:d|%64|%44)|(?:p|%70|%50)(?:a|%61|%41)(?:s|%73|%53)(?:s|%73|%53)|(?:p|%70|%50)(?:w|%77|%57)|(?:s|%73|%53)(?:i|%69|%49)(?:d|%64|%44)|(?:o|%6f|%4f)(?:t|%74|%54)(?:p|%70|%50)|(?:c|%63|%43)(?:r|%72|%52)(?:e|%65|%45)(?:d|%64|%44)|(?:c|%63|%43)(?:r|%72|%52)(?:e|%65|%45)(?:d|%64|%44)(?:s|%73|%53)|(?:p|%70|%50)(?:s|%73|%53)(?:k|%6b|%4b))(?:\\[\\]|%5B%5D)?(?:=|%3D)|cookie(?:\\[\\]|%5B%5D)?(?:=|%3D)|(?!(?:[^?&;#=%]|%(?!3F|26|3B|23|3D))*(?:idempotency|surrogate|cache|websocket|public|primary|foreign|sort|partition|routing|shard|row|range|group|object|mon|don|tur|hoc|joc|whis)[-_]?key)(?:[^?&;#=%]|%(?!3F|26|3B|23|3D))*(?:k|%6b|%4b)(?:e|%65|%45)(?:y|%79|%59)(?:\\[\\]|%5B%5D)?(?:=|%3D))))(?:[^?&;#=%]|%(?!3F|26|3B|23|3D))*(?:\\[\\]|%5B%5D)?(?:=|%3D))[^&#]*)",
 "not_in_urls": "[\\U00000001-\\U00000020\\U0000005c\\U0000007f-\\U000000a0\\U000000ad\\U00000600-\\U00000605\\U0000061c\\U000006dd\\U0000070f\\U00000890-\\U00000891\\U000008e2\\U00001680\\U0000180e\\U00002000-\\U0000200f\\U00002028-\\U0000202f\\U0000205f-\\U00002064\\U00002066-\\U0000206f\\U00003000\\U0000feff\\U0000fff9-\\U0000fffb\\U000110bd\\U000110cd\\U00013430-\\U0001343f\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a\\U000e0001\\U000e0020-\\U000e007f]",
 "max_url_characters": 8192,
 "max_host_characters": 253,
 "max_headers": 64,
 "max_searched_characters": 32768,
 "max_nesting": 500,
 "max_references": 100,
 "max_reference_depth": 16,
 "max_pointer_characters": 1024,
 "max_pointer_parts": 32,
 "max_errors": 100,
 "max_unknown": 20,
 "max_shown_url_bytes": 200,
 "max_tasks": 10000,
 "max_task_bytes": 1048576,
 "max_children": 10000,
 "max_edges": 100000,
 "idempotency_seconds": 86400.0,
 "problems": {
  "invalid-request": {"type": "/problems/invalid-request", "status": 400, "detail": "The request body is invalid for this route."},
  "body-too-large": {"type": "/problems/body-too-large", "status": 413, "detail": "The request body is too large."},
  "validation-error": {
   "type": "/problems/validation-error",
   "status": 422,
   "detail": "The request is well-formed but invalid.\n\nArgs:\n    message: Why, in one line.\n    errors: Each invalid value, if the error is about a document."
  },
  "idempotency-key-reused": {
   "type": "/problems/idempotency-key-reused",
   "status": 422,
   "detail": "This Idempotency-Key was used by a different request; use a new key for a new request."
  },
  "not-unique": {
   "type": "/problems/not-unique",
   "status": 409,
   "detail": "Another task has the unique key.\n\nArgs:\n    task_id: That task; ``None`` if it is an earlier one of the same array.\n    in_array: For an array: the index of each rejected task, and the task that has its key."
  },
  "group-closed": {
   "type": "/problems/group-closed",
   "status": 409,
   "detail": "A group takes no more tasks.\n\nArgs:\n    group_id: The group.\n    why: Why not.\n    places: For an array: the indexes of the tasks that would join it."
  },
  "task-deleted": {
   "type": "/problems/task-deleted",
   "status": 410,
   "detail": "The task of this Idempotency-Key was deleted; use a new key to submit it again."
  }
 },
 "meant_by": {
  "after": "cursor",
  "allow_redirects": "follow_redirects",
  "at": "run_at",
  "attempts": "max_attempts",
  "attributes": "tags",
  "available_at": "run_at",
  "backoff_seconds": "backoff",
  "before": "cursor",
  "callback": "callback_url",
  "channel": "queue",
  "concurrency": "max_concurrency",
  "content": "body",
  "count": "limit",
  "countdown": "delay_seconds",
  "cron_expression": "cron",
  "crontab": "cron",
  "data": "body",
  "deadline": "expires_at",
  "defer": "delay_seconds",
  "delay": "delay_seconds",
  "delay_in_seconds": "delay_seconds",
  "delay_ms": "delay_seconds",
  "delay_secs": "delay_seconds",
  "disabled": "paused",
  "dry": "dry_run",
  "endpoint": "url",
  "eta": "run_at",
  "every": "every_seconds",
  "execute_at": "run_at",
  "expiration": "expires_at",
  "expire_after": "expires_at",
  "expires": "expires_at",
  "expires_in": "expires_at",
  "expiry": "expires_at",
  "expression": "cron",
  "fetch_timeout": "timeout_seconds",
  "first": "initial_seconds",
  "form": "body",
  "hook": "callback_url",
  "href": "url",
  "http_headers": "headers",
  "http_method": "method",
  "importance": "priority",
  "initial": "initial_seconds",
  "interval": "every_seconds",
  "interval_seconds": "every_seconds",
  "is_paused": "paused",
  "job": "payload",
  "json": "body",
  "keep": "retention_seconds",
  "keep_for": "retention_seconds",
  "label": "tag",
  "labels": "tags",
  "link": "url",
  "max": "max_seconds",
  "max_parallel": "max_concurrency",
  "max_retries": "max_attempts",
  "max_retry": "max_attempts",
  "max_running": "max_concurrency",
  "max_tries": "max_attempts",
  "maximum": "max_seconds",
  "message": "payload",
  "meta": "tags",
  "metadata": "tags",
  "not_before": "run_at",
  "notify": "callback_url",
  "notify_url": "callback_url",
  "num_retries": "max_attempts",
  "offset": "cursor",
  "on_complete": "callback_url",
  "page": "cursor",
  "page_size": "limit",
  "parallelism": "max_concurrency",
  "pause": "paused",
  "per_page": "limit",
  "period": "every_seconds",
  "preview": "dry_run",
  "prio": "priority",
  "queue_name": "queue",
  "rate_limit": "rate",
  "redirect": "follow_redirects",
  "redirects": "follow_redirects",
  "request": "payload",
  "request_body": "body",
  "request_headers": "headers",
  "request_method": "method",
  "request_timeout": "timeout_seconds",
  "result_ttl": "retention_seconds",
  "retention": "retention_seconds",
  "retries": "max_attempts",
  "retry": "max_attempts",
  "retry_backoff": "backoff",
  "retry_count": "max_attempts",
  "retry_delay": "backoff",
  "retry_interval": "backoff",
  "retry_limit": "max_attempts",
  "rps": "rate",
  "run_after": "run_at",
  "schedule_at": "run_at",
  "schedule_time": "run_at",
  "scheduled_for": "run_at",
  "scheduled_time": "run_at",
  "since": "created_after",
  "size": "limit",
  "start_after": "run_at",
  "state": "status",
  "tags": "tag",
  "target": "url",
  "target_url": "url",
  "task": "payload",
  "timeout": "timeout_seconds",
  "timeout_ms": "timeout_seconds",
  "topic": "queue",
  "tries": "max_attempts",
  "tz": "timezone",
  "until": "created_before",
  "uri": "url",
  "url": "url_contains",
  "url_like": "url_contains",
  "valid_until": "expires_at",
  "verb": "method",
  "wait_seconds": "delay_seconds",
  "webhook": "callback_url",
  "webhook_url": "callback_url",
  "zone": "timezone"
 },
 "advice": {
  "idempotency_key": "the key is sent as the header Idempotency-Key",
  "dedup_key": "the key is sent as the header Idempotency-Key",
  "unique_key": "the key is sent as the header Idempotency-Key",
  "ttl": "use expires_at (not started from then on) or retention_seconds (kept for)"
 }
}'::jsonb
$rules$;
-- end

-- The part of a JSON pointer for a name.
CREATE FUNCTION taskflow_pointer_part(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '/' || replace(replace(name, '~', '~0'), '/', '~1')
$$;

-- Text in quotes, as messages of the API show it.
CREATE FUNCTION taskflow_quoted(shown text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    quote text := CASE WHEN position('''' IN shown) > 0 AND position('"' IN shown) = 0 THEN '"' ELSE '''' END;
    escaped text := replace(shown, '\', '\\');
BEGIN
    IF quote = '''' THEN
        escaped := replace(escaped, '''', '\''');
    END IF;
    FOR code IN 1 .. 31 LOOP
        escaped := replace(escaped, chr(code), CASE code WHEN 9 THEN '\t' WHEN 10 THEN '\n' WHEN 13 THEN '\r'
                                               ELSE '\x' || lpad(to_hex(code), 2, '0') END);
    END LOOP;
    RETURN quote || replace(escaped, chr(127), '\x7f') || quote;
END
$$;

CREATE FUNCTION taskflow_shown_name(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN char_length(name) <= 64 THEN taskflow_quoted(name)
           ELSE taskflow_quoted(left(name, 64)) || '...' END
$$;

-- A date and time of RFC 3339 as UTC; NULL if it is none.
CREATE FUNCTION taskflow_moment(written text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    part text[] := regexp_match(written COLLATE "C",
        '^(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?)(?:[Zz]|([+-])([01]\d|2[0-3]):?([0-5]\d))$');
    moment timestamp;
    shift interval;
BEGIN
    IF part IS NULL OR part[1] < '0001' THEN
        RETURN NULL;
    END IF;
    moment := (part[1] || ' ' || part[2])::timestamp;
    IF moment >= '10000-01-01' THEN  -- it was rounded
        RETURN NULL;
    END IF;
    shift := make_interval(hours => coalesce(part[4], '0')::integer, mins => coalesce(part[5], '0')::integer);
    RETURN greatest('0001-01-01 00:00:00+00', least('9999-12-31 23:59:59.999999+00',
        (moment - CASE WHEN part[3] = '-' THEN -shift ELSE shift END) AT TIME ZONE 'UTC'));
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- Whether a value is of one of these kinds.
CREATE FUNCTION taskflow_fits(value jsonb, kinds jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    type text := jsonb_typeof(value);
    plain text := value #>> '{}';
    kind jsonb;
    size integer;
    fits boolean;
BEGIN
    FOR kind IN SELECT one FROM jsonb_array_elements(kinds) AS one LOOP
        fits := CASE kind ->> 'kind'
            WHEN 'any' THEN true
            WHEN 'null' THEN type = 'null'
            WHEN 'boolean' THEN type = 'boolean'
            WHEN 'string' THEN type = 'string'
                AND char_length(plain) BETWEEN coalesce((kind ->> 'min')::numeric, 0)
                    AND coalesce((kind ->> 'max')::numeric, char_length(plain))
                AND coalesce(plain COLLATE "C" ~ (kind ->> 'pattern'), true)
            WHEN 'one_of' THEN type = 'string' AND kind -> 'values' ? plain
            WHEN 'moment' THEN type = 'string' AND taskflow_moment(plain) IS NOT NULL
            WHEN 'uuid' THEN type = 'string' AND plain COLLATE "C"
                ~* '^([0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$'
            WHEN 'integer' THEN CASE WHEN type = 'number' AND plain ~ '^-?[0-9]+$'
                THEN plain::numeric BETWEEN coalesce((kind ->> 'min')::numeric, plain::numeric)
                    AND coalesce((kind ->> 'max')::numeric, plain::numeric) END
            WHEN 'number' THEN CASE WHEN type = 'number'
                THEN plain::numeric BETWEEN coalesce((kind ->> 'min')::numeric, plain::numeric)
                    AND coalesce((kind ->> 'max')::numeric, plain::numeric) END
            ELSE NULL END;
        IF fits THEN
            RETURN true;
        ELSIF kind ->> 'kind' = 'array' AND type = 'array' THEN
            size := jsonb_array_length(value);
            fits := NOT EXISTS (SELECT FROM jsonb_array_elements(value) AS one
                                WHERE NOT taskflow_fits(one, kind -> 'items'));
        ELSIF kind ->> 'kind' = 'members' AND type = 'object' THEN
            size := (SELECT count(*) FROM jsonb_object_keys(value));
            fits := NOT EXISTS (SELECT FROM jsonb_each(value) AS one
                                WHERE NOT (taskflow_fits(to_jsonb(one.key), kind -> 'names')
                                           AND taskflow_fits(one.value, kind -> 'values')));
        ELSIF kind ->> 'kind' = 'object' AND type = 'object' THEN
            fits := value ?& ARRAY(SELECT jsonb_array_elements_text(kind -> 'required'))
                AND NOT EXISTS (SELECT FROM jsonb_each(value) AS one
                                WHERE NOT coalesce(taskflow_fits(one.value, kind -> 'fields' -> one.key), false));
            size := NULL;
        END IF;
        IF fits AND coalesce(size BETWEEN coalesce((kind ->> 'min')::numeric, 0)
                             AND coalesce((kind ->> 'max')::numeric, size), true)
        THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$$;

-- The number of characters that two names have in common: the longest common part, and those on both sides of it.
CREATE FUNCTION taskflow_likeness(one text, other text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    place integer;
BEGIN
    FOR size IN REVERSE least(char_length(one), char_length(other)) .. 1 LOOP
        FOR start IN 1 .. char_length(one) - size + 1 LOOP
            place := position(substr(one, start, size) IN other);
            IF place > 0 THEN
                RETURN size + taskflow_likeness(left(one, start - 1), left(other, place - 1))
                    + taskflow_likeness(substr(one, start + size), substr(other, place + size));
            END IF;
        END LOOP;
    END LOOP;
    RETURN 0;
END
$$;

-- The advice for a name that is none of these.
CREATE FUNCTION taskflow_advice(name text, names jsonb, elsewhere jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    listed text := (SELECT CASE count(*) WHEN 1 THEN 'known is ' ELSE 'known are ' END || string_agg(one, ', ' ORDER BY place)
                    FROM jsonb_array_elements_text(names) WITH ORDINALITY AS t (one, place));
    plain text := lower(replace(regexp_replace(name, '(?<=[a-z0-9])(?=[A-Z])', '_', 'g'), '-', '_'));
    candidates text[] := array_remove(ARRAY[plain, rules -> 'meant_by' ->> plain], NULL);
    found text;
BEGIN
    IF char_length(name) > 64 THEN
        RETURN listed;
    END IF;
    FOREACH found IN ARRAY candidates LOOP
        IF names ? found THEN
            RETURN format('did you mean %s?', found);
        END IF;
    END LOOP;
    FOREACH found IN ARRAY candidates LOOP
        IF elsewhere ? found THEN
            RETURN elsewhere ->> found;
        END IF;
    END LOOP;
    IF rules -> 'advice' ? plain THEN
        RETURN rules -> 'advice' ->> plain;
    END IF;
    SELECT one INTO found FROM (
        SELECT one, 2.0 / (char_length(one) + char_length(name)) AS share,
               least(char_length(one), char_length(name)) AS shorter
        FROM jsonb_array_elements_text(names) AS one
    ) AS near CROSS JOIN LATERAL (
        SELECT CASE WHEN share * shorter >= 0.75 THEN share * taskflow_likeness(one, name) END AS ratio
    ) AS measured
    WHERE ratio >= 0.75 ORDER BY ratio DESC, one COLLATE "C" DESC LIMIT 1;
    RETURN coalesce('did you mean ' || found || '?', listed);
END
$$;

CREATE FUNCTION taskflow_error(place text, detail text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('pointer', place, 'detail', detail)
$$;

-- A whole number as one: to JSON Schema 2.0 is one, too.
CREATE FUNCTION taskflow_whole(value jsonb, rule jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF (rule ->> 'is_whole')::boolean AND jsonb_typeof(value) = 'number' AND trunc(value::numeric) = value::numeric THEN
        RETURN to_jsonb(trunc(value::numeric));
    END IF;
    RETURN value;
END
$$;

-- What is wrong with the value of a field: with each part that is invalid by itself, or else with all of it.
CREATE FUNCTION taskflow_field_errors(value jsonb, rule jsonb, place text, label text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    type text := jsonb_typeof(value);
    wrong text[] := '{}';
    errors jsonb := '[]';
    part text;
    advice text;
BEGIN
    IF taskflow_fits(taskflow_whole(value, rule), rule -> 'kinds') THEN
        RETURN errors;
    END IF;
    IF rule -> 'parts' ? type THEN
        IF type = 'object' THEN
            wrong := ARRAY(SELECT key FROM jsonb_each(value) AS one
                           WHERE NOT taskflow_fits(jsonb_build_object(one.key, one.value), rule -> 'kinds'));
        ELSE
            wrong := ARRAY(SELECT (n - 1)::text FROM jsonb_array_elements(value) WITH ORDINALITY AS t (one, n)
                           WHERE NOT taskflow_fits(jsonb_build_array(one), rule -> 'kinds') ORDER BY n);
        END IF;
        IF cardinality(wrong) > 100 OR (SELECT count(*) FROM jsonb_path_query(value, '$.*')) > 100 THEN
            wrong := '{}';
        END IF;
    END IF;
    IF cardinality(wrong) = 0 THEN
        RETURN jsonb_build_array(taskflow_error(place, format('%s must be %s', label, rule ->> 'expected')));
    END IF;
    FOREACH part IN ARRAY wrong LOOP
        advice := '';
        IF part <> '' AND part !~ '^[0-9]+$' AND rule ? 'names' AND NOT rule -> 'names' ? part THEN
            part := substr(taskflow_pointer_part(part), 2);
            advice := format('; it has no field %s; %s', taskflow_shown_name(part),
                             taskflow_advice(part, rule -> 'names', '{}'));
        ELSE
            part := substr(taskflow_pointer_part(part), 2);
        END IF;
        errors := errors || taskflow_error(place || '/' || part,
                                           format('%s must be %s%s', label, rule ->> 'expected', advice));
    END LOOP;
    RETURN errors;
END
$$;

-- Errors for the fields that do not exist.
CREATE FUNCTION taskflow_unknown_fields(fields jsonb, rules jsonb, place text, owner text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    max_unknown CONSTANT integer := (taskflow_submission_rules() ->> 'max_unknown')::integer;
    errors jsonb := '[]';
    name text;
    number integer := 0;
BEGIN
    FOR name IN SELECT key FROM jsonb_each(fields)
                WHERE NOT rules -> 'fields' ? key AND NOT rules -> 'ignored' ? key LIMIT max_unknown + 1
    LOOP
        number := number + 1;
        IF number > max_unknown THEN
            RETURN errors || taskflow_error(place, coalesce(nullif(owner, ''), 'the body')
                                                   || ' has more fields that do not exist');
        END IF;
        errors := errors || taskflow_error(
            place || CASE WHEN char_length(name) <= 64 THEN taskflow_pointer_part(name) ELSE '' END,
            format('%s no field %s; %s', coalesce(nullif(owner, '') || ' has', 'there is'), taskflow_shown_name(name),
                   taskflow_advice(name, rules -> 'names', rules -> 'elsewhere')));
    END LOOP;
    RETURN errors;
END
$$;

-- Whether JSON is nested too deep to be kept.
CREATE FUNCTION taskflow_is_too_deep(value jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    max_nesting CONSTANT integer := (taskflow_submission_rules() ->> 'max_nesting')::integer;
    brackets text := value::text;
BEGIN
    IF octet_length(brackets) - octet_length(replace(replace(brackets, '[', ''), '{', '')) <= max_nesting THEN
        RETURN false;
    END IF;
    brackets := regexp_replace(brackets, '"([^"\\]|\\.)*"', '', 'g');
    brackets := translate(regexp_replace(brackets, '[^][{}]+', '', 'g'), '{}', '[]');
    FOR level IN 1 .. max_nesting LOOP
        brackets := replace(brackets, '[]', '');
        EXIT WHEN brackets = '';
    END LOOP;
    RETURN brackets <> '';
END
$$;

-- The host of a URL, and the host with its port unless that is the default one; NULL if it leads nowhere. The labels of
-- an international name (xn--) are not decoded: if one is invalid, the task fails when its URL is fetched.
CREATE FUNCTION taskflow_place_in(url text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    part text[];
    authority text;
    host text;
    port text;
    is_https boolean;
BEGIN
    IF char_length(url) > (rules ->> 'max_url_characters')::integer
       OR url COLLATE "C" ~ (rules ->> 'not_in_urls')
    THEN
        RETURN NULL;
    END IF;
    part := regexp_match(url COLLATE "C", '^(https?)://([^/?#]*)', 'i');
    is_https := lower(part[1]) = 'https';
    authority := part[2];
    IF coalesce(position('@' IN authority) > 0, true) THEN
        RETURN NULL;
    END IF;
    IF authority LIKE '[%' THEN
        part := regexp_match(authority, '^\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\](?::(.*))?$');
        host := taskflow_ipv6(part[1]);
        port := part[2];
    ELSE
        host := lower(split_part(authority, ':', 1) COLLATE "C");
        port := CASE WHEN position(':' IN authority) > 0 THEN substr(authority, position(':' IN authority) + 1) END;
        IF host !~ '^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$' THEN
            host := regexp_replace(host, '\.$', '');
            IF char_length(host) > (rules ->> 'max_host_characters')::integer
               OR host COLLATE "C" !~ '^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$'
               OR host ~ '^(.*\.)?([0-9]+|0x[0-9a-f]*)$'
            THEN
                RETURN NULL;
            END IF;
        END IF;
    END IF;
    IF host IS NULL OR port !~ '^[1-9][0-9]{0,4}$' OR port::integer > 65535 THEN
        RETURN NULL;
    END IF;
    IF port::integer = (CASE WHEN is_https THEN 443 ELSE 80 END) THEN
        port := NULL;
    END IF;
    authority := CASE WHEN position(':' IN host) > 0 THEN format('[%s]', host) ELSE host END;
    RETURN ARRAY[host, concat_ws(':', authority, port)];
END
$$;

-- An IPv6 address in the form of the URL standard; NULL if it is none.
CREATE FUNCTION taskflow_ipv6(written text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    address text;
    part text[];
    high integer;
    low integer;
BEGIN
    address := host(written::inet);
    part := regexp_match(address, '^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$');
    IF part IS NULL THEN
        RETURN address;
    END IF;
    high := part[2]::integer * 256 + part[3]::integer;
    low := part[4]::integer * 256 + part[5]::integer;
    IF part[1] = '::' AND high = 0 THEN
        RETURN '::' || to_hex(low);
    END IF;
    RETURN part[1] || to_hex(high) || ':' || to_hex(low);
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- Whether a URL has a mask in place of a credential: it was copied from a task that was shown.
CREATE FUNCTION taskflow_is_masked(url text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
BEGIN
    RETURN position(rules ->> 'mask' IN url) > 0
        AND char_length(url) <= (rules ->> 'max_searched_characters')::integer
        AND (EXISTS (SELECT FROM regexp_matches(url, rules ->> 'masked_parameter', 'gi') AS parameter
                     WHERE parameter[1] = parameter[2] || (rules ->> 'mask'))
             OR url ~ '(^|[/\\:])\*\*\*@');
END
$$;

CREATE FUNCTION taskflow_mask_errors(payload jsonb, callback_url text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    how text := format('has %s in place of a credential that was masked when it was shown; send the real value',
                       rules ->> 'mask');
    is_text boolean := jsonb_typeof(payload) = 'string';
    url jsonb := CASE WHEN is_text THEN payload WHEN jsonb_typeof(payload) = 'object' THEN payload -> 'url' END;
    errors jsonb := '[]';
    header record;
    searched integer := (rules ->> 'max_searched_characters')::integer;
BEGIN
    IF taskflow_is_masked(callback_url) THEN
        errors := errors || taskflow_error('/callback_url', 'callback_url ' || how);
    END IF;
    IF jsonb_typeof(url) = 'string' AND taskflow_is_masked(url #>> '{}') THEN
        errors := errors || taskflow_error(CASE WHEN is_text THEN '/payload' ELSE '/payload/url' END, 'the URL ' || how);
    END IF;
    IF jsonb_typeof(payload) = 'object' AND jsonb_typeof(payload -> 'headers') = 'object' THEN
        FOR header IN SELECT key AS name, value #>> '{}' AS text FROM jsonb_each(payload -> 'headers')
                      WHERE jsonb_typeof(value) = 'string' AND position(rules ->> 'mask' IN value #>> '{}') > 0
        LOOP
            searched := searched - char_length(header.text);
            IF header.text = rules ->> 'mask' OR searched < 0 OR taskflow_is_masked(header.text) THEN
                errors := errors || taskflow_error('/payload/headers' || taskflow_pointer_part(header.name),
                                                   format('the header %s %s', header.name, how));
            END IF;
        END LOOP;
    END IF;
    RETURN errors;
END
$$;

-- Errors for the headers of a request that TaskFlow sets itself.
CREATE FUNCTION taskflow_own_header_errors(payload jsonb, names jsonb, how text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF jsonb_typeof(payload) <> 'object' OR coalesce(jsonb_typeof(payload -> 'headers') <> 'object', true) THEN
        RETURN '[]';
    END IF;
    RETURN (SELECT coalesce(jsonb_agg(taskflow_error('/payload/headers' || taskflow_pointer_part(name), format(how, name))
                                      ORDER BY place), '[]')
            FROM jsonb_object_keys(payload -> 'headers') WITH ORDINALITY AS t (name, place)
            WHERE names ? lower(name));
END
$$;

CREATE FUNCTION taskflow_headers_errors(headers jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    errors jsonb := '[]';
    header record;
    complaint text;
BEGIN
    IF jsonb_typeof(headers) = 'null' THEN
        RETURN errors;
    ELSIF jsonb_typeof(headers) <> 'object' THEN
        RETURN jsonb_build_array(taskflow_error('/payload/headers',
                                                'payload.headers must be an object of names with text'));
    ELSIF (SELECT count(*) FROM jsonb_object_keys(headers)) > (rules ->> 'max_headers')::integer THEN
        RETURN jsonb_build_array(taskflow_error('/payload/headers',
                                                format('payload.headers must be %s at most', rules ->> 'max_headers')));
    END IF;
    FOR header IN SELECT key AS name, value FROM jsonb_each(headers) LOOP
        complaint := CASE
            WHEN rules -> 'headers_made_here' ? lower(header.name)
            THEN format('the header %s is set by TaskFlow; leave it out', header.name)
            WHEN NOT taskflow_fits(to_jsonb(header.name), rules -> 'header_name')
            THEN taskflow_quoted(header.name) || ' is not the name of a header'
            WHEN NOT taskflow_fits(header.value, rules -> 'header_value')
            THEN format('the header %s must be printable ASCII without spaces around it, up to %s bytes', header.name,
                        rules #>> '{header_value,0,max}') END;
        IF complaint IS NOT NULL THEN
            errors := errors || taskflow_error('/payload/headers' || taskflow_pointer_part(header.name), complaint);
        END IF;
    END LOOP;
    RETURN errors;
END
$$;

-- What is wrong with a payload, and its URL if it is a valid one.
CREATE FUNCTION taskflow_read_payload(payload jsonb, OUT errors jsonb, OUT url text) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules() -> 'payload';
    field record;
    found jsonb;
BEGIN
    errors := '[]';
    IF jsonb_typeof(payload) = 'string' THEN
        url := payload #>> '{}';
    END IF;
    IF jsonb_typeof(payload) = 'object' THEN
        IF coalesce(jsonb_typeof(payload -> 'url') = 'null', true) THEN
            errors := errors || taskflow_error('/payload/url', 'payload.url is missing: where should the request be sent?');
        END IF;
        errors := errors || taskflow_unknown_fields(payload, rules, '/payload', 'payload');
        FOR field IN SELECT key AS name, value FROM jsonb_each(payload) WHERE rules -> 'fields' ? key LOOP
            found := CASE field.name
                WHEN 'headers' THEN taskflow_headers_errors(field.value)
                WHEN 'body' THEN CASE
                    WHEN jsonb_typeof(field.value) = 'object' AND field.value ? 'base64'
                         AND field.value - 'base64' = '{}' AND (jsonb_typeof(field.value -> 'base64') <> 'string'
                         OR field.value ->> 'base64' COLLATE "C"
                            !~ '^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$')
                    THEN jsonb_build_array(taskflow_error('/payload/body/base64',
                        'payload.body.base64 must be base64 with padding (RFC 4648, section 4)'))
                    ELSE '[]' END
                ELSE taskflow_field_errors(field.value, rules -> 'fields' -> field.name, '/payload/' || field.name,
                                           'payload.' || field.name) END;
            errors := errors || found;
            IF field.name = 'url' AND found = '[]' THEN
                url := field.value #>> '{}';
            END IF;
        END LOOP;
    END IF;
    IF regexp_match(url COLLATE "C", '^https?://([^/?#]*)', 'i') IS NOT NULL
       AND (regexp_match(url COLLATE "C", '^https?://([^/?#]*)', 'i'))[1] COLLATE "C" ~ '[^\u0001-\u007f]'
    THEN
        errors := errors || taskflow_error(CASE jsonb_typeof(payload) WHEN 'string' THEN '/payload' ELSE '/payload/url' END,
            'SQL cannot convert a host with characters other than ASCII: write it as xn--..., or submit the task by HTTP');
    END IF;
END
$$;

-- A unique or debounce key: what is wrong with it, and whether it counts as given.
CREATE FUNCTION taskflow_read_key(name text, key_value jsonb, OUT errors jsonb, OUT is_given boolean)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    own CONSTANT jsonb := rules -> name;
    field record;
    found jsonb;
    wrong text[] := '{}';
BEGIN
    errors := '[]';
    is_given := false;
    IF jsonb_typeof(key_value) = 'null' THEN
        RETURN;
    ELSIF jsonb_typeof(key_value) <> 'object' THEN
        errors := jsonb_build_array(taskflow_error('/' || name, format('%s must be an object of %s', name,
            (SELECT string_agg(one, ', ' ORDER BY n)
             FROM jsonb_array_elements_text(own -> 'names') WITH ORDINALITY AS t (one, n)))));
        RETURN;
    END IF;
    errors := taskflow_unknown_fields(key_value, own, '/' || name, name);
    FOR field IN SELECT key, one.value FROM jsonb_each(key_value) AS one WHERE own -> 'fields' ? key LOOP
        found := taskflow_field_errors(field.value, own -> 'fields' -> field.key, format('/%s/%s', name, field.key),
                                       format('%s.%s', name, field.key));
        errors := errors || found;
        IF found <> '[]' THEN
            wrong := wrong || field.key;
        END IF;
    END LOOP;
    errors := errors || coalesce((
        SELECT jsonb_agg(taskflow_error(format('/%s/%s', name, one), format('%s.%s is missing', name, one)) ORDER BY n)
        FROM jsonb_array_elements_text(own -> 'required') WITH ORDINALITY AS t (one, n) WHERE NOT key_value ? one), '[]');
    IF EXISTS (SELECT FROM jsonb_array_elements_text(own -> 'required') AS one
               WHERE NOT key_value ? one OR one = ANY (wrong))
    THEN
        RETURN;
    END IF;
    is_given := true;
    IF name = 'unique' AND key_value ? 'while' AND 'while' <> ALL (wrong)
       AND NOT key_value -> 'while' @> (rules -> 'always_unique')
    THEN
        is_given := false;
        errors := errors || taskflow_error('/unique/while', format('unique.while must include %s: a RUNNING task becomes '
            || 'PENDING again for a retry, and must still have its key then',
            (SELECT string_agg(one, ' and ') FROM jsonb_array_elements_text(rules -> 'always_unique') AS one)));
    ELSIF name = 'debounce' AND key_value ? 'max_wait_seconds' AND 'max_wait_seconds' <> ALL (wrong)
          AND (key_value ->> 'max_wait_seconds')::numeric < (key_value ->> 'delay_seconds')::numeric
    THEN
        is_given := false;
        errors := errors || taskflow_error('/debounce/max_wait_seconds',
                                           'debounce.max_wait_seconds must not be less than debounce.delay_seconds');
    END IF;
END
$$;

-- What fields of a task exclude, and what they need.
CREATE FUNCTION taskflow_combination_errors(given jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    errors jsonb := '[]';
    name text;
    together CONSTANT text := '%s must not be given together with %s';
    uuid_pattern CONSTANT text := '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$';
    is_later boolean := coalesce(taskflow_moment(given ->> 'run_at') > clock_timestamp(), false);
    has_parents boolean := coalesce(jsonb_array_length(given -> 'after'), 0) > 0;
BEGIN
    IF given ?& '{run_at,delay_seconds}' THEN
        errors := errors || taskflow_error('/delay_seconds', format(together, 'delay_seconds', 'run_at'));
    END IF;
    FOREACH name IN ARRAY '{run_at,delay_seconds,unique}'::text[] LOOP
        IF given ? 'debounce' AND given ? name THEN
            errors := errors || taskflow_error('/' || name, format(together, name, 'debounce'));
        END IF;
    END LOOP;
    IF given ? 'order_key' THEN
        FOREACH name IN ARRAY '{priority,delay_seconds}'::text[] LOOP
            IF (given ->> name)::numeric <> 0 THEN
                errors := errors || taskflow_error('/' || name, format(together, name, 'order_key'));
            END IF;
        END LOOP;
        FOREACH name IN ARRAY '{debounce,unique}'::text[] LOOP
            IF given ? name THEN
                errors := errors || taskflow_error('/' || name, format(together, name, 'order_key'));
            END IF;
        END LOOP;
        IF is_later THEN
            errors := errors || taskflow_error('/run_at', 'run_at must not be in the future together with order_key');
        END IF;
    END IF;
    FOREACH name IN ARRAY '{debounce,unique}'::text[] LOOP
        IF given ? 'group' AND given ? name THEN
            errors := errors || taskflow_error('/' || name, format(together, name, 'group'));
        END IF;
    END LOOP;
    IF given ? 'on_failure' AND NOT given ? 'order_key' THEN
        errors := errors || taskflow_error('/on_failure', 'on_failure needs order_key');
    END IF;
    IF given ->> 'name' ~ uuid_pattern THEN
        errors := errors || taskflow_error('/name', 'name must not look like the id of a task');
    END IF;
    IF NOT has_parents THEN
        IF given ? 'on_parent_failure' THEN
            errors := errors || taskflow_error('/on_parent_failure', 'on_parent_failure needs after');
        END IF;
        RETURN errors;
    END IF;
    errors := errors || coalesce((
        SELECT jsonb_agg(taskflow_error('/after/' || n - 1, parent || ' is given twice') ORDER BY n) FROM (
            SELECT parent, n, row_number() OVER (
                PARTITION BY CASE WHEN parent ~ uuid_pattern THEN lower(parent) ELSE parent END ORDER BY n) AS times
            FROM jsonb_array_elements_text(given -> 'after') WITH ORDINALITY AS t (parent, n)
        ) AS listed WHERE times > 1), '[]');
    FOREACH name IN ARRAY '{order_key,unique,debounce}'::text[] LOOP
        IF given ? name THEN
            errors := errors || taskflow_error('/' || name, format(together, name, 'after'));
        END IF;
    END LOOP;
    IF is_later THEN
        errors := errors || taskflow_error('/run_at', 'run_at must not be in the future together with after');
    END IF;
    RETURN errors;
END
$$;

-- A request as an example of what to send; most values are left out.
CREATE FUNCTION taskflow_example(url jsonb, fields jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    shown text := coalesce(url::text, '"https://example.com/"');
    others text;
BEGIN
    IF octet_length(shown) > (rules ->> 'max_shown_url_bytes')::integer THEN
        shown := '"..."';
    END IF;
    SELECT string_agg(format(', "%s": ...', name), '' ORDER BY n) INTO others
    FROM jsonb_array_elements_text(rules #> '{payload,names}') WITH ORDINALITY AS t (name, n)
    WHERE fields ? name AND name <> 'url';
    RETURN format(CASE WHEN others IS NULL THEN '{"payload": %s}' ELSE '{"payload": {"url": %s%s}}' END, shown, others);
END
$$;

-- The references to results of parents in a text: {{PARENT:POINTER}}.
CREATE FUNCTION taskflow_references_in(written text, place text, is_url boolean) RETURNS jsonb[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    found jsonb[] := '{}';
    part text[];
    before text := '';
    matched text;
BEGIN
    LOOP
        part := regexp_match(substr(written, char_length(before) + 1) COLLATE "C",
            '\{\{([A-Za-z0-9][A-Za-z0-9_.-]{0,63}):([^{}\u0001-\u0020\u007f\\?#]*)\}\}');
        EXIT WHEN part IS NULL;
        matched := format('{{%s:%s}}', part[1], part[2]);
        before := left(written, char_length(before) - 1 + position(matched IN substr(written, char_length(before) + 1)));
        found := found || jsonb_build_object('place', place, 'parent', part[1], 'pointer', part[2], 'fault',
            CASE WHEN is_url AND before COLLATE "C" !~* '^https?://[^/?#\\]+[/?][^#]*$'
            THEN 'a reference can be in the path and the query of a URL only' END);
        before := before || matched;
    END LOOP;
    RETURN found;
END
$$;

-- The references in a body: {"$from": PARENT, "pointer": POINTER} in place of a value.
CREATE FUNCTION taskflow_references_in_body(body jsonb, place text, depth integer) RETURNS jsonb[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    max_depth CONSTANT integer := (taskflow_submission_rules() ->> 'max_reference_depth')::integer;
    found jsonb[] := '{}';
    part record;
BEGIN
    IF coalesce(position('"$from"' IN body::text) = 0, true) THEN
        RETURN found;
    ELSIF depth > max_depth THEN
        RETURN ARRAY[jsonb_build_object('place', place, 'parent', '', 'pointer', '', 'fault',
                                        format('a reference can be at most %s levels deep', max_depth))];
    ELSIF jsonb_typeof(body) = 'object' AND body ?& '{$from,pointer}' AND body - '{$from,pointer}'::text[] = '{}'
          AND jsonb_typeof(body -> '$from') = 'string' AND jsonb_typeof(body -> 'pointer') = 'string'
    THEN
        RETURN ARRAY[jsonb_build_object('place', place, 'parent', body -> '$from', 'pointer', body -> 'pointer')];
    END IF;
    IF jsonb_typeof(body) = 'object' THEN
        FOR part IN SELECT taskflow_pointer_part(key) AS name, value FROM jsonb_each(body) LOOP
            found := found || taskflow_references_in_body(part.value, place || part.name, depth + 1);
        END LOOP;
    ELSIF jsonb_typeof(body) = 'array' THEN
        FOR part IN SELECT '/' || n - 1 AS name, value FROM jsonb_array_elements(body) WITH ORDINALITY AS t (value, n) LOOP
            found := found || taskflow_references_in_body(part.value, place || part.name, depth + 1);
        END LOOP;
    END IF;
    RETURN found;
END
$$;

-- The references in a payload, as many as are allowed and one more.
CREATE FUNCTION taskflow_references(payload jsonb) RETURNS jsonb[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    max_references CONSTANT integer := (taskflow_submission_rules() ->> 'max_references')::integer;
    found jsonb[] := '{}';
    header record;
BEGIN
    IF jsonb_typeof(payload) = 'string' THEN
        found := taskflow_references_in(payload #>> '{}', '', true);
    ELSIF jsonb_typeof(payload) = 'object' THEN
        IF jsonb_typeof(payload -> 'url') = 'string' THEN
            found := taskflow_references_in(payload ->> 'url', '/url', true);
        END IF;
        IF jsonb_typeof(payload -> 'headers') = 'object' THEN
            FOR header IN SELECT key AS name, value #>> '{}' AS text FROM jsonb_each(payload -> 'headers')
                          WHERE jsonb_typeof(value) = 'string'
            LOOP
                found := found || taskflow_references_in(header.text, '/headers' || taskflow_pointer_part(header.name), false);
            END LOOP;
        END IF;
        found := found || taskflow_references_in_body(payload -> 'body', '/body', 0);
    END IF;
    RETURN found[:max_references + 1];
END
$$;

CREATE FUNCTION taskflow_reference_errors(listed jsonb[], after jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    uuid_pattern CONSTANT text := '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$';
    parents text[] := ARRAY(SELECT CASE WHEN parent ~ uuid_pattern THEN lower(parent) ELSE parent END
                            FROM jsonb_array_elements_text(after) AS parent);
    one jsonb;
    parent text;
    pointer text;
    fault text;
    errors jsonb := '[]';
BEGIN
    FOREACH one IN ARRAY listed LOOP
        parent := one ->> 'parent';
        pointer := one ->> 'pointer';
        fault := CASE
            WHEN one ->> 'fault' IS NOT NULL THEN one ->> 'fault'
            WHEN pointer COLLATE "C" !~ '^(/([^~/]|~[01])*)*$'
            THEN taskflow_quoted(pointer) || ' is not a JSON pointer (RFC 6901), such as /result/id: it must be empty or '
                || 'begin with a slash'
            WHEN char_length(pointer) > (rules ->> 'max_pointer_characters')::integer
                OR char_length(pointer) - char_length(replace(pointer, '/', '')) > (rules ->> 'max_pointer_parts')::integer
            THEN format('the pointer has more than %s parts', rules ->> 'max_pointer_parts')
            WHEN CASE WHEN parent ~ uuid_pattern THEN lower(parent) ELSE parent END <> ALL (parents)
            THEN taskflow_quoted(parent) || ' is not among the parents in after' END;
        IF fault IS NOT NULL THEN
            errors := errors || taskflow_error('/payload' || (one ->> 'place'), fault);
        END IF;
    END LOOP;
    IF cardinality(listed) > (rules ->> 'max_references')::integer THEN
        errors := errors || taskflow_error('/payload', format('a payload can have at most %s references',
                                                              rules ->> 'max_references'));
    END IF;
    RETURN errors;
END
$$;

-- Read one task. Either what is stored, or what is wrong with it: errors with places, or one without that rejects all.
CREATE FUNCTION taskflow_read_submission(document jsonb, OUT task jsonb, OUT errors jsonb, OUT refusal text,
                                         OUT problem text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    how CONSTANT text := 'send a JSON object with a payload, such as {"payload": "https://example.com/"}';
    own CONSTANT jsonb := rules -> 'task';
    payload jsonb := document -> 'payload';
    fields jsonb;
    given jsonb := '{}';
    field record;
    found record;
    more jsonb;
    url text;
    missing text;
    references_found jsonb[];
BEGIN
    problem := 'invalid-request';
    IF octet_length(document::text) > (rules ->> 'max_task_bytes')::integer THEN
        problem := 'body-too-large';
        refusal := format('the task is longer than %s bytes', rules ->> 'max_task_bytes');
        RETURN;
    END IF;
    IF coalesce(jsonb_typeof(document) <> 'object', true) THEN
        refusal := 'the body is not a JSON object; ' || how;
        RETURN;
    END IF;
    fields := document - 'payload';
    IF EXISTS (SELECT FROM jsonb_each(document) AS one
               WHERE (one.key = 'payload' OR own -> 'fields' ? one.key) AND taskflow_is_too_deep(one.value))
    THEN
        errors := jsonb_build_array(taskflow_error('', format('the body is nested more than %s levels deep; flatten it',
                                                              rules ->> 'max_nesting')));
        RETURN;
    END IF;
    SELECT * INTO found FROM taskflow_read_payload(payload);
    errors := found.errors;
    url := found.url;
    errors := errors || taskflow_unknown_fields(fields, own, '', '');
    FOR field IN SELECT key AS name, value FROM jsonb_each(fields) WHERE own -> 'fields' ? key LOOP
        IF field.name IN ('unique', 'debounce') THEN
            SELECT * INTO found FROM taskflow_read_key(field.name, field.value);
            errors := errors || found.errors;
            CONTINUE WHEN NOT found.is_given;
        ELSE
            more := taskflow_field_errors(field.value, own -> 'fields' -> field.name, '/' || field.name, field.name);
            errors := errors || more;
            CONTINUE WHEN more <> '[]' OR jsonb_typeof(field.value) = 'null';
        END IF;
        given := given || jsonb_build_object(field.name, taskflow_whole(field.value, own -> 'fields' -> field.name));
    END LOOP;
    -- It is a task as it was shown, to be submitted again: the new one has its own time.
    IF fields ? 'id' AND (given ?| '{order_key,debounce,after}') THEN
        given := given - 'run_at';
    END IF;
    IF jsonb_typeof(payload) = 'string'
       AND fields ?| ARRAY(SELECT jsonb_array_elements_text(rules #> '{payload,names}'))
    THEN
        errors := errors || taskflow_error('/payload', 'a whole request is an object: send '
                                                       || taskflow_example(payload, fields));
    END IF;
    IF given -> 'backoff' = '"webhook"' THEN
        given := given || jsonb_build_object('backoff', rules -> 'webhook_seconds');
        IF NOT fields ? 'max_attempts' THEN
            given := given || jsonb_build_object('max_attempts', jsonb_array_length(rules -> 'webhook_seconds') + 1);
        END IF;
    END IF;
    IF coalesce(jsonb_typeof(payload) = 'null', true) THEN
        missing := CASE WHEN document ? 'payload' THEN 'payload is null; ' ELSE 'payload is missing; ' END;
        IF errors = '[]' THEN
            refusal := missing || how;
            RETURN;
        END IF;
        errors := errors || taskflow_error('/payload', missing || 'send ' || taskflow_example(fields -> 'url', fields));
    END IF;
    IF position(rules ->> 'mask' IN document::text) > 0 THEN
        errors := errors || taskflow_mask_errors(payload, given ->> 'callback_url');
    END IF;
    errors := errors || taskflow_combination_errors(given);
    IF given #>> '{completion,mode}' = 'callback' THEN
        errors := errors || taskflow_own_header_errors(payload, jsonb_build_array(lower(rules ->> 'completion_header')),
                                                       'the header %s is set by TaskFlow; leave it out');
    END IF;
    references_found := '{}';
    IF jsonb_array_length(given -> 'after') > 0 THEN
        references_found := taskflow_references(payload);
        errors := errors || taskflow_reference_errors(references_found, given -> 'after');
    END IF;
    IF (given ->> 'sign')::boolean THEN
        errors := errors || taskflow_own_header_errors(payload, rules -> 'signature_headers',
            'the header %s is set by TaskFlow if the request is signed; leave it out, or set sign to false');
    END IF;
    IF errors = '[]' THEN
        task := taskflow_new_task(payload, given, taskflow_place_in(url), cardinality(references_found) > 0);
    END IF;
END
$$;

-- The task as it is stored.
CREATE FUNCTION taskflow_new_task(payload jsonb, given jsonb, place text[], has_references boolean) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    has_parents boolean := coalesce(jsonb_array_length(given -> 'after'), 0) > 0;
    callback text[] := taskflow_place_in(given ->> 'callback_url');
    options jsonb := jsonb_build_object(
        'retry_on', given -> 'retry_on', 'success_on', given -> 'success_on', 'sign', given -> 'sign',
        'credential', given -> 'credential', 'unique', given -> 'unique', 'debounce', given -> 'debounce',
        'name', given -> 'name', 'completion', given -> 'completion', 'callback_url', given -> 'callback_url',
        'callback_host', callback[1], 'callback_authority', callback[2],
        'backoff', CASE jsonb_typeof(given -> 'backoff')
            WHEN 'object' THEN jsonb_strip_nulls(jsonb_build_object(
                'initial', given #> '{backoff,initial_seconds}',
                'factor', given #> '{backoff,factor}', 'max', given #> '{backoff,max_seconds}'))
            ELSE given -> 'backoff' END);
BEGIN
    IF has_parents THEN
        options := options || jsonb_build_object(
            'on_parent_failure', coalesce(given -> 'on_parent_failure', '"cancel"'),
            'has_references', nullif(has_references, false),
            'delay_after_parents', nullif(taskflow_seconds(given ->> 'delay_seconds'), 0));
    END IF;
    IF given ? 'unique' THEN
        options := options || jsonb_build_object('unique', jsonb_build_object(
            'while', taskflow_submission_rules() -> 'always_unique', 'on_conflict', 'return') || (given -> 'unique'));
    END IF;
    IF given ? 'debounce' THEN
        options := options || jsonb_build_object('debounce', '{"max_wait_seconds": null}' || (given -> 'debounce'));
    END IF;
    SELECT jsonb_object_agg(key, value) INTO options FROM jsonb_each(options) WHERE jsonb_typeof(value) <> 'null';
    RETURN jsonb_build_object(
        'payload', payload::text, 'queue', coalesce(given ->> 'queue', 'default'),
        'priority', coalesce(given -> 'priority', '0'), 'delay_seconds', taskflow_seconds(coalesce(given ->> 'delay_seconds', '0')),
        'max_attempts', coalesce(given -> 'max_attempts', '1'), 'host', place[1], 'authority', coalesce(place[2], ''),
        'extra', (SELECT jsonb_object_agg(name, value) FROM (VALUES
            ('run_at', to_jsonb(taskflow_moment(given ->> 'run_at'))),
            ('expires_at', to_jsonb(taskflow_moment(given ->> 'expires_at'))),
            ('retention_seconds', to_jsonb(taskflow_seconds(given ->> 'retention_seconds'))),
            ('tags', nullif(given -> 'tags', '{}')), ('options', options),
            ('order_key', given -> 'order_key'), ('on_failure', nullif(given -> 'on_failure', '"continue"')),
            ('group', to_jsonb((given ->> 'group')::uuid))
        ) AS t (name, value) WHERE value IS NOT NULL))
        || CASE WHEN has_parents THEN jsonb_build_object('after', given -> 'after') ELSE '{}' END;
END
$$;

-- A number as a double; what is too small for one is zero.
CREATE FUNCTION taskflow_seconds(written text) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN abs(written::numeric) < 1e-300 THEN 0 ELSE written::numeric::float8 END
$$;

-- Reject a submission, as the API does: `problem` is the name of its type.
CREATE FUNCTION taskflow_reject(problem text, message text, errors jsonb DEFAULT '[]') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    type CONSTANT jsonb := taskflow_submission_rules() -> 'problems' -> problem;
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'TF' || (type ->> 'status'),
        MESSAGE = message,
        DETAIL = jsonb_build_object('type', type ->> 'type', 'errors', (
            SELECT coalesce(jsonb_agg(one || jsonb_build_object('pointer', '#' || (one ->> 'pointer')) ORDER BY n), '[]')
            FROM jsonb_array_elements(errors) WITH ORDINALITY AS t (one, n)
            WHERE n <= (taskflow_submission_rules() ->> 'max_errors')::integer));
END
$$;

-- All errors in one line.
CREATE FUNCTION taskflow_summary(errors jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    total integer := jsonb_array_length(errors);
    max_errors CONSTANT integer := (taskflow_submission_rules() ->> 'max_errors')::integer;
BEGIN
    RETURN (SELECT string_agg(one ->> 'detail', '; ' ORDER BY n)
            FROM jsonb_array_elements(errors) WITH ORDINALITY AS t (one, n) WHERE n <= 3)
        || CASE WHEN total <= 3 THEN ''
           WHEN total < max_errors THEN format('; and so on, %s in all', total)
           ELSE format('; and so on, %s or more', max_errors) END;
END
$$;

-- What is wrong with the names and parents of the tasks of an array together.
CREATE FUNCTION taskflow_graph_errors(tasks jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    uuid_pattern CONSTANT text := '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$';
    places jsonb;
    errors jsonb;
    parents bigint := 0;
    task record;
    keyed integer;
BEGIN
    SELECT coalesce(jsonb_object_agg(name, first), '{}') INTO places FROM (
        SELECT one #>> '{extra,options,name}' AS name, min(n) - 1 AS first
        FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)
        WHERE one #> '{extra,options,name}' IS NOT NULL GROUP BY 1
    ) AS named;
    SELECT coalesce(jsonb_agg(taskflow_error(format('/%s/name', n - 1),
               format('the task %s of the array has the name %s, too', places ->> name, taskflow_quoted(name))) ORDER BY n), '[]')
    INTO errors
    FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)
    CROSS JOIN LATERAL (SELECT one #>> '{extra,options,name}' AS name) AS named
    WHERE (places ->> name)::integer < n - 1;
    FOR task IN SELECT one -> 'after' AS after, n - 1 AS place
                FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)
                WHERE jsonb_typeof(one -> 'after') = 'array' ORDER BY n
    LOOP
        parents := parents + jsonb_array_length(task.after);
        IF parents > (rules ->> 'max_edges')::integer THEN
            RETURN errors || taskflow_error(format('/%s/after', task.place),
                                            format('the tasks of an array have at most %s parents', rules ->> 'max_edges'));
        END IF;
        errors := errors || coalesce((
            SELECT jsonb_agg(taskflow_error(format('/%s/after/%s', task.place, n - 1),
                   format('no task of the array has the name %s', taskflow_quoted(parent))) ORDER BY n)
            FROM jsonb_array_elements_text(task.after) WITH ORDINALITY AS t (parent, n)
            WHERE parent !~ uuid_pattern AND NOT places ? parent), '[]');
    END LOOP;
    IF parents = 0 THEN
        RETURN errors;
    END IF;
    SELECT min(n) - 1 INTO keyed FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)
    WHERE one #> '{extra,options}' ?| '{unique,debounce}';
    IF keyed IS NOT NULL THEN
        errors := errors || taskflow_error('/' || keyed,
            'an array with tasks that have parents must not have tasks with unique or debounce');
    END IF;
    RETURN errors || taskflow_cycle_errors(tasks, places);
END
$$;

-- Tasks of an array that wait for each other.
CREATE FUNCTION taskflow_cycle_errors(tasks jsonb, places jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    count CONSTANT integer := jsonb_array_length(tasks);
    -- By index from 1: the number of parents that are left, and where the children of a task begin.
    open integer[];
    starts integer[];
    children integer[];
    free integer[];
    head integer := 1;
    child integer;
    blocked integer;
    path text[] := '{}';
    name text;
    shown text;
BEGIN
        SELECT array_agg(t.child ORDER BY t.parent, t.child) INTO children FROM (
            SELECT (places ->> parent)::integer + 1 AS parent, n::integer AS child
            FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)
            CROSS JOIN LATERAL jsonb_array_elements_text(
                CASE jsonb_typeof(one -> 'after') WHEN 'array' THEN one -> 'after' ELSE '[]' END) AS parent
            WHERE places ? parent
        ) AS t;
        SELECT array_agg(edges.parents ORDER BY i), array_agg(1 + edges.before ORDER BY i) INTO open, starts
        FROM (
            SELECT i, coalesce(p.parents, 0)::integer AS parents,
                   coalesce(sum(c.children) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::integer
                       AS before
            FROM generate_series(1, count + 1) AS i
            LEFT JOIN (SELECT i, count(*) AS parents FROM unnest(children) AS i GROUP BY 1) AS p USING (i)
            LEFT JOIN (
                SELECT (places ->> parent)::integer + 1 AS i, count(*) AS children
                FROM jsonb_array_elements(tasks) AS one CROSS JOIN LATERAL jsonb_array_elements_text(
                    CASE jsonb_typeof(one -> 'after') WHEN 'array' THEN one -> 'after' ELSE '[]' END) AS parent
                WHERE places ? parent GROUP BY 1
            ) AS c USING (i)
        ) AS edges;
    free := ARRAY(SELECT i FROM generate_series(1, count) AS i WHERE open[i] = 0);
    WHILE head <= cardinality(free) LOOP
        FOR edge IN starts[free[head]] .. starts[free[head] + 1] - 1 LOOP
            child := children[edge];
            open[child] := open[child] - 1;
            IF open[child] = 0 THEN
                free := free || child;
            END IF;
        END LOOP;
        head := head + 1;
    END LOOP;
    SELECT min((value #>> '{}')::integer) INTO blocked FROM jsonb_each(places)
    WHERE open[(value #>> '{}')::integer + 1] > 0;
    IF blocked IS NULL THEN
        RETURN '[]';
    END IF;
    name := tasks -> blocked #>> '{extra,options,name}';
    WHILE name <> ALL (path) LOOP
        path := path || name;
        SELECT parent INTO name
        FROM jsonb_array_elements_text(tasks -> (places ->> name)::integer -> 'after') WITH ORDINALITY AS t (parent, n)
        WHERE places ? parent AND open[(places ->> parent)::integer + 1] > 0 ORDER BY n LIMIT 1;
    END LOOP;
    path := path[array_position(path, name):] || name;
    shown := array_to_string(path, ' -> ');
    IF char_length(shown) > 300 THEN
        shown := left(shown, 297) || '...';
    END IF;
    RETURN jsonb_build_array(taskflow_error(format('/%s/after', places ->> name),
                                            'tasks wait for each other: ' || shown));
END
$$;

-- Reject tasks whose parents, given by their ids, cannot have them as children.
CREATE FUNCTION taskflow_check_parents(tasks jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    max_children CONSTANT integer := (taskflow_submission_rules() ->> 'max_children')::integer;
    errors jsonb;
BEGIN
    WITH named AS MATERIALIZED (
        SELECT n - 1 AS task, m - 1 AS place, parent, parent::uuid AS id,
               row_number() OVER (PARTITION BY parent::uuid ORDER BY n, m) AS number
        FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)
        CROSS JOIN LATERAL jsonb_array_elements_text(
            CASE jsonb_typeof(one -> 'after') WHEN 'array' THEN one -> 'after' ELSE '[]' END
        ) WITH ORDINALITY AS p (parent, m)
        WHERE parent ~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'
    ), known AS MATERIALIZED (
        SELECT wanted.id, (
            SELECT count(*) FROM (SELECT FROM taskflow_edges AS e WHERE e.parent_id = wanted.id LIMIT max_children + 1) AS e
        ) AS children
        FROM (SELECT DISTINCT id FROM named) AS wanted CROSS JOIN LATERAL (
            SELECT FROM taskflow_all_tasks AS one WHERE one.id = wanted.id OFFSET 0
        ) AS t
    )
    SELECT jsonb_agg(taskflow_error(
               CASE WHEN jsonb_array_length(tasks) > 1 THEN '/' || task ELSE '' END || '/after/' || place,
               CASE WHEN known.id IS NULL THEN 'no task has the id ' || parent
               ELSE format('the task %s has %s children, and cannot have more', parent, max_children) END)
           ORDER BY task, place)
    INTO errors
    FROM named LEFT JOIN known USING (id)
    WHERE known.id IS NULL OR known.children + named.number > max_children;
    IF errors IS NOT NULL THEN
        PERFORM taskflow_reject('validation-error', errors #>> '{0,detail}', errors);
    END IF;
END
$$;

-- Reject tasks whose groups take no more tasks.
CREATE FUNCTION taskflow_check_groups(tasks jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found record;
    message text;
    errors jsonb;
BEGIN
    FOR found IN
        SELECT wanted.id, wanted.places, g.id IS NOT NULL AS is_known,
               CASE WHEN g.status <> 'OPEN' THEN 'it is ' || g.status
                    WHEN g.cancel_state IS NOT NULL THEN 'a task of it failed, and its other tasks are canceled'
                    WHEN g.closing_until > clock_timestamp() THEN 'it is being closed' END AS why
        FROM (
            SELECT (one #>> '{extra,group}')::uuid AS id, array_agg(n - 1 ORDER BY n) AS places
            FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)
            WHERE one #> '{extra,group}' IS NOT NULL GROUP BY 1
        ) AS wanted LEFT JOIN taskflow_groups AS g ON g.id = wanted.id
        ORDER BY wanted.places
    LOOP
        message := CASE WHEN NOT found.is_known
            THEN format('no group has the id %s; POST /groups creates one, and returns its id', found.id)
            ELSE format('the group %s takes no more tasks: %s', found.id, found.why) END;
        errors := CASE WHEN jsonb_array_length(tasks) = 1 THEN jsonb_build_array(taskflow_error('/group', message))
            ELSE (SELECT jsonb_agg(taskflow_error(format('/%s/group', place), message)) FROM unnest(found.places) AS place) END;
        IF NOT found.is_known OR found.why IS NOT NULL THEN
            PERFORM taskflow_reject(CASE WHEN found.is_known THEN 'group-closed' ELSE 'validation-error' END, message, errors);
        END IF;
    END LOOP;
END
$$;

-- The tasks of an earlier submission with an idempotency key; NULL if there was none.
CREATE FUNCTION taskflow_known_tasks(idempotency_key text, fingerprint bytea) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    known record;
    rules CONSTANT jsonb := taskflow_submission_rules();
BEGIN
    SELECT k.fingerprint, k.task_ids INTO known FROM taskflow_idempotency_keys AS k
    WHERE k.key = idempotency_key AND k.expires_at > now();
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF known.fingerprint IS DISTINCT FROM fingerprint THEN
        PERFORM taskflow_reject('idempotency-key-reused', rules #>> '{problems,idempotency-key-reused,detail}');
    ELSIF EXISTS (SELECT FROM unnest(known.task_ids) AS id
                  WHERE NOT EXISTS (SELECT FROM taskflow_all_tasks AS t WHERE t.id = id.id))
    THEN
        PERFORM taskflow_reject('task-deleted', rules #>> '{problems,task-deleted,detail}');
    END IF;
    RETURN known.task_ids;
END
$$;

-- The statement `add` of the service; nothing is claimed, and nodes are notified at the commit.
-- generated: add
CREATE FUNCTION taskflow_add(new_payloads text[], new_queues text[], new_priorities smallint[], new_delays float8[], new_attempts integer[], new_hosts text[], new_authorities text[], new_extras text[], new_claimed boolean[])
RETURNS TABLE (place bigint, task_id uuid, task_priority smallint, task_run_at timestamptz,
               created_at timestamptz, is_claimed boolean) LANGUAGE plpgsql AS $add$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH claim AS MATERIALIZED (
    SELECT id AS node_id, name AS node, NULL::uuid AS claim_token, now() AS started_at
    FROM taskflow_nodes WHERE id = NULL::uuid AND expires_at > now()
), ids AS MATERIALIZED (
    SELECT lpad(to_hex(microseconds / 1000), 12, '0')
           || to_hex(28672 + (microseconds % 1000) * 4096 / 1000) AS time,
           taskflow_marked(right(gen_random_uuid()::text, 10)) AS random
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS clock (microseconds)
)
, numbered AS MATERIALIZED (
    SELECT (ids.time || to_hex(8388608 + t.place) || ids.random)::uuid AS id, t.payload, t.queue, t.priority, t.max_attempts, t.host, t.authority,
           t.is_claimed, t.place, extra.expires_at, extra.retention_seconds, extra.tags,
           extra.options, extra.key, extra.fingerprint, extra.key_seconds, extra.request,
           extra.order_key, extra.on_failure, extra."group",
           extra.near, extra.after, extra.parents_left, extra.has_children,
           CASE WHEN extra.order_key IS NOT NULL OR extra.parents_left IS NOT NULL THEN taskflow_never()
           WHEN extra.run_at IS NULL THEN now() + make_interval(secs => t.delay_seconds)
           ELSE greatest(extra.run_at, now()) END AS run_at
    FROM ids CROSS JOIN unnest(
        new_payloads, new_queues, new_priorities,
        new_delays, new_attempts, new_hosts, new_authorities,
        new_extras, new_claimed
    ) WITH ORDINALITY AS t (payload, queue, priority, delay_seconds, max_attempts, host, authority,
                            extra, is_claimed, place)
    LEFT JOIN LATERAL json_to_record(t.extra::json) AS extra (
        run_at timestamptz, expires_at timestamptz, retention_seconds float8, tags json,
        options json, key text, fingerprint text, key_seconds float8, request bigint,
        order_key text, on_failure text, "group" uuid,
        near json, after uuid[], parents_left integer, has_children boolean
    ) ON t.extra IS NOT NULL
), joined AS MATERIALIZED (
    SELECT g.id FROM taskflow_groups AS g
    WHERE g.id = ANY (ARRAY(SELECT "group" FROM numbered WHERE "group" IS NOT NULL))
      AND g.status = 'OPEN' AND g.cancel_state IS NULL
      AND coalesce(g.closing_until < clock_timestamp(), true)
    ORDER BY g.id FOR KEY SHARE
), refused AS MATERIALIZED (
    SELECT DISTINCT request FROM numbered
    WHERE "group" IS NOT NULL AND "group" NOT IN (SELECT id FROM joined)
), requests AS (
    SELECT key, request, min(fingerprint) AS fingerprint, min(key_seconds) AS key_seconds,
           array_agg(id ORDER BY place) AS task_ids
    FROM numbered WHERE key IS NOT NULL AND request NOT IN (SELECT request FROM refused)
    GROUP BY key, request
), keyed AS (
    INSERT INTO taskflow_idempotency_keys AS known (key, fingerprint, task_ids, expires_at)
    SELECT DISTINCT ON (key) key, decode(fingerprint, 'hex'), task_ids,
           now() + make_interval(secs => key_seconds)
    FROM requests ORDER BY key, request
    ON CONFLICT (key) DO UPDATE
    SET fingerprint = EXCLUDED.fingerprint, task_ids = EXCLUDED.task_ids,
        expires_at = EXCLUDED.expires_at
    WHERE taskflow_is_over(known.expires_at)
    RETURNING task_ids
), submitted AS MATERIALIZED (
    SELECT * FROM numbered LEFT JOIN claim ON is_claimed AND NOT EXISTS (
        SELECT FROM taskflow_queues AS q
        WHERE q.name = numbered.queue AND (q.is_limited OR q.settings::text <> '{}')
    ) AND NOT EXISTS (
        SELECT FROM taskflow_hosts AS h WHERE h.host = numbered.authority
    )
    WHERE CASE WHEN key IS NOT NULL THEN id IN (SELECT unnest(task_ids) FROM keyed)
          ELSE request IS NULL OR request NOT IN (SELECT request FROM refused) END
), kept AS (
    INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, priority, run_at, max_attempts,
                                host, authority, expires_at, retention_seconds, tags,
                                options, order_key, on_failure, waiting_for, group_id,
                                parents_left, has_children, status, attempt, node_id, node, claim_token, started_at)
    SELECT id, payload::json, octet_length(concat(payload, tags, options)), queue, priority, run_at, max_attempts,
           host, authority, expires_at, retention_seconds, tags, options,
           order_key, on_failure, CASE WHEN order_key IS NOT NULL THEN 'order_key'
                                  WHEN parents_left IS NOT NULL THEN 'parents' END, "group",
           parents_left, has_children, CASE WHEN node IS NULL THEN 'PENDING' ELSE 'RUNNING' END, (node IS NOT NULL)::integer,
           node_id, node, claim_token, started_at
    FROM submitted ORDER BY place
), tagged AS (
    INSERT INTO taskflow_tags (name, value, task_id)
    SELECT tag.key, tag.value, submitted.id
    FROM submitted CROSS JOIN LATERAL json_each_text(tags) AS tag
    WHERE tags IS NOT NULL
), ordered AS (
    INSERT INTO taskflow_ordered (task_id, queue, order_key)
    SELECT id, queue, order_key FROM submitted WHERE order_key IS NOT NULL ORDER BY place
), grouped AS (
    INSERT INTO taskflow_group_members (group_id, task_id)
    SELECT "group", id FROM submitted WHERE "group" IS NOT NULL ORDER BY place
), counted AS (
    INSERT INTO taskflow_group_changes (group_id, status, change)
    SELECT "group", CASE WHEN node IS NULL THEN 'PENDING' ELSE 'RUNNING' END, count(*)
    FROM submitted WHERE "group" IS NOT NULL GROUP BY 1, 2
), stepped AS (
    INSERT INTO taskflow_order_steps (queue, order_key)
    SELECT DISTINCT queue, order_key FROM submitted WHERE order_key IS NOT NULL
), linked AS (
    -- The ids of parents of the same request follow from their places.
    INSERT INTO taskflow_edges (parent_id, child_id, name)
    SELECT (ids.time || to_hex(8388608 + s.place + near.value::integer) || ids.random)::uuid, s.id, near.key
    FROM ids CROSS JOIN submitted AS s CROSS JOIN LATERAL json_each_text(s.near) AS near
    WHERE s.near IS NOT NULL
    UNION ALL
    SELECT parent_id, s.id, NULL FROM submitted AS s CROSS JOIN LATERAL unnest(s.after) AS parent_id
    WHERE s.after IS NOT NULL
), joined_parents AS (
    INSERT INTO taskflow_graph_steps (child_id) SELECT id FROM submitted WHERE after IS NOT NULL
),
announced AS MATERIALIZED (
    SELECT taskflow_announce('', array_agg(priority), array_agg(run_at))
    FROM submitted WHERE node IS NULL AND run_at < taskflow_never() AND (
        cardinality('{}'::uuid[]) = 0
        OR EXISTS (SELECT FROM taskflow_nodes AS n WHERE n.id <> ALL ('{}'::uuid[]))
    )
)
SELECT place - 1, id, priority, CASE WHEN order_key IS NULL AND parents_left IS NULL THEN run_at END, now(),
       node IS NOT NULL
FROM submitted CROSS JOIN announced ORDER BY place;
END
$add$;
-- end

-- Store valid tasks, one or an array, all or none; or return the tasks of an earlier submission with the key.
CREATE FUNCTION taskflow_store_tasks(tasks jsonb, idempotency_key text, fingerprint bytea) RETURNS uuid[]
LANGUAGE plpgsql AS $$
DECLARE
    key_seconds CONSTANT float8 := (taskflow_submission_rules() ->> 'idempotency_seconds')::float8;
    is_grouped CONSTANT boolean := jsonb_path_exists(tasks, '$[*].extra.group');
    has_parents CONSTANT boolean := jsonb_path_exists(tasks, '$[*].after[*]');
    places jsonb;
    parents jsonb;
    ids uuid[];
    extras text[];
BEGIN
    ids := taskflow_known_tasks(idempotency_key, fingerprint);
    IF ids IS NOT NULL THEN
        RETURN ids;
    END IF;
    IF has_parents THEN
        PERFORM taskflow_check_parents(tasks);
    END IF;
    SELECT coalesce(jsonb_object_agg(one #>> '{extra,options,name}', n), '{}') INTO places
    FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)
    WHERE has_parents AND one #> '{extra,options,name}' IS NOT NULL;
    SELECT coalesce(jsonb_object_agg(DISTINCT value #>> '{}', true), '{}') INTO parents
    FROM jsonb_path_query(tasks, '$[*].after[*]') AS value;
    extras := ARRAY(
        SELECT nullif(coalesce(nullif(one -> 'extra', 'null'), '{}')
            || CASE WHEN jsonb_typeof(one -> 'after') = 'array' THEN taskflow_links(one -> 'after', places, n)
               ELSE '{}' END
            || CASE WHEN parents ? (one #>> '{extra,options,name}') THEN jsonb '{"has_children": true}' ELSE '{}' END
            || CASE WHEN idempotency_key IS NULL THEN '{}'
               ELSE jsonb_build_object('key', idempotency_key, 'fingerprint', encode(fingerprint, 'hex'),
                                       'key_seconds', key_seconds) END
            || CASE WHEN is_grouped OR idempotency_key IS NOT NULL THEN jsonb '{"request": 0}' ELSE '{}' END, '{}')::text
        FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n) ORDER BY n);
    LOOP
        SELECT array_agg(added.task_id ORDER BY added.place) INTO ids
        FROM (
            SELECT array_agg(payload ORDER BY n) AS payloads, array_agg(queue ORDER BY n) AS queues,
                   array_agg(priority ORDER BY n) AS priorities, array_agg(delay_seconds ORDER BY n) AS delays,
                   array_agg(max_attempts ORDER BY n) AS attempts, array_agg(host ORDER BY n) AS hosts,
                   array_agg(authority ORDER BY n) AS authorities
            FROM ROWS FROM (jsonb_to_recordset(tasks) AS (
                payload text, queue text, priority smallint, delay_seconds float8, max_attempts integer, host text,
                authority text)) WITH ORDINALITY AS t (payload, queue, priority, delay_seconds, max_attempts, host,
                                                       authority, n)
        ) AS new CROSS JOIN LATERAL taskflow_add(payloads, queues, priorities, delays, attempts, hosts, authorities,
                                                 extras, array_fill(false, ARRAY[cardinality(extras)])) AS added;
        EXIT WHEN ids IS NOT NULL;
        ids := taskflow_known_tasks(idempotency_key, fingerprint);
        EXIT WHEN ids IS NOT NULL;
        PERFORM taskflow_check_groups(tasks);
    END LOOP;
    IF jsonb_path_exists(tasks, '$[*].extra.order_key') THEN
        PERFORM taskflow_notify('taskflow_work', ' order');
    END IF;
    IF jsonb_path_exists(tasks, '$[*].after[*] ? (@ like_regex "^[0-9a-fA-F]{8}-")') THEN
        PERFORM taskflow_notify('taskflow_work', ' graph');
    END IF;
    RETURN ids;
END
$$;

-- The parents of a task: tasks of the same array by their distance, the others by their ids.
CREATE FUNCTION taskflow_links(after jsonb, places jsonb, place bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'near', jsonb_object_agg(parent, (places ->> parent)::bigint - place) FILTER (WHERE NOT is_id),
        'after', jsonb_agg(lower(parent) ORDER BY n) FILTER (WHERE is_id),
        'parents_left', nullif(count(*), 0)))
    FROM jsonb_array_elements_text(after) WITH ORDINALITY AS t (parent, n)
    CROSS JOIN LATERAL (SELECT parent ~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$' AS is_id) AS read
$$;

-- The same for tasks of which some have unique or debounce keys (0025).
CREATE FUNCTION taskflow_store_keyed(tasks jsonb, idempotency_key text, fingerprint bytea) RETURNS uuid[]
LANGUAGE plpgsql AS $$
DECLARE
    request text := jsonb_build_object(
        'tasks', (SELECT jsonb_agg(jsonb_build_object('options', jsonb '{}') || (one - 'extra' - 'after')
                                   || coalesce(nullif(one -> 'extra', 'null'), '{}') ORDER BY n)
                  FROM jsonb_array_elements(tasks) WITH ORDINALITY AS t (one, n)),
        'key', idempotency_key, 'fingerprint', encode(fingerprint, 'hex'),
        'key_seconds', (taskflow_submission_rules() ->> 'idempotency_seconds')::float8)::text;
    found record;
    ids uuid[];
    errors jsonb;
BEGIN
    LOOP
        SELECT array_agg(task_id ORDER BY place) AS task_ids, min(outcome) AS outcome,
               array_agg(place ORDER BY n) AS places, array_agg(task_id ORDER BY n) AS others,
               array_agg(task_priority) FILTER (WHERE is_due) AS priorities,
               array_agg(task_run_at) FILTER (WHERE is_due) AS run_ats
        INTO found
        FROM taskflow_add_keyed(ARRAY[request], NULL) WITH ORDINALITY AS added (
            request, place, task_id, task_priority, task_run_at, outcome, n)
        CROSS JOIN LATERAL (SELECT outcome IN ('created', 'replaced', 'debounced')
                                   AND task_run_at < taskflow_never() AS is_due) AS due;
        EXIT WHEN found.outcome <> 'known';
        ids := taskflow_known_tasks(idempotency_key, fingerprint);
        IF ids IS NOT NULL THEN
            RETURN ids;
        END IF;
    END LOOP;
    IF found.outcome = 'rejected' THEN
        SELECT jsonb_agg(taskflow_error(
                   CASE WHEN jsonb_array_length(tasks) > 1 THEN '/' || place - 1 ELSE '' END || '/unique',
                   coalesce('the task ' || other, 'an earlier task of the array') || ' has this unique key') ORDER BY place)
        INTO errors FROM unnest(found.places, found.others) AS taken (place, other);
        PERFORM taskflow_reject('not-unique', errors #>> '{0,detail}'
            || CASE WHEN jsonb_array_length(errors) > 1 THEN format('; and so on, %s in all', jsonb_array_length(errors))
               ELSE '' END, errors);
    END IF;
    PERFORM taskflow_announce('', found.priorities, found.run_ats);
    IF jsonb_path_exists(tasks, '$[*].extra.order_key') THEN
        PERFORM taskflow_notify('taskflow_work', ' order');
    END IF;
    RETURN found.task_ids;
END
$$;

-- Whether nodes encrypt payloads (TASKFLOW_ENCRYPT), as the last one that was registered says: then no plain text is stored.
CREATE TABLE taskflow_sql_submission (
    is_only           boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    encrypts_payloads boolean NOT NULL
);

-- Why the functions cannot protect the privileges of their owner, and what to do about it; nothing if they can.
--
-- Only the owner of the tables, the owner of the schema, members of these roles, and superusers may create functions and
-- operators in the schema, or have some there with names that are called. All names here are qualified: it must not call
-- an overload itself. pg_shdepend has the owners of all objects but those of the first superuser.
CREATE FUNCTION taskflow_schema_fault(OUT message text, OUT hint text) LANGUAGE plpgsql STABLE AS $$
DECLARE
    tables record;
    culprit record;
BEGIN
    SELECT n.oid AS schema, n.nspname AS name, n.nspacl AS privileges, n.nspowner AS schema_owner, c.relowner AS owner
    INTO tables FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.oid OPERATOR(pg_catalog.=) 'taskflow_sql_submission'::pg_catalog.regclass;
    -- A dump that is restored without privileges has the default ones.
    IF EXISTS (
        SELECT FROM pg_catalog.pg_proc AS p
        WHERE p.proname OPERATOR(pg_catalog.=) ANY ('{enqueue,enqueue_many,taskflow_enqueue,taskflow_enqueue_many}'::name[])
          AND p.pronamespace OPERATOR(pg_catalog.=) tables.schema AND p.prosecdef
          AND pg_catalog.has_function_privilege('public'::name, p.oid, 'EXECUTE'::text)
    ) THEN
        message := 'every role may submit tasks with SQL';
        hint := 'REVOKE ALL ON FUNCTION taskflow_enqueue, taskflow_enqueue_many FROM PUBLIC, and enqueue and '
            'enqueue_many, if they exist';
        RETURN;
    END IF;
    SELECT CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0::oid THEN 'PUBLIC'::text
           ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)::text) END AS role
    INTO culprit FROM pg_catalog.aclexplode(tables.privileges) AS a
    WHERE a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'::text
      AND CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0::oid THEN true
          ELSE NOT (pg_catalog.pg_has_role(a.grantee, tables.owner, 'MEMBER'::text)
                    OR pg_catalog.pg_has_role(a.grantee, tables.schema_owner, 'MEMBER'::text)) END
    LIMIT 1;
    IF FOUND THEN
        message := pg_catalog.format('%s may create functions in the schema %I, which could run with the privileges of '
                                     'the owner of the tables', culprit.role, tables.name);
        hint := pg_catalog.format('REVOKE CREATE ON SCHEMA %I FROM %s', tables.name, culprit.role);
        RETURN;
    END IF;
    SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0) AS object,
           pg_catalog.pg_get_userbyid(d.refobjid) AS role
    INTO culprit FROM pg_catalog.pg_shdepend AS d
    WHERE d.dbid OPERATOR(pg_catalog.=) (
            SELECT b.oid FROM pg_catalog.pg_database AS b
            WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
      AND d.classid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass]::oid[])
      AND d.deptype OPERATOR(pg_catalog.=) 'o'::"char"
      AND d.refobjid OPERATOR(pg_catalog.<>) tables.owner
      -- The caches answer this soon for all objects in other schemas.
      AND CASE WHEN d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::regclass::oid
          THEN pg_catalog.pg_function_is_visible(d.objid) ELSE pg_catalog.pg_operator_is_visible(d.objid) END
      AND (EXISTS (SELECT FROM pg_catalog.pg_operator AS o
                   WHERE o.oid OPERATOR(pg_catalog.=) d.objid AND o.oprnamespace OPERATOR(pg_catalog.=) tables.schema)
           OR EXISTS (
               SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_proc AS called
               ON called.proname OPERATOR(pg_catalog.=) p.proname AND called.oid OPERATOR(pg_catalog.<>) p.oid
               WHERE p.oid OPERATOR(pg_catalog.=) d.objid AND p.pronamespace OPERATOR(pg_catalog.=) tables.schema
                 AND called.pronamespace OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog'::regnamespace::oid, tables.schema])))
      AND NOT (pg_catalog.pg_has_role(d.refobjid, tables.owner, 'MEMBER'::text)
               OR pg_catalog.pg_has_role(d.refobjid, tables.schema_owner, 'MEMBER'::text))
    LIMIT 1;
    IF FOUND THEN
        message := pg_catalog.format('the %s of the role %I could run with the privileges of the owner of the tables',
                                     culprit.object, culprit.role);
        hint := 'drop it, or move it to another schema';
    END IF;
END
$$;

CREATE FUNCTION taskflow_check_schema() RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    fault record;
BEGIN
    SELECT f.message, f.hint INTO fault FROM taskflow_schema_fault() AS f;
    IF fault.message IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = fault.message, HINT = fault.hint;
    END IF;
END
$$;

-- Read and store tasks as a transaction of another program, which may stay open (0010). Afterwards the caller
-- has its own settings again. Only a superuser can attach settings of extensions to a function.
CREATE FUNCTION taskflow_submit(documents jsonb, is_array boolean, idempotency_key text) RETURNS uuid[]
LANGUAGE plpgsql AS $$
DECLARE
    names CONSTANT text[] := '{taskflow.commits_later,taskflow.is_archiving,taskflow.announces_later}';
    former text[] := ARRAY(SELECT coalesce(current_setting(name, true), '') FROM unnest(names) WITH ORDINALITY AS t (name, n)
                           ORDER BY n);
    ids uuid[];
BEGIN
    PERFORM set_config(name, value, true) FROM unnest(names, '{on,off,off}'::text[]) AS t (name, value);
    ids := taskflow_submit_documents(documents, is_array, idempotency_key);
    PERFORM set_config(name, value, true) FROM unnest(names, former) AS t (name, value);
    RETURN ids;
END
$$;

-- Read and store tasks: one, or an array of them.
CREATE FUNCTION taskflow_submit_documents(documents jsonb, is_array boolean, idempotency_key text) RETURNS uuid[]
LANGUAGE plpgsql AS $$
DECLARE
    rules CONSTANT jsonb := taskflow_submission_rules();
    fingerprint bytea := sha256(convert_to(documents::text, 'UTF8'));
    tasks jsonb[] := '{}';
    listed jsonb;
    errors jsonb := '[]';
    one record;
    key text;
    keyed integer;
BEGIN
    IF current_setting('session_replication_role') = 'replica' THEN
        RAISE EXCEPTION 'session_replication_role is replica, with which TaskFlow''s triggers do not run'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'SET session_replication_role = origin';
    END IF;
    IF EXISTS (SELECT FROM taskflow_sql_submission WHERE encrypts_payloads) THEN
        PERFORM taskflow_reject('validation-error', 'SQL cannot encrypt payloads, and TASKFLOW_ENCRYPT of the service says '
            || 'that they are encrypted: submit the task by HTTP, or by enqueue() in Python with encryption_key');
    END IF;
    IF idempotency_key COLLATE "C" !~ '^[ -~]{1,255}$' THEN
        PERFORM taskflow_reject('validation-error', 'idempotency_key must be 1 to 255 printable ASCII characters');
    END IF;
    -- No other submission can have such a key: neither one by HTTP nor one by enqueue() in Python.
    key := E'\n\n\n' || idempotency_key;
    FOR one IN SELECT n - 1 AS place, read.* FROM jsonb_array_elements(documents) WITH ORDINALITY AS t (document, n)
               CROSS JOIN LATERAL taskflow_read_submission(document) AS read ORDER BY n
    LOOP
        IF one.refusal IS NOT NULL AND NOT is_array THEN
            PERFORM taskflow_reject(one.problem, one.refusal);
        ELSIF one.refusal IS NOT NULL THEN
            errors := errors || taskflow_error('/' || one.place, format('[%s]: %s', one.place, one.refusal));
        ELSIF one.errors <> '[]' THEN
            errors := errors || CASE WHEN NOT is_array THEN one.errors ELSE (
                SELECT jsonb_agg(taskflow_error(format('/%s%s', one.place, error ->> 'pointer'), error ->> 'detail') ORDER BY n)
                FROM jsonb_array_elements(one.errors) WITH ORDINALITY AS t (error, n)) END;
        ELSE
            tasks := tasks || one.task;
        END IF;
        EXIT WHEN jsonb_array_length(errors) >= (rules ->> 'max_errors')::integer;
    END LOOP;
    IF errors <> '[]' THEN
        PERFORM taskflow_reject('validation-error', taskflow_summary(errors), errors);
    END IF;
    listed := to_jsonb(tasks);
    SELECT min(n) - 1 INTO keyed FROM jsonb_array_elements(listed) WITH ORDINALITY AS t (task, n)
    WHERE task #> '{extra,options}' ?| '{unique,debounce}';
    IF keyed IS NOT NULL AND jsonb_path_exists(listed, '$[*].extra.group') THEN
        errors := jsonb_build_array(taskflow_error('/' || keyed,
            'an array with tasks that join a group must not have tasks with unique or debounce'));
        PERFORM taskflow_reject('validation-error', taskflow_summary(errors), errors);
    END IF;
    IF is_array THEN
        errors := taskflow_graph_errors(listed);
    ELSE
        SELECT coalesce(jsonb_agg(taskflow_error('/after/' || n - 1, format(
            '%s is not the id of a task; a name is for a task of the same array: send both as one array',
            taskflow_quoted(parent))) ORDER BY n), '[]') INTO errors
        FROM jsonb_path_query(listed, '$[*].after[*]') WITH ORDINALITY AS t (value, n)
        CROSS JOIN LATERAL (SELECT value #>> '{}' AS parent) AS read
        WHERE parent !~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$';
    END IF;
    IF errors <> '[]' THEN
        PERFORM taskflow_reject('validation-error',
            CASE WHEN is_array THEN taskflow_summary(errors) ELSE errors #>> '{0,detail}' END, errors);
    END IF;
    IF keyed IS NULL THEN
        RETURN taskflow_store_tasks(listed, key, fingerprint);
    END IF;
    RETURN taskflow_store_keyed(listed, key, fingerprint);
END
$$;

-- Events of such tasks are recorded at the commit (0010). This runs for the session of the caller then, so it must not
-- depend on its privileges and settings either, and every call in it matches one of pg_catalog exactly: it runs for
-- enqueue() in Python, too, so it cannot refuse. CREATE OR REPLACE would undo this: a later migration repeats it.
DO $do$
BEGIN
    EXECUTE format('ALTER FUNCTION taskflow_record_enqueued() SECURITY DEFINER SET search_path = pg_catalog, %I, pg_temp',
                   current_schema());
END
$do$;
-- A trigger on a table of another role must not call it.
REVOKE ALL ON FUNCTION taskflow_record_enqueued() FROM PUBLIC;

DO $do$
DECLARE
    schema CONSTANT text := current_schema();
    prefixes text[] := CASE schema WHEN 'taskflow' THEN '{taskflow_,""}' ELSE '{taskflow_}' END;
    prefix text;
    settings CONSTANT text := format($settings$
        LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, %I, pg_temp
        SET TimeZone = 'UTC'
        SET DateStyle = 'ISO'
        SET IntervalStyle = 'postgres'
        SET extra_float_digits = 1
        SET bytea_output = 'hex'
        SET transform_null_equals = off
        SET jit = off
        SET plan_cache_mode = force_generic_plan
        SET enable_seqscan = off
        SET enable_bitmapscan = off
    $settings$, schema);
BEGIN
    FOREACH prefix IN ARRAY prefixes LOOP
        -- A column that is NULL is an option that is not given.
        EXECUTE format($create$
            CREATE FUNCTION %I(
-- generated: parameters
    "payload" jsonb,
    "queue" text DEFAULT 'default',
    "max_attempts" integer DEFAULT NULL,
    "priority" integer DEFAULT NULL,
    "run_at" timestamptz DEFAULT NULL,
    "delay_seconds" double precision DEFAULT NULL,
    "expires_at" timestamptz DEFAULT NULL,
    "backoff" jsonb DEFAULT NULL,
    "retry_on" jsonb DEFAULT NULL,
    "success_on" jsonb DEFAULT NULL,
    "sign" boolean DEFAULT NULL,
    "credential" text DEFAULT NULL,
    "unique" jsonb DEFAULT NULL,
    "debounce" jsonb DEFAULT NULL,
    "tags" jsonb DEFAULT NULL,
    "completion" jsonb DEFAULT NULL,
    "callback_url" text DEFAULT NULL,
    "retention_seconds" double precision DEFAULT NULL,
    "order_key" text DEFAULT NULL,
    "on_failure" text DEFAULT NULL,
    "group" uuid DEFAULT NULL,
    "name" text DEFAULT NULL,
    "after" uuid[] DEFAULT NULL,
    "on_parent_failure" text DEFAULT NULL,
    idempotency_key text DEFAULT NULL
-- end
            ) RETURNS uuid %s AS $body$
            DECLARE
                tasks jsonb;
            BEGIN
                PERFORM taskflow_check_schema();
                SELECT jsonb_build_array(jsonb_object_agg(given.name, given.value)) INTO tasks
                FROM (VALUES
-- generated: document
('payload', to_jsonb("payload")),
('queue', to_jsonb("queue")),
('max_attempts', to_jsonb("max_attempts")),
('priority', to_jsonb("priority")),
('run_at', to_jsonb("run_at")),
('delay_seconds', to_jsonb("delay_seconds")),
('expires_at', to_jsonb("expires_at")),
('backoff', to_jsonb("backoff")),
('retry_on', to_jsonb("retry_on")),
('success_on', to_jsonb("success_on")),
('sign', to_jsonb("sign")),
('credential', to_jsonb("credential")),
('unique', to_jsonb("unique")),
('debounce', to_jsonb("debounce")),
('tags', to_jsonb("tags")),
('completion', to_jsonb("completion")),
('callback_url', to_jsonb("callback_url")),
('retention_seconds', to_jsonb("retention_seconds")),
('order_key', to_jsonb("order_key")),
('on_failure', to_jsonb("on_failure")),
('group', to_jsonb("group")),
('name', to_jsonb("name")),
('after', to_jsonb("after")),
('on_parent_failure', to_jsonb("on_parent_failure"))
-- end
                ) AS given (name, value) WHERE given.value IS NOT NULL;
                RETURN (taskflow_submit(coalesce(tasks, '[{}]'), false, idempotency_key))[1];
            END
            $body$
        $create$, prefix || 'enqueue', settings);
        EXECUTE format($create$
            CREATE FUNCTION %I(tasks jsonb, idempotency_key text DEFAULT NULL) RETURNS SETOF uuid %s AS $body$
            DECLARE
                max_tasks integer;
            BEGIN
                PERFORM taskflow_check_schema();
                max_tasks := (taskflow_submission_rules() ->> 'max_tasks')::integer;
                IF jsonb_typeof(tasks) <> 'array' THEN
                    PERFORM taskflow_reject('invalid-request', 'tasks is not a JSON array; '
                        || 'send an array of tasks, such as [{"payload": "https://example.com/"}]');
                ELSIF tasks IS NULL OR jsonb_array_length(tasks) NOT BETWEEN 1 AND max_tasks THEN
                    PERFORM taskflow_reject('validation-error', format(
                        'an array has 1 to %%s tasks, not %%s', max_tasks, coalesce(jsonb_array_length(tasks)::text, 'NULL')));
                END IF;
                RETURN QUERY SELECT unnest(taskflow_submit(tasks, true, idempotency_key));
            END
            $body$
        $create$, prefix || 'enqueue_many', settings);
        EXECUTE format('REVOKE ALL ON FUNCTION %I, %I FROM PUBLIC', prefix || 'enqueue', prefix || 'enqueue_many');
    END LOOP;
END
$do$;

-- The role for programs that submit with SQL. It belongs to the server, so installations share it. Without the attribute
-- CREATEROLE an administrator creates it; the how-to says what to run then, or if the schema is not safe yet.
DO $do$
DECLARE
    schema CONSTANT text := current_schema();
    fault CONSTANT text := (SELECT message FROM taskflow_schema_fault());
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'taskflow_enqueuer') THEN
            -- Checked first: with exit_on_error, a caught error ends the session, too.
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolcreaterole)) THEN
                RAISE NOTICE 'the role taskflow_enqueuer does not exist, and this role may not create it';
                RETURN;
            END IF;
            CREATE ROLE taskflow_enqueuer NOLOGIN;
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL;  -- created at this moment
        WHEN insufficient_privilege OR read_only_sql_transaction THEN
            RAISE NOTICE 'the role taskflow_enqueuer does not exist, and this role may not create it';
            RETURN;
    END;
    IF fault IS NOT NULL THEN
        RAISE NOTICE 'the role taskflow_enqueuer may not submit tasks: %', fault;
        RETURN;
    END IF;
    EXECUTE format('GRANT EXECUTE ON FUNCTION taskflow_enqueue, taskflow_enqueue_many TO taskflow_enqueuer');
    IF schema = 'taskflow' THEN
        GRANT EXECUTE ON FUNCTION enqueue, enqueue_many TO taskflow_enqueuer;
    END IF;
    BEGIN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO taskflow_enqueuer', schema);
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'the role taskflow_enqueuer may not use the schema %', schema;
    END;
END
$do$;
