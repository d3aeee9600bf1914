"""What a node knows about endpoints: their signing secrets, and whether they fail.

Each attempt of a delivery looks up its endpoint, which is kept in memory for seconds. So a disabled
endpoint gets nothing more, and a rotated secret signs the next attempt. A healthy endpoint costs no
write: only its first failure, and the first success after failures, are recorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Iterable
from typing import Final

import msgspec
import trio

from taskflow.metrics import Metrics
from taskflow.model.backoff import GONE
from taskflow.model.delivery import Delivery
from taskflow.model.endpoint_secrets import unseal_secret
from taskflow.model.errors import StoreUnavailable, Undecryptable
from taskflow.model.keyring import Keyring
from taskflow.model.outcome import ErrorType, Failed, Fetched, Interrupted, Outcome, failed
from taskflow.model.signature import Signer
from taskflow.model.topics import EndpointSecrets
from taskflow.store.base.changes import Reading
from taskflow.store.base.topics import KEPT_SECONDS, TopicStore
from taskflow.telemetry import Event, emit

UNUSED_SECONDS: Final = 3600.0
"""Time after which an endpoint without deliveries leaves the memory."""

_NOT_OF_THE_ENDPOINT: Final = frozenset(
    {ErrorType.ENDPOINT_DISABLED, ErrorType.INTERNAL, ErrorType.CREDENTIAL_MISSING, ErrorType.TOKEN}
)
_DISABLED: Final = failed(
    ErrorType.ENDPOINT_DISABLED, "endpoint disabled: it was disabled or deleted"
)


@dataclasses.dataclass
class _Kept:
    """An endpoint in memory.

    Attributes:
        known: What attempts need to know.
        signer: Signs its deliveries.
        reading: When it was read.
        has_succeeded: Whether an attempt has succeeded since then.
    """

    known: EndpointSecrets
    signer: Signer
    reading: Reading
    has_succeeded: bool = False


class Endpoints:
    """The endpoints of the deliveries of a node.

    Args:
        store: Stores them.
        keyring: Decrypts their secrets.
        shared: Signs for endpoints without a secret of their own.
        metrics: Counts disabled endpoints.
        disable_after_seconds: How long an endpoint may fail.
    """

    def __init__(
        self,
        store: TopicStore,
        keyring: Keyring,
        shared: Signer,
        metrics: Metrics,
        disable_after_seconds: float,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._shared = shared
        self._metrics = metrics
        self._disable_after_seconds = disable_after_seconds
        self._kept: dict[uuid.UUID, _Kept] = {}

    async def signer_of(self, delivery: Delivery) -> Signer | Failed | Interrupted:
        """Return the signer of a delivery, or the outcome of an attempt that cannot be made.

        Raises:
            KeyMissing: Its secret is encrypted with a key that this node does not have.
        """
        kept = self._kept.get(delivery.endpoint_id)
        reading = None if kept is None else kept.reading
        if not self._store.is_fresh(reading, max_age_seconds=KEPT_SECONDS):
            try:
                kept = await self._read(delivery.endpoint_id, kept)
            except StoreUnavailable:
                pass  # what is in memory is used until the store is back
            except Undecryptable:
                return failed(
                    ErrorType.INTERNAL,
                    "internal: the signing secret of the endpoint was changed in the database; "
                    "rotate it",
                )
            else:
                if kept is None:
                    return _DISABLED
        if kept is None:
            return Interrupted()
        return kept.signer if kept.known.is_enabled else _DISABLED

    async def update(self, outcomes: Iterable[tuple[Delivery, Outcome]]) -> None:
        """Record which endpoints begin to fail, and which no longer do.

        If the store is unavailable, the next attempts will show the same.
        """
        for delivery, outcome in outcomes:
            with contextlib.suppress(StoreUnavailable):
                await self._update(delivery, outcome)

    async def _update(self, delivery: Delivery, outcome: Outcome) -> None:
        kept = self._kept.get(delivery.endpoint_id)
        if kept is None:
            return
        if isinstance(outcome, Fetched):
            kept.has_succeeded = True
            if kept.known.failing_seconds is not None:
                await self._store.note_success(delivery.endpoint_id)
                kept.known = msgspec.structs.replace(kept.known, failing_seconds=None)
        elif isinstance(outcome, Failed) and _is_of_endpoint(outcome):
            is_gone = outcome.status_code == GONE
            if is_gone or self._is_news(kept):
                await self._note_failure(delivery, outcome, is_gone=is_gone)
                if kept.known.failing_seconds is None:
                    kept.known = msgspec.structs.replace(kept.known, failing_seconds=0.0)

    def _is_news(self, kept: _Kept) -> bool:
        """Return whether a failure is the first one, or one too many."""
        if kept.known.failing_seconds is None:
            return True
        failing_seconds = kept.known.failing_seconds + trio.current_time() - kept.reading.at
        return failing_seconds >= self._disable_after_seconds

    async def _note_failure(self, delivery: Delivery, failure: Failed, *, is_gone: bool) -> None:
        seconds = self._disable_after_seconds
        days = f"{seconds / 86_400:g} days"
        reason = "410 Gone" if is_gone else f"no attempt succeeded for {days}: {failure.error}"
        disabled = await self._store.note_failure(
            delivery.endpoint_id,
            disable_after_seconds=0.0 if is_gone else seconds,
            reason=reason,
        )
        if disabled is not None:
            emit(Event.ENDPOINT_DISABLED, endpoint=disabled, gone=is_gone)
            self._metrics.endpoint_disabled()

    async def _read(self, endpoint_id: uuid.UUID, before: _Kept | None) -> _Kept | None:
        """Read an endpoint; ``None`` if it was deleted."""
        reading = self._store.reading()
        unused_since = reading.at - UNUSED_SECONDS
        self._kept = {n: one for n, one in self._kept.items() if one.reading.at > unused_since}
        known = await self._store.secrets(endpoint_id)
        if known is None:
            self._kept.pop(endpoint_id, None)
            return None
        if before is not None and before.has_succeeded and known.failing_seconds is not None:
            # Another node recorded a failure, of before or after the success: one more will show.
            await self._store.note_success(endpoint_id)
            known = msgspec.structs.replace(known, failing_seconds=None)
        kept = self._kept[endpoint_id] = _Kept(known, self._signer_of(known), reading)
        return kept

    def _signer_of(self, known: EndpointSecrets) -> Signer:
        if not known.sealed:
            return self._shared
        return Signer([unseal_secret(one, known.full_name, self._keyring) for one in known.sealed])


def _is_of_endpoint(failure: Failed) -> bool:
    return not failure.is_of_node and failure.error_type not in _NOT_OF_THE_ENDPOINT
