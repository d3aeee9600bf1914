"""The rate limit of clients."""

from __future__ import annotations

import re

import pytest

from taskflow.api.access.rate_limit import (
    Rate,
    RateLimiter,
    TokenBucket,
    client_name,
    rate_limiter,
    read_rate_limiter,
)
from taskflow.model.errors import TooManyRequests
from taskflow.service import MEMORY_URL
from taskflow.settings import Settings
from tests.api.client import check_problem
from tests.api.live import LiveServer

BODY = b'{"payload": 1}'


class TestTokenBucket:
    def test_a_burst_and_no_more(self):
        """It is full at first; then there is nothing until it has filled again."""
        bucket = TokenBucket(Rate(2.0, 3), now=100.0)
        assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
        assert bucket.remaining == 0
        assert not bucket.take(100.4)
        assert bucket.take(100.5)

    def test_it_fills_by_its_rate(self):
        """Over a long time the rate is accepted, plus the burst at the beginning."""
        bucket = TokenBucket(Rate(5.0, 10), now=0.0)
        taken = sum(bucket.take(now / 1000) for now in range(20_000))
        assert taken == pytest.approx(10 + 5 * 20, abs=1)

    def test_it_does_not_run_over(self):
        """After a long pause there is a burst, however long the pause was."""
        bucket = TokenBucket(Rate(1.0, 2), now=0.0)
        assert [bucket.take(1e6) for _ in range(3)] == [True, True, False]

    @pytest.mark.parametrize("rate", [Rate(0.3, 1), Rate(7.0, 3), Rate(1 / 3, 2), Rate(100.0, 100)])
    @pytest.mark.parametrize("start", [0.0, 1e6 / 7])
    def test_a_retry_after_the_delay_succeeds(self, rate, start):
        """When it is empty it says after how many whole seconds it is not any more."""
        bucket = TokenBucket(rate, start)
        while bucket.take(start):
            pass
        for _ in range(50):
            start += bucket.seconds_to_next
            assert bucket.take(start)
            while bucket.take(start):
                pass

    def test_a_clock_that_goes_back(self):
        """Trio's clock cannot go back; if it did, no tokens would be lost."""
        bucket = TokenBucket(Rate(1.0, 2), now=10.0)
        assert bucket.take(5.0)
        assert bucket.remaining == 1

    @pytest.mark.parametrize(
        ("rate", "policy"),
        [
            (Rate(1.0, 10), '"post";q=10;w=10'),
            (Rate(0.4, 1), '"post";q=1;w=3'),
            (Rate(100.0, 10), '"post";q=10;w=1'),
        ],
    )
    def test_the_policy(self, rate, policy):
        """The policy is a number of requests in whole seconds, at least one."""
        assert rate.policy == policy


class TestRateLimiter:
    def test_each_client_has_its_own(self):
        """What one has used up another still has."""
        limiter = RateLimiter(Rate(1.0, 1))
        assert limiter.take("a", 0.0) == '"post";r=0;t=1'
        assert limiter.take("b", 0.0) == '"post";r=0;t=1'
        with pytest.raises(TooManyRequests) as caught:
            limiter.take("a", 0.0)
        assert caught.value.retry_seconds == 1

    def test_memory_is_bounded(self):
        """Memory is bounded with any number of clients; active clients are remembered."""
        limiter = RateLimiter(Rate(1.0, 1), max_buckets=10)
        for n in range(1000):
            limiter.take(f"client {n}", 0.0)
            if n:
                with pytest.raises(TooManyRequests):
                    limiter.take("client 0", 0.0)
        assert len(limiter) == 10

    def test_off_by_default(self):
        """Without a setting there is no limit; the default burst is one second's requests."""
        assert rate_limiter(Settings()) is None
        assert read_rate_limiter(Settings()) is None
        assert read_rate_limiter(Settings(rate_limit=1.0)) is None
        assert read_rate_limiter(Settings(read_rate_limit=2.5)).rate == Rate(2.5, 3, "read")
        assert rate_limiter(Settings(read_rate_limit=2.5)) is None
        assert rate_limiter(Settings(rate_limit=2.5)).rate == Rate(2.5, 3)
        assert rate_limiter(Settings(rate_limit=0.1)).rate == Rate(0.1, 1)
        assert rate_limiter(Settings(rate_limit=2.5, rate_burst=9)).rate == Rate(2.5, 9)

    def test_whose_bucket_it_is(self):
        """The key's; else the address's, of IPv6 the network's, for one client has all of it."""
        assert client_name("ci", "192.0.2.1") == "key ci"
        assert client_name(None, "192.0.2.1") == "address 192.0.2.1"
        assert client_name(None, "2001:db8::1") == client_name(None, "2001:db8::ffff:2")
        assert client_name(None, "2001:db8::1") != client_name(None, "2001:db8:0:1::1")
        assert client_name(None, "::ffff:192.0.2.1") == client_name(None, "192.0.2.1")
        assert client_name(None, None) == client_name(None, None) != client_name("None", None)


