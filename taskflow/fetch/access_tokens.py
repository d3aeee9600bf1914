"""Access tokens of OAuth 2.0: one request for all waiting tasks of a node, and a cache.

A request runs in the nursery of ``AccessTokens.run``, so no task that waits for it can cancel it
for the others.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import trio

from taskflow.fetch.authentication import Admission, Headers, Outgoing
from taskflow.fetch.client_tls import client_tls, identification_of
from taskflow.fetch.errors import TokenRefused, TokenUnavailable
from taskflow.fetch.interface import Fetcher
from taskflow.fetch.token_request import (
    AccessToken,
    TokenFailure,
    token_request,
)
from taskflow.metrics import Metrics
from taskflow.metrics.catalogue import TokenResult
from taskflow.model.credential import OAuth2
from taskflow.model.invalid_url import FetchError, InvalidUrl
from taskflow.telemetry import Event, emit

MAX_REQUEST_SECONDS: Final = 30.0
"""Timeout of a token request."""

SHARE_OF_TIME: Final = 0.9
"""Share of the remaining time of a fetch to wait for a token, so that the fetch has no timeout."""

HANGING_SECONDS: Final = 2.0
"""Time after which no further task waits for a token request: it would hold up a worker."""

MAX_TOKENS: Final = 1_000
"""Number of credentials whose tokens are kept."""

INITIAL_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 30.0
"""Pauses after requests without a response; each is twice as long as the previous one."""

INITIAL_REFUSAL_PAUSE_SECONDS: Final = 5.0
MAX_REFUSAL_PAUSE_SECONDS: Final = 300.0
"""Pauses after rejected requests, which are longer: the same request will be rejected again."""

MAX_DAMAGED_RESPONSES: Final = 5
"""Number of damaged responses in a row from which on the endpoint counts as broken, not as down."""

RENEWAL_PAUSE_SECONDS: Final = 60.0
"""Minimum time between two requests for a new token after a target rejected the current one."""


class _Flight:
    """A token request that tasks wait for."""

    def __init__(self) -> None:
        self._started_at: Final = trio.current_time()
        self.is_done: Final = trio.Event()
        self.answer: AccessToken | TokenFailure | None = None

    @property
    def age_seconds(self) -> float:
        """The time since its start."""
        return trio.current_time() - self._started_at

    async def wait(self) -> None:
        """Wait for the answer, unless the request hangs already, or the task has no time left."""
        if self.age_seconds < HANGING_SECONDS:
            with trio.CancelScope(deadline=_deadline()):
                await self.is_done.wait()


class _Entry:
    """The token of a credential, or its last failure."""

    def __init__(self) -> None:
        self.token: AccessToken | None = None
        self.usable_until = -math.inf
        self.flight: _Flight | None = None
        self.failure: TokenFailure | None = None
        self.failures = 0
        self.damaged = 0
        self.retry_at = -math.inf
        self.renewable_at = -math.inf

    def known(self) -> AccessToken | TokenFailure | None:
        """Return the token, or the last failure during its pause; ``None`` if a request is due."""
        now = trio.current_time()
        if self.token is not None and now < self.usable_until:
            return self.token
        return self.failure if now < self.retry_at else None

    def record(
        self, answer: AccessToken | TokenFailure, asked_at: float
    ) -> AccessToken | TokenFailure:
        """Record the answer to a request, and return what it is for tasks."""
        if isinstance(answer, AccessToken):
            self.token, self.usable_until = answer, asked_at + answer.usable_seconds
            self.failure, self.failures, self.damaged = None, 0, 0
            self.retry_at = -math.inf
            return answer
        self.damaged = self.damaged + 1 if answer.is_damaged else 0
        if self.damaged >= MAX_DAMAGED_RESPONSES:
            answer = msgspec.structs.replace(answer, is_temporary=False)
        self.token = None
        self.retry_at = trio.current_time() + _pause_after(answer, self.failures)
        self.failure, self.failures = answer, self.failures + 1
        return answer


class AccessTokens:
    """The access tokens of a node.

    Args:
        fetcher: Sends the token requests.
        metrics: Counts them.
    """

    def __init__(self, fetcher: Fetcher, metrics: Metrics | None = None) -> None:
        self._fetcher = fetcher
        self._metrics = metrics or Metrics()
        self._entries: dict[OAuth2, _Entry] = {}  # the least recently used first
        self._nursery: trio.Nursery | None = None

    def __len__(self) -> int:
        """Return the number of credentials whose tokens are kept."""
        return len(self._entries)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run token requests until cancelled. Must be started before the first request."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def get(self, credential: OAuth2) -> str:
        """Return a token, from the token endpoint if none is kept.

        Raises:
            TokenUnavailable: The token endpoint does not answer.
            TokenRefused: The token endpoint does not grant a token.
        """
        entry = self._entry_of(credential)
        answer = entry.known()
        if answer is None:
            flight = entry.flight or self._start(credential, entry)
            await flight.wait()
            answer = flight.answer
            if answer is None:
                raise TokenUnavailable(
                    "no response from the token endpoint yet",
                    max(INITIAL_PAUSE_SECONDS, flight.age_seconds),
                )
        if isinstance(answer, AccessToken):
            return answer.value
        raise _error_of(answer, entry.retry_at)

    def reject(self, credential: OAuth2, value: str) -> bool:
        """Drop a token that a target rejected; return whether a new one may be requested.

        A target that rejects every token causes at most one token request per minute.
        """
        entry = self._entry_of(credential)
        if entry.token is None or entry.token.value != value:
            return True  # another task dropped it already
        now = trio.current_time()
        if now < entry.renewable_at:
            return False
        entry.token = None
        entry.renewable_at = now + RENEWAL_PAUSE_SECONDS
        return True

    def _entry_of(self, credential: OAuth2) -> _Entry:
        entry = self._entries.pop(credential, None) or _Entry()
        self._entries[credential] = entry
        if len(self._entries) > MAX_TOKENS:
            del self._entries[next(iter(self._entries))]
        return entry

    def _start(self, credential: OAuth2, entry: _Entry) -> _Flight:
        assert self._nursery is not None
        entry.flight = flight = _Flight()
        self._nursery.start_soon(self._request, credential, entry, flight)
        return flight

    async def _request(self, credential: OAuth2, entry: _Entry, flight: _Flight) -> None:
        asked_at = trio.current_time()
        try:
            flight.answer = answer = entry.record(await self._answer_of(credential), asked_at)
            self._metrics.token_requested(_result_of(answer))
            if isinstance(answer, TokenFailure):
                emit(Event.TOKEN_NOT_OBTAINED, reason=answer.reason)
        finally:  # also at the end of the node: the next one asks again
            entry.flight = None
            flight.is_done.set()

    async def _answer_of(self, credential: OAuth2) -> AccessToken | TokenFailure:
        try:
            asked = token_request(credential)
        except InvalidUrl as error:
            return TokenFailure(str(error), is_temporary=False)
        with trio.move_on_after(MAX_REQUEST_SECONDS):
            return asked.answered(await self._fetcher.fetch(asked.request))
        return asked.timed_out(MAX_REQUEST_SECONDS)


class AccessTokenAuthenticator(Admission):
    """Adds an access token.

    Args:
        credential: The credential.
        tokens: The tokens of this node.
    """

    def __init__(self, credential: OAuth2, tokens: AccessTokens) -> None:
        super().__init__(credential.hosts)
        self._credential = credential
        self._identification = identification_of(credential)
        self._tokens = tokens

    async def headers(self, _request: Outgoing, /) -> Headers:
        """See ``Authenticator``. A token may be bound to the certificate (RFC 8705 section 3)."""
        if self.tls is None and self._identification is not None:
            self.tls = await client_tls(self._identification)
        return (("Authorization", f"Bearer {await self._tokens.get(self._credential)}"),)

    async def rejected(self, sent: Headers, /) -> bool:
        """See ``Authenticator``."""
        [(_, value)] = sent
        return self._tokens.reject(self._credential, value.removeprefix("Bearer "))


def _result_of(answer: AccessToken | TokenFailure) -> TokenResult:
    if isinstance(answer, AccessToken):
        return TokenResult.GRANTED
    return TokenResult.FAILED if answer.is_temporary else TokenResult.REFUSED


def _pause_after(failure: TokenFailure, earlier_failures: int) -> float:
    doubled = 2.0 ** min(earlier_failures, 10)
    if failure.is_temporary:
        pause = min(INITIAL_PAUSE_SECONDS * doubled, MAX_PAUSE_SECONDS)
        return max(pause, min(failure.retry_after_seconds, MAX_REFUSAL_PAUSE_SECONDS))
    return min(INITIAL_REFUSAL_PAUSE_SECONDS * doubled, MAX_REFUSAL_PAUSE_SECONDS)


def _error_of(failure: TokenFailure, retry_at: float) -> FetchError:
    if failure.is_temporary:
        pause = retry_at - trio.current_time()
        return TokenUnavailable(failure.reason, max(INITIAL_PAUSE_SECONDS, pause))
    return TokenRefused(failure.reason)


def _deadline() -> float:
    """Return when to stop waiting: before the timeout of the fetch."""
    now = trio.current_time()
    return now + max(0.0, trio.current_effective_deadline() - now) * SHARE_OF_TIME
