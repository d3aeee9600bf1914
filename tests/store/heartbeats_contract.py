"""What every store has to keep of heartbeats of jobs. A store's own test file inherits this."""

from __future__ import annotations

import datetime as dt
import uuid

import msgspec
import pytest
import trio

from taskflow.model.audit import Action, Actor
from taskflow.model.errors import TooManyHeartbeats
from taskflow.model.heartbeat_monitors import (
    PINGS_KEPT,
    HeartbeatState,
    MonitorDefinition,
    NewPing,
    Reason,
    Signal,
)
from taskflow.model.schedule import Timing
from taskflow.store.memory import heartbeat_monitors as in_memory
from taskflow.store.postgres import heartbeat_monitors as in_postgres

BY = Actor("ops", None, "192.0.2.1")
# No clock reaches its end in a test, and none is outage by accident.
FAR = 1e6


def heartbeat(name: str = "backup", **fields) -> MonitorDefinition:
    known = {"timing": Timing(every_seconds=FAR), "grace_seconds": 60.0}
    return MonitorDefinition(name=name, **{**known, **fields})


# Its pings are missed at once.
HASTY = {"timing": Timing(every_seconds=1e-6), "grace_seconds": 0.0}


async def put(store, definition: MonitorDefinition, **options):
    monitors = store.heartbeat_monitors
    observed, _ = await monitors.change(definition.name, lambda _: definition, **options)
    return observed.monitor


async def reasons(store, name: str = "backup") -> list[Reason]:
    """Why the state changed, the first one first."""
    found = await store.heartbeat_monitors.history(name)
    return [one.reason for one in reversed(found.transitions)]