def test_over_http():
    """201 while there are tokens, with what is left; then 429, and when to come again."""
    keys = "a:key-of-the-first-one,b:key-of-the-other-one"
    with LiveServer(
        database_url=MEMORY_URL, rate_limit=0.01, rate_burst=2, api_keys=keys
    ) as server:
        first = {"authorization": "Bearer key-of-the-first-one"}
        with server.connect() as connection:
            for left in (1, 0):
                answer = connection.ask("POST", "/tasks", BODY, first)
                assert answer.status == 201
                assert re.fullmatch(rf'"post";r={left};t=\d+', answer.header("ratelimit"))
                assert answer.header("ratelimit-policy") == '"post";q=2;w=200'
            refused = connection.ask("POST", "/tasks", BODY, first)
            check_problem(refused, 429, "0.01 per second", "try again in")
            seconds = int(refused.header("retry-after"))
            assert 90 <= seconds <= 100
            assert refused.header("ratelimit") == f'"post";r=0;t={seconds}'
            assert refused.header("ratelimit-policy") == '"post";q=2;w=200'
            # Reading is free, and says nothing of it; so is what another key does.
            reading = connection.ask("GET", "/tasks", None, first)
            assert (reading.status, reading.header("ratelimit")) == (200, None)
            other = {"authorization": "Bearer key-of-the-other-one"}
            assert connection.ask("POST", "/tasks", BODY, other).status == 201
        assert len(server.ask("GET", "/tasks", None, first).json) == 3


def test_without_keys_the_limit_is_per_address():
    """All from this machine share what there is; what is refused for another reason counts, too."""
    with LiveServer(database_url=MEMORY_URL, rate_limit=0.01, rate_burst=2) as server:
        assert [server.post(body).status for body in (b"{", BODY, BODY)] == [400, 201, 429]


READS = {"database_url": MEMORY_URL, "read_rate_limit": 0.01, "read_rate_burst": 2}


def test_reads_have_a_limit_of_their_own():
    """GET and HEAD share it; submissions, other methods and other keys do not use it up."""
    keys = "a:write:key-of-the-first-one,b:read:key-of-the-other-one"
    with LiveServer(**READS, api_keys=keys) as server:
        first = {"authorization": "Bearer key-of-the-first-one"}
        for left, method in ((1, "GET"), (0, "HEAD")):
            answer = server.ask(method, "/tasks?host=z", None, first)
            assert answer.status == 200
            assert re.fullmatch(rf'"read";r={left};t=\d+', answer.header("ratelimit"))
            assert answer.header("ratelimit-policy") == '"read";q=2;w=200'
        for path in (
            "/tasks",
            "/tasks?host=z",
            "/stats",
            "/events",
            "/metrics",
            "/openapi.json",
        ):
            rejected = server.ask("GET", path, None, first)
            check_problem(rejected, 429, "0.01 per second", "try again in")
            assert 90 <= int(rejected.header("retry-after")) <= 100
            assert rejected.header("ratelimit-policy") == '"read";q=2;w=200'
        posted = server.ask("POST", "/tasks", BODY, first)
        assert (posted.status, posted.header("ratelimit")) == (201, None)
        assert server.ask("PUT", "/queues/a", b"{}", first).status == 201
        other = {"authorization": "Bearer key-of-the-other-one"}
        assert server.ask("GET", "/tasks", None, other).status == 200
        for path in ("/livez", "/readyz", "/problems", "/problems/rate-limited", "/ui/sign-in"):
            answer = server.ask("GET", path)
            assert (answer.status, answer.header("ratelimit")) == (200, None)


def test_reads_without_a_limit():
    """The limit of submissions applies to submissions only."""
    with LiveServer(database_url=MEMORY_URL, rate_limit=0.01, rate_burst=1) as server:
        answers = [server.ask("GET", "/tasks") for _ in range(5)]
    assert {(answer.status, answer.header("ratelimit")) for answer in answers} == {(200, None)}


def test_a_person_sees_a_page():
    """What is too much in the dashboard is said in words that people read, and when to return."""
    with LiveServer(**READS) as server:
        page = server.ask("GET", "/ui").body.decode()
        assert server.ask("GET", "/ui/tasks").status == 200
        for path in ("/ui", "/ui/tasks?host=z", "/ui/nowhere"):
            rejected = server.ask("GET", path)
            assert rejected.status == 429
            assert rejected.header("content-type") == "text/html; charset=utf-8"
            assert 90 <= int(rejected.header("retry-after")) <= 100
            assert "try again in" in rejected.body.decode()
        [asset] = re.findall(r'(/ui/assets/[^"]+[.]css)', page)
        assert server.ask("GET", asset).status == 200
        stream = server.ask("GET", "/ui", None, {"accept": "text/event-stream"})
        check_problem(stream, 429, "0.01 per second", "try again in")
