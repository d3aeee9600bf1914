-- So that claims need not begin at the beginning: see store/postgres/claim_position.py.

-- The first place of each priority too, which the hops come past anyway. (The column is added:
-- nodes of the version before use the view while they are being replaced.)
CREATE OR REPLACE VIEW taskflow_present_priorities AS
WITH RECURSIVE present (priority, run_at) AS (
    (
        SELECT priority, run_at FROM taskflow_tasks WHERE status = 'PENDING'
        ORDER BY priority DESC, run_at LIMIT 1
    )
    UNION ALL
    SELECT next.priority, next.run_at
    FROM present CROSS JOIN LATERAL (
        SELECT t.priority, t.run_at FROM taskflow_tasks AS t
        WHERE t.status = 'PENDING' AND t.priority < present.priority
        ORDER BY t.priority DESC, t.run_at LIMIT 1
    ) AS next
)
SELECT priority, run_at FROM present;

-- Tell other nodes who speaks and at which places there are tasks now: of each priority the
-- first, as "priority@microseconds since 1970". Nothing is said when there are none.
CREATE FUNCTION taskflow_announce(sender text, priorities smallint[], run_ats timestamptz[])
RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_notify('taskflow_work', sender || ' ' || string_agg(place, ' '))
    FROM (
        SELECT format('%s@%s', priority, (extract(epoch FROM min(run_at)) * 1000000)::bigint)
        FROM unnest(priorities, run_ats) AS t (priority, run_at)
        GROUP BY priority
    ) AS places (place)
    HAVING count(*) > 0
$$;