class HeartbeatsContract:
    """The conformance suite."""

    async def test_heartbeats_are_returned(self, store):
        """Every field of the definition as it was put, by name and in pages."""
        monitors = store.heartbeat_monitors
        definition = heartbeat(
            timing=Timing(cron="30 2 * * *", timezone="Europe/Berlin"),
            description="it's ünïcode \\ \n",
            max_run_seconds=5.5,
            paused=True,
        )
        made = await put(store, definition)
        assert made.definition == definition
        assert (made.state, made.ping_count, made.expected_at) == (HeartbeatState.NEW, 0, None)
        found = await monitors.get("backup")
        assert found.monitor == made
        assert found.at >= made.created_at == made.updated_at == made.state_since
        assert await monitors.get("other") is None
        for name in ("a", "b"):
            await put(store, heartbeat(name))
        first = await monitors.page(limit=2)
        assert [one.monitor.definition.name for one in first.monitors] == ["a", "b"]
        second = await monitors.page(limit=2, after=first.next_after)
        assert [one.monitor for one in second.monitors] == [made]
        assert second.next_after is None

    async def test_a_heartbeat_is_changed(self, store):
        """By a function of what it was; its id, history and first time stay."""
        made = await put(store, heartbeat())

        def change(before):
            assert before == heartbeat()
            return heartbeat(description="new")

        changed, is_new = await store.heartbeat_monitors.change("backup", change)
        assert not is_new
        assert changed.monitor.definition.description == "new"
        assert changed.monitor.ping_id == made.ping_id
        assert changed.monitor.created_at == made.created_at < changed.monitor.updated_at

        def refuse(_):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.heartbeat_monitors.change("backup", refuse)
        assert (await store.heartbeat_monitors.get("backup")).monitor == changed.monitor

    async def test_pings(self, store):
        """Each changes the state and is in the history with its note, the newest first."""
        monitors, made = store.heartbeat_monitors, await put(store, heartbeat())
        note = b"\x00\xff any bytes"
        await trio.sleep(0.001)
        assert await monitors.ping(made.ping_id, NewPing(Signal.START))
        assert (await monitors.get("backup")).state is HeartbeatState.STARTED
        await trio.sleep(0.001)
        assert await monitors.ping(made.ping_id, NewPing(Signal.SUCCESS, 0, note, "192.0.2.7"))
        found = await monitors.get("backup")
        assert found.state is HeartbeatState.UP
        last, first = (await monitors.history("backup")).pings
        assert (first.number, first.ping) == (1, NewPing(Signal.START))
        assert (last.number, last.ping) == (2, NewPing(Signal.SUCCESS, 0, note, "192.0.2.7"))
        assert last.duration_seconds == found.monitor.last_duration_seconds > 0
        assert found.monitor.last_ping_at == last.at > first.at
        assert found.monitor.expected_at == last.at + dt.timedelta(seconds=FAR)
        assert await reasons(store) == [Reason.CREATED, Reason.PINGED]
        await monitors.ping(made.ping_id, NewPing(Signal.FAIL, 7))
        assert (await monitors.get("backup")).monitor.last_exit_code == 7
        assert await reasons(store) == [Reason.CREATED, Reason.PINGED, Reason.FAILED]
        assert not await monitors.ping(uuid.uuid4(), NewPing())

    async def test_the_history_is_bounded(self, store, monkeypatch):
        """The newest pings and transitions are kept."""
        monkeypatch.setattr(in_memory, "PINGS_KEPT", 3)
        monkeypatch.setattr(in_postgres, "PINGS_KEPT", 3)
        monkeypatch.setattr(in_memory, "TRANSITIONS_KEPT", 2)
        monkeypatch.setattr(in_postgres, "TRANSITIONS_KEPT", 2)
        made = await put(store, heartbeat())
        for number in range(5):
            signal = Signal.FAIL if number % 2 else Signal.SUCCESS
            await store.heartbeat_monitors.ping(made.ping_id, NewPing(signal))
        found = await store.heartbeat_monitors.history("backup")
        assert [one.number for one in found.pings] == [5, 4, 3]
        assert [one.number for one in found.transitions] == [6, 5]
        assert PINGS_KEPT == 100
        assert await store.heartbeat_monitors.history("other") is None

    async def test_a_missed_ping_is_noticed(self, store):
        """With its transition; it is no longer due after that, and the next ping ends it."""
        monitors, made = store.heartbeat_monitors, await put(store, heartbeat(**HASTY))
        await put(store, heartbeat("other"))
        assert await monitors.seconds_to_next() is None
        await monitors.ping(made.ping_id, NewPing())
        await trio.sleep(0.001)
        assert await monitors.seconds_to_next() < 0
        checked = await monitors.check_due(limit=10)
        [missed] = checked.transitions
        assert missed.name == "backup"
        assert (missed.transition.state, missed.transition.reason) == (
            HeartbeatState.DOWN,
            Reason.MISSED,
        )
        assert (checked.outage_seconds, checked.errors) == (None, {})
        assert await monitors.seconds_to_next() is None
        assert not (await monitors.check_due(limit=10)).transitions
        [down] = await monitors.down(limit=10)
        assert down.monitor.state_since == missed.transition.at
        assert (await monitors.history("backup")).transitions[0] == missed.transition
        await monitors.ping(made.ping_id, NewPing())
        assert await monitors.down(limit=10) == []

    async def test_many_nodes_notice_each_missed_ping_once(self, store):
        """All of them check at the same moment."""
        monitors = store.heartbeat_monitors
        for number in range(12):
            made = await put(store, heartbeat(f"one-{number:02}", **HASTY))
            await monitors.ping(made.ping_id, NewPing())
        await trio.sleep(0.001)
        found = []

        async def check():
            while await monitors.seconds_to_next() is not None:
                found.extend((await monitors.check_due(limit=5)).transitions)
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(check)
        assert sorted(one.name for one in found) == [f"one-{number:02}" for number in range(12)]
        assert await reasons(store, "one-03") == [Reason.CREATED, Reason.PINGED, Reason.MISSED]

    async def test_a_ping_that_may_be_lost_in_an_outage(self, store):
        """No node checked for too long: the next ping is waited for, then it is missed."""
        monitors, made = store.heartbeat_monitors, await put(store, heartbeat(**HASTY))
        await monitors.ping(made.ping_id, NewPing())
        await trio.sleep(0.001)
        checked = await monitors.check_due(limit=10, outage_seconds=0.0)
        assert checked.outage_seconds > 0
        assert [one.transition.reason for one in checked.transitions] == [Reason.OUTAGE]
        assert (await monitors.get("backup")).monitor.state is HeartbeatState.UP
        await trio.sleep(0.001)
        checked = await monitors.check_due(limit=10)
        assert [one.transition.reason for one in checked.transitions] == [Reason.MISSED]

    async def test_no_outage_without_heartbeats(self, store):
        """No node had to check before there was one."""
        await trio.sleep(0.01)
        assert (await store.heartbeat_monitors.check_due(limit=1, outage_seconds=0.005)) is not None
        await trio.sleep(0.01)
        await put(store, heartbeat())
        checked = await store.heartbeat_monitors.check_due(limit=1, outage_seconds=3600.0)
        assert checked.outage_seconds is None

    async def test_transitions_of_all_heartbeats(self, store):
        """In their order, from a time on."""
        monitors = store.heartbeat_monitors
        first = await put(store, heartbeat("b"))
        await trio.sleep(0.01)
        second = await put(store, heartbeat("a"))
        await trio.sleep(0.01)
        await monitors.ping(first.ping_id, NewPing(Signal.FAIL))
        found = await monitors.transitions_since(first.created_at, limit=10)
        assert [(one.name, one.transition.reason) for one in found] == [
            ("b", Reason.CREATED),
            ("a", Reason.CREATED),
            ("b", Reason.FAILED),
        ]
        later = await monitors.transitions_since(second.created_at, limit=1)
        assert [one.name for one in later] == ["a"]

    async def test_states_are_counted(self, store):
        """Each heartbeat is in one state, and states without any are 0."""
        monitors = store.heartbeat_monitors
        await put(store, heartbeat("paused", paused=True))
        for name, pings in {
            "new": [],
            "up": [Signal.SUCCESS],
            "started": [Signal.START],
            "down": [Signal.FAIL, Signal.START],
        }.items():
            made = await put(store, heartbeat(name))
            for signal in pings:
                await monitors.ping(made.ping_id, NewPing(signal))
        late = await put(store, heartbeat("late", timing=Timing(every_seconds=1e-6)))
        await monitors.ping(late.ping_id, NewPing())
        await trio.sleep(0.001)
        assert await monitors.count_states() == dict.fromkeys(HeartbeatState, 1)
        for state in HeartbeatState:
            assert (await monitors.get(state.value)).state is state
        [down] = await monitors.down(limit=9)
        assert down.monitor.definition.name == "down"
        await monitors.delete("late")
        assert (await monitors.count_states())[HeartbeatState.LATE] == 0

    async def test_a_rotated_url(self, store):
        """Only the new one is known; the heartbeat and its history stay."""
        monitors, made = store.heartbeat_monitors, await put(store, heartbeat())
        await monitors.ping(made.ping_id, NewPing())
        rotated = await monitors.rotate("backup")
        assert rotated.monitor.ping_id != made.ping_id
        assert not await monitors.ping(made.ping_id, NewPing())
        assert await monitors.ping(rotated.monitor.ping_id, NewPing())
        assert (await monitors.get("backup")).monitor.ping_count == 2
        assert await monitors.rotate("other") is None

    async def test_a_deleted_heartbeat(self, store):
        """It takes its history with it, also if another one has its name later."""
        monitors, made = store.heartbeat_monitors, await put(store, heartbeat())
        await monitors.ping(made.ping_id, NewPing())
        assert await monitors.delete("backup")
        assert not await monitors.delete("backup")
        assert not await monitors.ping(made.ping_id, NewPing())
        assert await monitors.transitions_since(made.created_at, limit=9) == []
        again = await put(store, heartbeat())
        assert (again.ping_count, again.transition_count) == (0, 1)
        assert again.ping_id != made.ping_id
        assert (await monitors.history("backup")).pings == []

    async def test_the_number_of_heartbeats_is_limited(self, store, monkeypatch):
        """Existing ones can be changed."""
        monkeypatch.setattr(in_memory, "MAX_MONITORS", 2)
        monkeypatch.setattr(in_postgres, "MAX_MONITORS", 2)
        for name in ("a", "b"):
            await put(store, heartbeat(name))
        with pytest.raises(TooManyHeartbeats):  # the limit holds in each cell
            for number in range(20):
                await put(store, heartbeat(f"other-{number}"))
        assert (await put(store, heartbeat("a", description="x"))).definition.description == "x"

    async def test_heartbeats_are_audited(self, store):
        """Changes, pauses, rotations and deletions, with what changed; pings are not."""
        made = await put(store, heartbeat(), by=BY)
        await put(store, heartbeat(), by=BY)  # changes nothing
        await store.heartbeat_monitors.ping(made.ping_id, NewPing())
        await put(store, heartbeat(grace_seconds=5.0), by=BY)
        await put(store, heartbeat(grace_seconds=5.0, paused=True), by=BY)
        await put(store, heartbeat(grace_seconds=5.0), by=BY)
        await store.heartbeat_monitors.rotate("backup", by=BY)
        await store.heartbeat_monitors.delete("backup", by=BY)
        entries = list(reversed((await store.audit.page(limit=20)).entries))
        assert [one.action for one in entries] == [
            Action.HEARTBEAT_PUT,
            Action.HEARTBEAT_PUT,
            Action.HEARTBEAT_PAUSE,
            Action.HEARTBEAT_RESUME,
            Action.HEARTBEAT_ROTATE,
            Action.HEARTBEAT_DELETE,
        ]
        assert {(one.actor, one.target) for one in entries} == {("ops", "backup")}
        changes = msgspec.to_builtins(entries[1].detail)["changes"]
        assert changes == {"grace_seconds": {"before": 60.0, "after": 5.0}}
