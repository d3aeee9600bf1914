"""Changes of several resources in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import msgspec

from taskflow.model.configuration import ResourceKind
from taskflow.store.base.credentials import CredentialStore
from taskflow.store.base.queues import QueueStore
from taskflow.store.base.schedules import ScheduleStore
from taskflow.store.base.topics import TopicStore

Result = TypeVar("Result")


class Configuration(msgspec.Struct, frozen=True):
    """The parts of a store that a configuration consists of, within one transaction.

    Nothing that these verbs change is visible to others before the transaction commits.

    Attributes:
        queues: Settings of queues.
        topics: Topics and their endpoints.
        schedules: Schedules.
        credentials: Credentials.
        hold: Keeps others from changing a resource until the transaction ends. A resource that
            does not exist cannot be held.
    """

    queues: QueueStore
    topics: TopicStore
    schedules: ScheduleStore
    credentials: CredentialStore
    hold: Callable[[ResourceKind, str], Awaitable[None]]


ConfigurationWork: TypeAlias = Callable[[Configuration], Awaitable[Result]]
"""Makes the changes. It uses no other part of the store, and may be called more than once."""
