"""What may start: rates, counts, and the selector among candidates."""

from __future__ import annotations

import datetime as dt
import uuid

from hypothesis import given
from hypothesis import strategies as st

from taskflow.model.claim_selection import Candidate, ClaimSelector, HostShares
from taskflow.model.queue_limits import (
    HoldReason,
    HostHold,
    HostLimits,
    Limiter,
    LimiterState,
    QueueHost,
    QueueSettings,
    Rate,
)

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
MAIL_A = QueueHost("mail", "a.example")


def state(now=NOW, **settings) -> LimiterState:
    return LimiterState(now, {"mail": QueueSettings(**settings)})


def candidates(*hosts: str, priority: int = 0) -> list[Candidate]:
    return [
        Candidate(priority, NOW, uuid.UUID(int=number), QueueHost("mail", host))
        for number, host in enumerate(hosts)
    ]


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 2), min_size=1, max_size=100),
)
def test_a_rate_is_never_exceeded(per_second, burst, pauses):
    """However starts are asked for, in any time no more than it lets through."""
    next_starts: dict[str, dt.datetime] = {}
    starts = []
    now = NOW
    for pause in pauses:
        now += dt.timedelta(seconds=pause)
        requested = QueueSettings(rate=Rate(per_second, burst))
        limiter = Limiter(LimiterState(now, {"mail": requested}, next_starts=next_starts))
        while limiter.hold_of(MAIL_A) is None and len(starts) < 500:
            limiter.start(MAIL_A)
            starts.append(now)
        next_starts |= limiter.next_starts
    for first, began in enumerate(starts):
        for last in range(first, len(starts)):
            seconds = (starts[last] - began).total_seconds()
            assert last - first + 1 <= burst + seconds * per_second + 0.01


def test_the_next_start_of_a_rate_limit():
    """The next start is allowed exactly at this time, and not before."""
    limiter = Limiter(state(rate=Rate(4, 2)))
    limiter.start(MAIL_A)
    assert limiter.hold_of(MAIL_A) is None
    limiter.start(MAIL_A)
    hold = limiter.hold_of(MAIL_A)
    assert hold.reason is HoldReason.QUEUE_RATE
    assert hold.until == NOW + dt.timedelta(seconds=0.25)
    later = Limiter(
        LimiterState(
            hold.until, {"mail": QueueSettings(rate=Rate(4, 2))}, next_starts=limiter.next_starts
        )
    )
    assert later.hold_of(MAIL_A) is None


def test_counts_are_of_queue_and_host():
    """A bound of the queue, of a host in it, and of a host in all."""
    requested = {"mail": QueueSettings(max_concurrency=3, per_host=HostLimits(max_concurrency=2))}
    running = {MAIL_A: 1, QueueHost("news", "b.example"): 4}
    limiter = Limiter(LimiterState(NOW, requested, running), max_per_host=4)
    assert limiter.hold_of(QueueHost("mail", "b.example")).reason is HoldReason.HOST_CONCURRENCY
    limiter.start(MAIL_A)
    assert limiter.hold_of(MAIL_A).reason is HoldReason.HOST_CONCURRENCY
    limiter.start(QueueHost("mail", ""))
    assert limiter.hold_of(QueueHost("mail", "c.example")).reason is HoldReason.QUEUE_CONCURRENCY
    assert limiter.hold_of(QueueHost("news", "c.example")) is None


def test_a_failing_host_gets_one_at_a_time():
    """None until its time is over, then one, over all queues."""
    held = {"a.example": HostHold(NOW + dt.timedelta(seconds=1), "refused")}
    assert Limiter(LimiterState(NOW, hosts=held)).hold_of(MAIL_A).reason is HoldReason.HOST_FAILING
    limiter = Limiter(LimiterState(NOW + dt.timedelta(seconds=1), hosts=held))
    assert limiter.hold_of(MAIL_A) is None
    limiter.start(MAIL_A)
    assert limiter.is_probe(MAIL_A)
    assert limiter.hold_of(QueueHost("news", "a.example")).reason is HoldReason.HOST_FAILING
    assert limiter.hold_of(QueueHost("news", "b.example")) is None


class TestShares:
    def choose(self, limit, shares, *offers):
        selector = ClaimSelector(limit, Limiter(LimiterState(NOW)), shares)
        for offer in offers:
            selector.offer(offer)
        selector.fill()
        return [candidate.queue_host.host for candidate in selector.selected.values()]

    def test_order_decides_within_shares(self):
        """Order decides as long as no host exceeds its share."""
        hosts = self.choose(3, HostShares({}, 6), candidates("a", "a", "b", "b", "b"))
        assert hosts == ["a", "a", "b"]

    def test_tasks_beyond_a_share_come_last(self):
        """Tasks beyond the share of their host come last, the least busy host first."""
        hosts = self.choose(6, HostShares({"a": 2}, 8), candidates(*"aaaaaaaabbb"))
        assert hosts == ["a", "a", "b", "b", "a", "b"]

    def test_two_slow_hosts_leave_room(self):
        """Two slow hosts leave room for a third."""
        hosts = self.choose(
            10, HostShares({"a": 45, "b": 45}, 100), candidates(*"aabbaabbccaabbcc")
        )
        assert hosts[:4] == ["c"] * 4

    def test_without_a_host_there_is_nothing_to_share(self):
        """Such tasks fail at once."""
        assert self.choose(4, HostShares({"a": 4}, 8), candidates("", "", "", "", "b")) == [""] * 4

    @given(
        st.lists(st.sampled_from("abc"), max_size=30),
        st.integers(1, 20),
        st.dictionaries(st.sampled_from("abc"), st.integers(1, 20)),
    )
    def test_nothing_is_wasted(self, hosts, limit, in_hand):
        """As many are chosen as there are, or as were wanted; none twice."""
        shares = HostShares(in_hand, limit + sum(in_hand.values()))
        chosen = self.choose(limit, shares, candidates(*hosts), candidates(*hosts))
        assert len(chosen) == min(limit, len(hosts))
