"""What a configuration consists of: the kinds of resources that are changed together."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

WHEN: Final = "updated_at"
"""The field that says when a resource was last changed: also in values that are not shown."""

_EMPTY: Final[tuple[Any, ...]] = ({}, [])
_MAX_SHOWN_CHARACTERS: Final = 80
"""The longest value that a message repeats."""


class ResourceKind(enum.StrEnum):
    """A kind of resources, in the order in which they are changed: each refers to earlier ones.

    Deletions follow in the reverse order.
    """

    CREDENTIAL = "credential"
    """A credential."""
    QUEUE = "queue"
    """The settings of a queue."""
    TOPIC = "topic"
    """A topic, without its endpoints."""
    ENDPOINT = "endpoint"
    """An endpoint of a topic: the name of the topic, a slash and its name."""
    SCHEDULE = "schedule"
    """A schedule."""


class ResourceOutcome(enum.StrEnum):
    """What happened to a resource."""

    CREATED = "created"
    """It is new."""
    CHANGED = "changed"
    """It existed, and was changed."""
    DELETED = "deleted"
    """It was deleted; of a queue, the settings were removed."""


class ChangedResource(msgspec.Struct, frozen=True):
    """A resource that was changed.

    Attributes:
        kind: Its kind.
        name: Its name; of an endpoint, the name of the topic, a slash and its name.
        outcome: What happened to it.
    """

    kind: ResourceKind
    name: str
    outcome: ResourceOutcome


class AppliedConfiguration(msgspec.Struct, frozen=True):
    """The changes of a request that were made, all together.

    Attributes:
        changes: Each change, in the order of the request.
    """

    changes: list[ChangedResource]


def is_same(before: Any, after: Any) -> bool:
    """Compare by value: 5 and 5.0 are the same number, and an empty list or object is none."""
    return (None if before in _EMPTY else before) == (None if after in _EMPTY else after)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of the fields that have another value now, each with a message."""
    changed = [name for name, value in before.items() if not is_same(value, now.get(name))]
    if changed == [WHEN]:
        yield WHEN, "it was changed, in a value that is not shown"
        return
    for name in changed:
        if name == WHEN:
            continue
        texts = [msgspec.json.encode(one.get(name)).decode() for one in (now, before)]
        if max(map(len, texts)) > _MAX_SHOWN_CHARACTERS:
            yield name, f"{name} has another value now"
        else:
            yield name, f"{name} is {texts[0]}, and was {texts[1]}"
