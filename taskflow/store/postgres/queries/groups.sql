-- Groups: see migration 0027.

-- part: group_columns
g.id, g.name, g.queue, g.status, g.on_complete::text, g.on_failure, g.tags::text,
g.created_at, g.closed_at, g.finished_at, g.completions, g.completion_task_id,
taskflow_counts_of_group(g.id),
ARRAY(
    SELECT json_build_array(t.id, left(t.error, %(error_characters)s), t.error_type)::text
    FROM (
        SELECT m.task_id FROM taskflow_group_members AS m
        WHERE m.group_id = g.id AND m.state = 'FAILED'
        ORDER BY m.group_id, m.task_id LIMIT %(failures)s
    ) AS failed CROSS JOIN LATERAL (
        SELECT * FROM taskflow_all_tasks AS one WHERE one.id = failed.task_id OFFSET 0
    ) AS t
    ORDER BY t.id
)

-- name: read_group
SELECT
-- insert: group_columns
FROM taskflow_groups AS g WHERE g.id = %(id)s

-- name: page_of_groups
-- One more is read than is shown.
SELECT
-- insert: group_columns
FROM (
    SELECT * FROM taskflow_groups AS one
    WHERE one.id < %(before)s
      AND (%(status)s::text IS NULL OR one.status = %(status)s)
      AND (%(queue)s::text IS NULL OR one.queue = %(queue)s)
      AND (%(name)s::text IS NULL OR one.name = %(name)s)
    ORDER BY one.id DESC LIMIT %(limit)s + 1
) AS g
ORDER BY g.id DESC

