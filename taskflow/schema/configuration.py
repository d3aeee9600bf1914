"""The declaration of changes of several resources that are made together."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.model.configuration import ResourceKind

MAX_CHANGES: Final = 500
"""Maximum number of changes in one request: making them takes about a second."""


class ResourceChange(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a resource.

    The kind says what the resource is, and which fields it has.
    """

    kind: Annotated[
        ResourceKind,
        Meta(description="The kind of the resource.", examples=["queue"]),
    ]
    name: Annotated[
        str,
        Meta(
            description="Its name. Of an endpoint, the name of the topic, a slash and its name: "
            "`orders/billing`.",
            examples=["mail"],
        ),
    ]
    fields: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Its fields: of a queue, what `PATCH /queues/{name}` accepts; of any other "
            "kind, what the `PUT` of the kind accepts. `null` deletes it; of a queue, it removes "
            "the settings.",
            examples=[{"max_concurrency": 10}],
            extra={"expected": "an object of its fields, or null to delete it"},
        ),
    ]
    before: Annotated[
        dict[str, Any] | UnsetType | None,
        Meta(
            description="The precondition: fields of the resource as `GET` shows them, of those "
            "that a client sets, and `updated_at`. If one of them has another value now, nothing "
            "is changed. `null`: it must not exist. If it is not given, there is no precondition.",
            examples=[{"max_concurrency": 5}],
            extra={"expected": "an object of fields that it has now, or null if there is none"},
        ),
    ] = UNSET


class ConfigurationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Changes of resources that are made together."""

    changes: Annotated[
        list[ResourceChange],
        Meta(
            description=f"The changes, at most {MAX_CHANGES}, in any order; at most one of each "
            "resource.",
            examples=[[{"kind": "queue", "name": "mail", "fields": {"max_concurrency": 10}}]],
        ),
    ]
