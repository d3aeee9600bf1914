"""Heartbeats of jobs on two processes, one of which is killed, and after an outage of all."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.service.processes import running, wait_until

HEARTBEATS = 60
# As if the last pings were this long ago; the deadlines are spread over the next seconds.
OVERDUE = (
    "UPDATE taskflow_heartbeat_monitors SET expected_at = now() - interval '1 minute', "
    "next_check_at = now() + random() * interval '4 s', grace_seconds = 0"
)
REASONS = (
    "SELECT reason, count(*), count(DISTINCT monitor) FROM taskflow_heartbeat_transitions"
    " GROUP BY reason"
)


def test_each_missed_ping_is_noticed_once_through_a_kill(tmp_path, tasks):
    """Whichever process dies; and a ping that may be lost in an outage of all is not missed."""

    def reasons() -> dict[str, tuple[int, int]]:
        return {reason: counts for reason, *counts in tasks.execute(REASONS).fetchall()}

    with (
        running("serve", tmp_path, DATABASE_URL=tasks.url) as doomed,
        running("serve", tmp_path, DATABASE_URL=tasks.url) as other,
    ):
        for number in range(HEARTBEATS):
            made = doomed.ask("PUT", f"/heartbeats/h{number}", {"every_seconds": 3600})
            path = urlsplit(made.body["ping_url"]).path
            assert other.ask("GET", path).status == 204  # the secret of the URL is shared
        tasks.execute(OVERDUE)
        wait_until(lambda: "missed" in reasons())
        doomed.kill()
        wait_until(lambda: other.ask("GET", "/metrics").body.count(b'state="down"} 60.0'))
        assert reasons()["missed"] == [HEARTBEATS, HEARTBEATS]
        assert len(other.log.split("a heartbeat is down")) <= HEARTBEATS + 1
        other.kill()
    tasks.execute(f"{OVERDUE}, state = 'up'")
    tasks.execute("UPDATE taskflow_heartbeat_watch SET checked_at = now() - interval '1 hour'")
    with running("serve", tmp_path, DATABASE_URL=tasks.url) as node:
        wait_until(lambda: reasons().get("outage") == [HEARTBEATS, HEARTBEATS])
        assert reasons()["missed"] == [HEARTBEATS, HEARTBEATS]
        state = node.ask("GET", "/heartbeats/h0").body
        assert (state["state"], state["down_at"] > state["last_ping_at"]) == ("up", True)
        assert "pings may be lost" in node.log
