"""PostgreSQL is killed while it moves tasks to the archive."""

from __future__ import annotations

from collections import Counter

import psycopg

from tests.folders import open_folder
from tests.replicas import primary_in
from tests.service.database import url_of
from tests.service.processes import running, wait_until
from tests.service.targets import Target

COUNT = 20
HALF_WAY = "BEFORE INSERT ON taskflow_archive_tags"
BEFORE_THE_COMMIT = "AFTER INSERT ON taskflow_archive"
# A move stops where the trigger fires, until the server is started again.
STOP_MOVES = """
DROP TABLE IF EXISTS stop_moves;
CREATE TABLE stop_moves AS SELECT pg_postmaster_start_time() AS until_after;
CREATE OR REPLACE FUNCTION stop_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(600) FROM stop_moves WHERE until_after = pg_postmaster_start_time();
    RETURN NEW;
END
$$;
DROP TRIGGER IF EXISTS stop_move ON taskflow_archive_tags;
CREATE TRIGGER stop_move {where} FOR EACH ROW EXECUTE FUNCTION stop_move();
"""
STOPPED = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
LEFT = "SELECT FROM taskflow_tasks LIMIT 1"
ARCHIVED = "SELECT id::text, status, attempt FROM taskflow_archive"
TAGGED = "SELECT task_id::text FROM taskflow_archive_tags"


def test_crashes_during_a_move(tmp_path):
    """All tasks are there before and after it, once, with their tags; none runs again."""
    with open_folder() as folder, primary_in(folder) as server, Target() as target:
        environ = {
            "DATABASE_URL": url_of(server.conninfo),
            "TASKFLOW_ARCHIVE_AFTER_SECONDS": 0.05,
            "TASKFLOW_DATABASE_TIMEOUT_SECONDS": 300,
        }
        with running("serve", tmp_path, **environ) as node:
            ids: list[str] = []
            crash_during_a_move(HALF_WAY, server, node, target, ids)
            crash_during_a_move(BEFORE_THE_COMMIT, server, node, target, ids)
            assert all_have_finished(node, ids)
            counts = node.ask("GET", "/stats").body["total"]["counts"]
            assert counts["COMPLETED"] == len(ids)
            fetched = Counter(path for path, _ in target.seen)
            assert (len(fetched), set(fetched.values())) == (len(ids), {1})
            assert "Traceback" not in node.log


def crash_during_a_move(where: str, server, node, target: Target, ids: list[str]) -> None:
    """Kill the server when the move of new tasks has come this far, and wait for its end."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(STOP_MOVES.format(where=where))
        ids += submitted(node, target, where)
        wait_until(lambda: connection.execute(STOPPED).rowcount)
        wait_until(lambda: all_have_finished(node, ids))
    server.kill()
    server.start()
    wait_until(lambda: all_have_finished(node, ids))
    check_the_archive(server, ids)


def submitted(node, target: Target, where: str) -> list[str]:
    name = where.partition(" ")[0]
    tasks = [
        {"payload": f"{target.url}/now/{name}/{n}", "tags": {"n": str(n)}} for n in range(COUNT)
    ]
    answer = node.ask("POST", "/tasks", tasks)
    assert answer.status == 201, answer
    return [one["id"] for one in answer.body]


def all_have_finished(node, ids: list[str]) -> bool:
    answer = node.ask("GET", "/tasks?status=COMPLETED&limit=1000")
    return answer.status == 200 and sorted(one["id"] for one in answer.body) == sorted(ids)


def check_the_archive(server, ids: list[str]) -> None:
    """Wait until all tasks are in the archive, and check that they are whole."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        wait_until(lambda: not connection.execute(LEFT).rowcount)
        archived = connection.execute(ARCHIVED).fetchall()
        assert sorted(archived) == sorted((one, "COMPLETED", 1) for one in ids)
        tagged = connection.execute(TAGGED).fetchall()
        assert sorted(tagged) == sorted((one,) for one in ids)
