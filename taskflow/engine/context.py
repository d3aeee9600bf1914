"""What the parts of the engine share, in one object."""

from __future__ import annotations

import dataclasses

from taskflow.engine.outage import Outage
from taskflow.fetch.interface import Fetcher
from taskflow.metrics import Metrics
from taskflow.model.callback_signature import NO_SIGNER, Signer
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore
from taskflow.tracing import NO_TRACING, Tracing


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineContext:
    """Collaborators of the engine.

    Attributes:
        store: Stores the tasks.
        fetcher: Sends their requests.
        settings: All settings.
        signer: Signs callbacks.
        metrics: Counts what happens.
        tracing: Creates spans.
        outage: Tracks whether the store can be reached.
    """

    store: TaskStore
    fetcher: Fetcher
    settings: Settings
    signer: Signer = NO_SIGNER
    metrics: Metrics = dataclasses.field(default_factory=Metrics)
    tracing: Tracing = NO_TRACING
    outage: Outage = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outage", Outage(self.metrics))