-- name: scoped_page_of_groups
-- The same for some queues, queue by queue: the cost and the length of a page depend on no group of others.
-- With prefixes, one row of each queue is read to find the queues.
WITH RECURSIVE present (queue) AS (
    (SELECT queue FROM taskflow_groups WHERE cardinality(%(scope_prefixes)b::text[]) > 0
     ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT following.queue FROM present CROSS JOIN LATERAL (
        SELECT g.queue FROM taskflow_groups AS g WHERE g.queue > present.queue
        ORDER BY g.queue LIMIT 1
    ) AS following
), seen (queue) AS (
    SELECT unnest(%(scope_names)b::text[]) AS queue
    UNION
    SELECT queue FROM present WHERE queue ^@ ANY (%(scope_prefixes)b::text[])
), newest AS MATERIALIZED (
    SELECT one.id FROM seen CROSS JOIN LATERAL (
        SELECT o.id FROM taskflow_groups AS o
        WHERE o.queue = seen.queue AND o.id < %(before)s
          AND (%(status)s::text IS NULL OR o.status = %(status)s)
          AND (%(queue)s::text IS NULL OR o.queue = %(queue)s)
          AND (%(name)s::text IS NULL OR o.name = %(name)s)
        ORDER BY o.queue DESC, o.id DESC LIMIT %(limit)s + 1
    ) AS one
    ORDER BY one.id DESC LIMIT %(limit)s + 1
)
SELECT
-- insert: group_columns
FROM taskflow_groups AS g WHERE g.id IN (SELECT id FROM newest)
ORDER BY g.id DESC

-- name: remember_group_if_new
-- No row if an earlier request has the key.
INSERT INTO taskflow_idempotency_keys AS known (key, fingerprint, task_ids, expires_at)
VALUES (%(key)s, %(fingerprint)s, ARRAY[%(id)s::uuid], now() + make_interval(secs => %(seconds)s))
ON CONFLICT (key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, task_ids = EXCLUDED.task_ids, expires_at = EXCLUDED.expires_at
WHERE taskflow_is_over(known.expires_at)
RETURNING true

-- name: new_id
SELECT taskflow_new_id()

-- name: add_group
INSERT INTO taskflow_groups (id, name, queue, on_complete, completion, on_failure, tags)
VALUES (%(id)s, %(name)s, %(queue)s, %(on_complete)s::json, %(completion)s::json, %(on_failure)s,
        %(tags)s::json)

-- name: queues_of_groups
SELECT id, queue FROM taskflow_groups WHERE id = ANY (%(ids)b::uuid[])

-- name: group_states
-- Why tasks cannot join groups.
SELECT id, status, cancel_state IS NOT NULL, coalesce(closing_until > clock_timestamp(), false)
FROM taskflow_groups WHERE id = ANY (%(ids)b::uuid[])

-- name: announce_closing
-- For a moment no task joins the group. The locks of tasks that join do not wait for `hold_group`: in a group
-- that tasks join all the time, it would wait for ever.
UPDATE taskflow_groups
SET closing_until = taskflow_after(%(seconds)s)
WHERE id = %(id)s AND status = 'OPEN'

-- name: hold_group
-- No transaction adds tasks to the group, or finishes one of its members, from now on to the commit.
SELECT status FROM taskflow_groups,
    (SELECT set_config('lock_timeout', %(wait_ms)s::text, true) AS bound OFFSET 0) AS bounded
WHERE id = %(id)s AND bound IS NOT NULL FOR UPDATE OF taskflow_groups

-- name: close_held_group
UPDATE taskflow_groups SET status = 'CLOSED', closed_at = now() WHERE id = %(id)s AND status = 'OPEN'

-- name: complete_held_group
-- A statement of its own: its snapshot has what was committed before the group was held.
SELECT taskflow_complete_groups(ARRAY[%(id)s::uuid])

-- name: cancel_held_group
UPDATE taskflow_groups
SET status = 'CANCELED', cancel_state = 'pending', finished_at = now(),
    closed_at = taskflow_or_now(closed_at)
WHERE id = %(id)s AND status IN ('OPEN', 'CLOSED')

-- name: groups_to_cancel
SELECT id FROM taskflow_groups WHERE cancel_state = 'pending' ORDER BY id LIMIT %(limit)s

-- name: members_to_cancel
-- From one id on: the entries of members that were canceled before are dead, and are not read again.
SELECT task_id FROM taskflow_group_members
WHERE group_id = %(id)s AND task_id > %(after)s AND state = 'open'
  AND EXISTS (SELECT FROM taskflow_groups WHERE id = %(id)s AND cancel_state = 'pending')
ORDER BY group_id, task_id LIMIT %(limit)s

-- name: note_group_canceled
-- Members may have been added meanwhile by transactions that began before.
UPDATE taskflow_groups SET cancel_state = 'done'
WHERE id = %(id)s AND cancel_state = 'pending' AND NOT taskflow_has_open_members(id)
RETURNING true

-- name: hold_failed_members
-- They are locked before any of them is retried: the first retry locks the group, and nothing that holds
-- a group may wait for a task.
SELECT t.id FROM taskflow_tasks AS t
WHERE t.id = ANY (ARRAY(
    SELECT task_id FROM taskflow_group_members WHERE group_id = %(id)s AND state = 'FAILED'
    ORDER BY group_id, task_id LIMIT %(limit)s
)) AND t.status = 'FAILED'
ORDER BY t.id FOR UPDATE

-- name: fold_group_changes
-- Like fold_changes. Changes of groups that were deleted are dropped.
WITH taken AS MATERIALIZED (
    DELETE FROM taskflow_group_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM taskflow_group_changes LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING group_id, status, change
), counted AS (
    INSERT INTO taskflow_group_counts AS c (group_id, status, count)
    SELECT group_id, status, least(greatest(sum(change), -9e18), 9e18)::bigint FROM taken
    WHERE EXISTS (SELECT FROM taskflow_groups AS g WHERE g.id = taken.group_id)
    GROUP BY group_id, status HAVING sum(change) <> 0 ORDER BY group_id, status
    ON CONFLICT (group_id, status) DO UPDATE
    SET count = least(greatest(c.count::numeric + excluded.count, -9e18), 9e18)
)
SELECT count(*) FROM taken

-- name: delete_groups_if_finished_before
-- A group is deleted when no members are left; these are deleted first, some at a time, without waiting.
WITH old AS MATERIALIZED (
    SELECT id FROM taskflow_groups
    WHERE finished_at < now() - make_interval(secs => %(age_seconds)s)
      AND status IN ('COMPLETED', 'CANCELED')
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM taskflow_groups AS g USING old
    WHERE g.id = old.id
      AND NOT EXISTS (SELECT FROM taskflow_group_members AS m WHERE m.group_id = g.id)
    RETURNING g.id
), counts AS (
    DELETE FROM taskflow_group_counts AS c USING gone WHERE c.group_id = gone.id
), members AS (
    DELETE FROM taskflow_group_members WHERE (group_id, task_id) IN (
        SELECT m.group_id, m.task_id FROM old JOIN taskflow_group_members AS m ON m.group_id = old.id
        LIMIT %(limit)s FOR UPDATE OF m SKIP LOCKED
    )
    RETURNING group_id
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM members)
