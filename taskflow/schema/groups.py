"""The declaration of a group, and of the task that it creates when it completes."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from taskflow.model.groups import Group, GroupName, OnMemberFailure
from taskflow.model.task import QueueName, Tags
from taskflow.schema.tasks import MAX_TASKS, ORDER, TaskRequest, TaskTemplate, template_without

NOT_IN_COMPLETIONS: Final = ("order_key",)  # on_failure needs it
"""Fields of a template that the task of a completed group cannot have."""

CompletionTemplate: Final = template_without(
    "CompletionTemplate",
    "The task that a completed group creates: without fixed times, keys and a group. Its payload "
    "has no body.",
    set(TaskRequest.__struct_fields__) - set(TaskTemplate.__struct_fields__) | set(ORDER),
)
MemberTemplate: Final = template_without(
    "MemberTemplate",
    "A task of a new group: without `group`, `unique` and `debounce`.",
    {"group", "unique", "debounce"},
)


class GroupRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A group to create.

    Fields that only TaskFlow sets are ignored, so that a group can be sent again as it was shown.
    """

    name: Annotated[
        GroupName | None,
        Meta(description="A name. Groups can have the same name.", examples=["import 7"]),
    ] = None
    queue: Annotated[
        QueueName | None,
        Meta(
            description="The queue that the group belongs to: keys that may use it see the group. "
            "Its tasks can be in any queue. Default: `default`.",
            examples=["mail"],
        ),
    ] = None
    on_complete: Annotated[
        CompletionTemplate | None,  # type: ignore[valid-type]
        Meta(
            description="The task to create when the group completes: a task as `POST /tasks` "
            "accepts it, without `run_at`, `expires_at`, `unique`, `debounce`, `order_key` and "
            "`group`. Its request is a `POST`, or has the given method, and its body is "
            '`{"group": {...}, "counts": {...}}`.',
            examples=[{"payload": "https://example.com/imported"}],
        ),
    ] = None
    on_failure: Annotated[
        OnMemberFailure | None,
        Meta(
            description="What happens when a task of the group fails: `run` runs the others, "
            "`cancel_rest` cancels them. Default: `run`.",
            examples=["cancel_rest"],
        ),
    ] = None
    tags: Annotated[
        Tags | None,
        Meta(description="Tags, which its body shows.", examples=[{"customer": 42}]),
    ] = None
    tasks: Annotated[
        Annotated[
            list[MemberTemplate],  # type: ignore[valid-type]
            Meta(min_length=1, max_length=MAX_TASKS),
        ]
        | None,
        Meta(
            description="The first tasks of the group, which are stored with it, all or nothing.",
            examples=[[{"payload": "https://example.com/"}]],
        ),
    ] = None
    open: Annotated[
        bool | None,
        Meta(
            description="Whether tasks can join the group later, until it is closed. Default: "
            "false if there are `tasks`, and otherwise true.",
            examples=[True],
        ),
    ] = None


ONLY_SHOWN: Final[frozenset[str]] = frozenset(Group.__struct_fields__) - set(
    GroupRequest.__struct_fields__
)
"""Fields that only TaskFlow sets; they are ignored in a ``GroupRequest``."""
