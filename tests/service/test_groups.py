"""A group from its creation to the signed request of its completion, on two nodes."""

from __future__ import annotations

from tests.api.sse import open_stream
from tests.loopback import SECRET
from tests.receiver import Receiver
from tests.service.processes import HOURS_SECONDS, running

KEYS = f"boss:write:{'b' * 24},mail:write:queues=mail:{'m' * 24}"
MAIL = {"Authorization": f"Bearer {'m' * 24}"}


def test_a_group_on_two_nodes(tmp_path, tasks):
    """Tasks join on both; each node shows and streams the group, and one of them completes it."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_API_KEYS": KEYS,
        "TASKFLOW_WEBHOOK_SECRETS": SECRET,
        "TASKFLOW_POLL_SECONDS": HOURS_SECONDS,
    }
    with (
        Receiver() as receiver,
        running("serve", tmp_path, **settings) as one,
        running("serve", tmp_path, **settings) as two,
    ):
        completion = {"payload": f"{receiver.url}/done", "queue": "mail", "sign": True}
        new = {"queue": "mail", "name": "import 7", "on_complete": completion}
        group = one.ask("POST", "/groups", new, MAIL).body
        path, tags = f"/groups/{group['id']}", {"group": group["id"], "queue": "mail"}
        with open_stream(two.url, f"{path}/events", headers=MAIL) as stream:
            stream.begin()
            held = one.ask("POST", "/tasks", {"payload": f"{receiver.url}/held", **tags}, MAIL)
            failing = two.ask("POST", "/tasks", [{"payload": "x:", **tags}] * 2, MAIL)
            assert (held.status, failing.status) == (201, 201)
            receiver.wait_for("/held")
            closed = two.ask("POST", f"{path}/close", None, MAIL).body
            assert (closed["status"], receiver.received[-1].path) == ("CLOSED", "/held")
            late = one.ask("POST", "/tasks", {"payload": "x:", **tags}, MAIL)
            assert (late.status, late.body["type"]) == (409, "/problems/group-closed")
            receiver.release()
            *events, last = stream
        ends = [event.json for event in events if event.json["status"] in ("COMPLETED", "FAILED")]
        members = [held.body, *failing.body]
        assert {end["task_id"] for end in ends} == {task["id"] for task in members}
        assert (last.event, last.json["status"]) == ("group", "COMPLETED")
        [request] = receiver.wait_for("/done")
        body = request.verified()
        shown = one.ask("GET", path, None, MAIL).body
        assert shown == last.json == two.ask("GET", path, None, MAIL).body
        assert body["counts"] == shown["counts"]
        assert (shown["counts"]["COMPLETED"], shown["counts"]["FAILED"]) == (1, 2)
        assert body["group"]["id"] == group["id"]
        wait = f"/tasks/{shown['completion_task_id']}?wait=30"
        assert two.ask("GET", wait, None, MAIL).body["status"] == "COMPLETED"
        assert len(receiver.wait_for("/done")) == 1
