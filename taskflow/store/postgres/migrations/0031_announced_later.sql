-- Notifications of work that do not delay other commits (store/postgres/announcer.py).
--
-- A transaction that notifies holds a lock of the whole server from before its commit record until its end, and so
-- while it waits for a synchronous standby: such commits come one per round trip. A session that announces later gets
-- the message as INFO, which is not logged, and notifies in a transaction of its own once it has committed.
CREATE FUNCTION taskflow_notify_work(message text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF current_setting('taskflow.announces_later', true) = 'on'
       AND current_setting('synchronous_standby_names') <> ''
       AND current_setting('synchronous_commit') NOT IN ('off', 'local')
    THEN
        RAISE INFO USING MESSAGE = message, ERRCODE = 'TF001';
    ELSE
        PERFORM pg_notify('taskflow_work', message);
    END IF;
END
$$;

-- As in migration 0015.
CREATE OR REPLACE FUNCTION taskflow_announce(
    sender text, priorities smallint[], run_ats timestamptz[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF cardinality(priorities) > 0 THEN
        PERFORM taskflow_notify_work(sender || ' ' || string_agg(place, ' '))
        FROM (
            SELECT format('%s@%s', priority,
                          (extract(epoch FROM taskflow_bounded(min(run_at))) * 1000000)::bigint)
            FROM unnest(priorities, run_ats) AS t (priority, run_at)
            GROUP BY priority
        ) AS places (place);
    END IF;
END
$$;

-- As in migration 0007.
CREATE OR REPLACE FUNCTION taskflow_make_room(sender text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM taskflow_notify_work(sender || ' room');
END
$$;
