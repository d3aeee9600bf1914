-- Graphs: see migration 0028.

-- part: frees
-- What may start because a task has finished: 1 for the next task of its order key, 2 for its children.
(t.order_key IS NOT NULL)::integer + 2 * (t.has_children IS NOT NULL)::integer

-- name: children_of
-- The number of children of each of these tasks, up to one more than a task may have.
SELECT t.id, (
    SELECT count(*) FROM (
        SELECT FROM taskflow_edges AS e WHERE e.parent_id = t.id LIMIT %(limit)s + 1
    ) AS listed
)
FROM
-- insert: tasks_anywhere

-- name: parents_of
-- The parents of each of these tasks; of the parents that have not finished, the first one and the number.
SELECT e.child_id, array_agg(e.parent_id ORDER BY e.parent_id),
       (array_agg(e.parent_id ORDER BY e.parent_id) FILTER (WHERE NOT e.is_done))[1],
       count(*) FILTER (WHERE NOT e.is_done)
FROM taskflow_edges AS e WHERE e.child_id = ANY (%(ids)b::uuid[])
GROUP BY e.child_id

-- name: take_graph_steps
DELETE FROM taskflow_graph_steps WHERE id = ANY (ARRAY(
    SELECT id FROM taskflow_graph_steps WHERE id >= %(since)s ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING id, parent_id, status, child_id

-- name: link_parents
-- Parents learn that they have children: from the lock of its row on, the end of a parent adds a step, and finished ones
-- are kept. Returns the children of parents that could not be locked: their step is to be added again. SKIP LOCKED:
-- a settlement of many tasks locks them in any order. Returns also the parents that are due, and announces them: a
-- claim may have passed over them meanwhile.
WITH unlinked AS MATERIALIZED (
    SELECT e.child_id, p.id
    FROM unnest(%(children)b::uuid[]) AS joined (id) CROSS JOIN LATERAL (
        SELECT one.child_id, one.parent_id FROM taskflow_edges AS one
        WHERE one.child_id = joined.id AND NOT one.is_done OFFSET 0
    ) AS e CROSS JOIN LATERAL (
        SELECT t.id FROM taskflow_tasks AS t
        WHERE t.id = e.parent_id AND t.has_children IS NULL OFFSET 0
    ) AS p
), locked AS MATERIALIZED (
    SELECT t.id FROM taskflow_tasks AS t
    WHERE t.id = ANY (ARRAY(SELECT id FROM unlinked))
    ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED
), linked AS (
    UPDATE taskflow_tasks AS t SET has_children = true FROM locked WHERE t.id = locked.id
    RETURNING t.id, t.priority, t.run_at, t.status
), due AS MATERIALIZED (
    SELECT id, priority, run_at FROM linked WHERE status = 'PENDING' AND run_at <= now()
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM due
    WHERE EXISTS (SELECT FROM taskflow_nodes AS n WHERE n.id <> ALL (%(own_nodes)b::uuid[]))
)
SELECT child_id, NULL::uuid, NULL::smallint, NULL::timestamptz
FROM unlinked WHERE id NOT IN (SELECT id FROM locked) GROUP BY child_id
UNION ALL
SELECT NULL, id, priority, run_at FROM due CROSS JOIN announced

-- name: promote_children
-- The children of parents that have finished, and children that joined parents which may have finished before: subtract
-- these parents, and start, cancel or fail the children that this decides. Edges are marked under the lock of the child,
-- and only marked edges are subtracted: so each parent counts once, however many steps and promoters there are.
-- Children that are locked, maybe for minutes, or beyond the limits, have their steps added again; so have the
-- postponed ones. Of a child that ends, a trigger adds the step for its own children.
WITH ended AS MATERIALIZED (
    -- How the parent has finished last; if it is retried, it will finish again. If it was deleted, its step says it.
    SELECT s.parent_id, coalesce(p.status, s.status) AS status
    FROM unnest(%(parents)b::uuid[], %(statuses)b::text[]) AS s (parent_id, status)
    LEFT JOIN LATERAL (
        SELECT t.id, t.status, t.finished_at FROM taskflow_all_tasks AS t WHERE t.id = s.parent_id OFFSET 0
    ) AS p ON true
    WHERE p.id IS NULL OR p.finished_at IS NOT NULL
), opened AS MATERIALIZED (
    (
        SELECT ended.parent_id, e.child_id, ended.status, e.edge
        FROM ended CROSS JOIN LATERAL (
            SELECT one.child_id, one.ctid AS edge FROM taskflow_edges AS one
            WHERE one.parent_id = ended.parent_id AND NOT one.is_done
            ORDER BY one.parent_id, one.child_id LIMIT %(limit)s
        ) AS e
        LIMIT %(limit)s
    )
    UNION ALL
    SELECT e.parent_id, e.child_id, coalesce(p.status, 'CANCELED'), e.edge
    FROM unnest(%(children)b::uuid[]) AS joined (id) CROSS JOIN LATERAL (
        SELECT one.child_id, one.parent_id, one.ctid AS edge FROM taskflow_edges AS one
        WHERE one.child_id = joined.id AND NOT one.is_done OFFSET 0
    ) AS e LEFT JOIN LATERAL (
        SELECT t.id, t.status, t.finished_at FROM taskflow_all_tasks AS t WHERE t.id = e.parent_id OFFSET 0
    ) AS p ON true
    WHERE (p.id IS NULL OR p.finished_at IS NOT NULL)
      AND e.parent_id NOT IN (SELECT parent_id FROM ended)
), present AS MATERIALIZED (
    SELECT id FROM taskflow_tasks WHERE id = ANY (ARRAY(
        SELECT child_id FROM opened UNION SELECT unnest(%(children)b::uuid[])
    ))
), locked AS MATERIALIZED (
    SELECT t.id, t.status = 'PENDING' AND t.waiting_for = 'parents' AS is_waiting, t.parents_left,
           taskflow_field(t.options, 'on_parent_failure') AS on_parent_failure,
           CASE WHEN taskflow_field(t.options, 'callback_url') IS NULL THEN 0 ELSE t.size_bytes END AS copied_bytes
    FROM taskflow_tasks AS t WHERE t.id = ANY (ARRAY(SELECT id FROM present))
    ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED
), portion AS (
    SELECT *, sum(copied_bytes) OVER (ORDER BY id) - copied_bytes AS bytes_before FROM locked
), chosen AS MATERIALIZED (
    SELECT * FROM portion WHERE bytes_before < %(budget_bytes)s
), skipped AS MATERIALIZED (
    SELECT id FROM present EXCEPT SELECT id FROM chosen
), done AS MATERIALIZED (
    -- By their places in the table: a join could read all of it.
    SELECT marked.child_id, marked.parent_id FROM taskflow_mark_edges(ARRAY(
        SELECT edge FROM opened WHERE child_id NOT IN (SELECT id FROM skipped)
    )) AS marked
), summed AS MATERIALIZED (
    SELECT o.child_id, count(*)::integer AS finished,
           (array_agg(o.parent_id ORDER BY o.parent_id) FILTER (WHERE o.status <> 'COMPLETED'))[1] AS failed_id,
           (array_agg(o.status ORDER BY o.parent_id) FILTER (WHERE o.status <> 'COMPLETED'))[1] AS failed_status
    FROM done JOIN opened AS o ON o.parent_id = done.parent_id AND o.child_id = done.child_id
    GROUP BY o.child_id
), decided AS MATERIALIZED (
    SELECT c.id, c.parents_left - coalesce(s.finished, 0) AS parents_left, s.failed_id, s.failed_status,
           s.child_id IS NOT NULL AS has_waited,
           CASE WHEN s.failed_id IS NOT NULL AND c.on_parent_failure = 'fail' THEN 'FAILED'
           WHEN s.failed_id IS NOT NULL AND c.on_parent_failure IS DISTINCT FROM 'run' THEN 'CANCELED'
           WHEN c.parents_left <= coalesce(s.finished, 0) THEN 'started'
           ELSE 'waiting' END AS outcome
    FROM chosen AS c LEFT JOIN summed AS s ON s.child_id = c.id
    WHERE c.is_waiting AND (s.child_id IS NOT NULL OR c.parents_left <= 0)
), moved AS (
    UPDATE taskflow_tasks AS t
    SET parents_left = greatest(d.parents_left, 0),
        waiting_for = CASE WHEN d.outcome = 'waiting' THEN 'parents' END,
        run_at = CASE WHEN d.outcome = 'started' THEN taskflow_after(
                     CASE WHEN d.has_waited
                     THEN coalesce(taskflow_field(t.options, 'delay_after_parents')::float8, 0) ELSE 0 END
                 ) ELSE t.run_at END,
        status = CASE WHEN d.outcome IN ('FAILED', 'CANCELED') THEN d.outcome ELSE t.status END,
        error = CASE WHEN d.outcome IN ('FAILED', 'CANCELED')
                THEN 'parent failed: the task ' || d.failed_id::text || ' is ' || d.failed_status
                ELSE t.error END,
        error_type = CASE WHEN d.outcome IN ('FAILED', 'CANCELED') THEN 'parent_failed'
                     ELSE t.error_type END,
        finished_at = taskflow_now_if(d.outcome IN ('FAILED', 'CANCELED')),
        delete_at = CASE WHEN d.outcome IN ('FAILED', 'CANCELED')
                    THEN taskflow_delete_at(t.retention_seconds) END
    FROM decided AS d WHERE t.id = d.id
    RETURNING t.id, t.priority, t.run_at, d.outcome, t.has_children
), announced AS MATERIALIZED (
    SELECT taskflow_announce(%(sender)s, array_agg(priority), array_agg(run_at)) FROM moved
    WHERE outcome = 'started'
      AND EXISTS (SELECT FROM taskflow_nodes AS n WHERE n.id <> ALL (%(own_nodes)b::uuid[]))
), handled AS (
    SELECT parent_id, count(*) AS seen,
           count(*) FILTER (WHERE child_id NOT IN (SELECT id FROM skipped)) AS marked
    FROM opened GROUP BY parent_id
), remaining AS MATERIALIZED (
    SELECT ended.parent_id, ended.status, listed.edges > coalesce(h.seen, 0) AS is_cut
    FROM ended LEFT JOIN handled AS h ON h.parent_id = ended.parent_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS edges FROM (
            SELECT FROM taskflow_edges AS e
            WHERE e.parent_id = ended.parent_id AND NOT e.is_done LIMIT %(limit)s + 1
        ) AS next
    ) AS listed
    WHERE listed.edges > coalesce(h.marked, 0)
), again AS (
    INSERT INTO taskflow_graph_steps (parent_id, status, child_id)
    SELECT parent_id, status, NULL FROM remaining
    UNION ALL
    SELECT NULL, NULL, id FROM skipped WHERE id = ANY (%(children)b::uuid[])
    UNION ALL
    SELECT NULL, NULL, unnest(%(postponed)b::uuid[])
)
SELECT EXISTS (SELECT FROM remaining WHERE is_cut)
       OR EXISTS (SELECT FROM portion WHERE bytes_before >= %(budget_bytes)s),
       EXISTS (SELECT id FROM present EXCEPT SELECT id FROM locked),
       moved.id, moved.priority, moved.run_at, moved.outcome, moved.has_children
FROM announced LEFT JOIN moved ON true

-- name: first_graph_steps
SELECT id FROM taskflow_graph_steps WHERE id >= %(since)s ORDER BY id LIMIT %(limit)s

-- name: give_up_graph_step
DELETE FROM taskflow_graph_steps WHERE id = %(id)s

-- name: note_enqueued_graph
-- Nodes are notified when the transaction of the caller commits.
SELECT pg_notify('taskflow_work', ' graph')

-- name: parent_result
-- The result of a parent, by its id or by the name that the child gives it; without one that is too large.
SELECT t.id, CASE WHEN t.size <= %(max_bytes)s THEN t.result END, t.size
FROM taskflow_edges AS e CROSS JOIN LATERAL (
    SELECT p.id, p.result::text AS result, octet_length(p.result::text) AS size
    FROM taskflow_all_tasks AS p WHERE p.id = e.parent_id OFFSET 0
) AS t
WHERE e.child_id = %(id)s AND (e.name = %(parent)s OR e.parent_id = %(parent_id)s)
LIMIT 1
