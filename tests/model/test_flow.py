"""What may start: paces, counts, and the choice among candidates."""

from __future__ import annotations

import datetime as dt
import uuid

from hypothesis import given
from hypothesis import strategies as st

from taskflow.model.claim_selection import Candidate, Choice, Shares
from taskflow.model.queue_limits import (
    Flow,
    HoldReason,
    HostHold,
    HostLimits,
    Lane,
    QueueSettings,
    Rate,
    State,
)

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
LANE = Lane("mail", "a.example")


def state(now=NOW, **settings) -> State:
    return State(now, {"mail": QueueSettings(**settings)})


def candidates(*hosts: str, priority: int = 0) -> list[Candidate]:
    return [
        Candidate(priority, NOW, uuid.UUID(int=number), Lane("mail", host))
        for number, host in enumerate(hosts)
    ]


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 2), min_size=1, max_size=100),
)
def test_a_rate_is_never_exceeded(per_second, burst, pauses):
    """However starts are asked for, in any time no more than it lets through."""
    paces: dict[str, dt.datetime] = {}
    starts = []
    now = NOW
    for pause in pauses:
        now += dt.timedelta(seconds=pause)
        asked = QueueSettings(rate=Rate(per_second, burst))
        flow = Flow(State(now, {"mail": asked}, paces=paces))
        while flow.hold_of(LANE) is None and len(starts) < 500:
            flow.start(LANE)
            starts.append(now)
        paces |= flow.paces
    for first, began in enumerate(starts):
        for last in range(first, len(starts)):
            seconds = (starts[last] - began).total_seconds()
            assert last - first + 1 <= burst + seconds * per_second + 0.01


def test_a_rate_says_when():
    """The next start may be exactly then, and not before."""
    flow = Flow(state(rate=Rate(4, 2)))
    flow.start(LANE)
    assert flow.hold_of(LANE) is None
    flow.start(LANE)
    hold = flow.hold_of(LANE)
    assert hold.reason is HoldReason.QUEUE_RATE
    assert hold.until == NOW + dt.timedelta(seconds=0.25)
    later = Flow(State(hold.until, {"mail": QueueSettings(rate=Rate(4, 2))}, paces=flow.paces))
    assert later.hold_of(LANE) is None


def test_counts_are_of_queue_and_host():
    """A bound of the queue, of a host in it, and of a host in all."""
    asked = {"mail": QueueSettings(max_concurrency=3, per_host=HostLimits(max_concurrency=2))}
    running = {LANE: 1, Lane("news", "b.example"): 4}
    flow = Flow(State(NOW, asked, running), max_per_host=4)
    assert flow.hold_of(Lane("mail", "b.example")).reason is HoldReason.HOST_CONCURRENCY
    flow.start(LANE)
    assert flow.hold_of(LANE).reason is HoldReason.HOST_CONCURRENCY
    flow.start(Lane("mail", ""))
    assert flow.hold_of(Lane("mail", "c.example")).reason is HoldReason.QUEUE_CONCURRENCY
    assert flow.hold_of(Lane("news", "c.example")) is None


def test_a_failing_host_gets_one_at_a_time():
    """None until its time is over, then one, over all queues."""
    held = {"a.example": HostHold(NOW + dt.timedelta(seconds=1), "refused")}
    assert Flow(State(NOW, hosts=held)).hold_of(LANE).reason is HoldReason.HOST_FAILING
    flow = Flow(State(NOW + dt.timedelta(seconds=1), hosts=held))
    assert flow.hold_of(LANE) is None
    flow.start(LANE)
    assert flow.is_probe(LANE)
    assert flow.hold_of(Lane("news", "a.example")).reason is HoldReason.HOST_FAILING
    assert flow.hold_of(Lane("news", "b.example")) is None


class TestShares:
    def choose(self, limit, shares, *offers):
        choice = Choice(limit, Flow(State(NOW)), shares)
        for offer in offers:
            choice.offer(offer)
        choice.fill()
        return [candidate.lane.host for candidate in choice.chosen.values()]

    def test_order_comes_first_within_shares(self):
        """As long as nobody has too much."""
        hosts = self.choose(3, Shares({}, 6), candidates("a", "a", "b", "b", "b"))
        assert hosts == ["a", "a", "b"]

    def test_beyond_a_share_others_come_first(self):
        """What is beyond comes last, those first who have the least."""
        hosts = self.choose(6, Shares({"a": 2}, 8), candidates(*"aaaaaaaabbb"))
        assert hosts == ["a", "a", "b", "b", "a", "b"]

    def test_two_slow_hosts_do_not_take_all_either(self):
        """They share with whoever comes."""
        hosts = self.choose(10, Shares({"a": 45, "b": 45}, 100), candidates(*"aabbaabbccaabbcc"))
        assert hosts[:4] == ["c"] * 4

    def test_without_a_host_there_is_nothing_to_share(self):
        """Such tasks fail at once."""
        assert self.choose(4, Shares({"a": 4}, 8), candidates("", "", "", "", "b")) == [""] * 4

    @given(
        st.lists(st.sampled_from("abc"), max_size=30),
        st.integers(1, 20),
        st.dictionaries(st.sampled_from("abc"), st.integers(1, 20)),
    )
    def test_nothing_is_wasted(self, hosts, limit, in_hand):
        """As many are chosen as there are, or as were wanted; none twice."""
        shares = Shares(in_hand, limit + sum(in_hand.values()))
        chosen = self.choose(limit, shares, candidates(*hosts), candidates(*hosts))
        assert len(chosen) == min(limit, len(hosts))
