"""The declaration of a heartbeat."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.heartbeat_monitors import (
    MAX_DESCRIPTION_CHARS,
    MAX_EVERY_SECONDS,
    MAX_GRACE_SECONDS,
    MAX_RUN_SECONDS,
    MIN_EVERY_SECONDS,
    MIN_GRACE_SECONDS,
    Heartbeat,
)
from taskflow.schema.merge_patch import patch_type
from taskflow.schema.schedules import Cron, ZoneName

_SECONDS: Final = {"unit": "seconds"}

Interval: TypeAlias = Annotated[
    float, Meta(ge=MIN_EVERY_SECONDS, le=MAX_EVERY_SECONDS, extra=_SECONDS)
]
Grace: TypeAlias = Annotated[
    float, Meta(ge=MIN_GRACE_SECONDS, le=MAX_GRACE_SECONDS, extra=_SECONDS)
]
RunTime: TypeAlias = Annotated[float, Meta(ge=1, le=MAX_RUN_SECONDS, extra=_SECONDS)]
Description: TypeAlias = Annotated[
    str,
    Meta(
        max_length=MAX_DESCRIPTION_CHARS,
        pattern="^[^\\x00]*$(?!\n)",
        extra={"expected": f"text of at most {MAX_DESCRIPTION_CHARS} characters, without NUL"},
    ),
]


class HeartbeatRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A heartbeat; either ``cron`` or ``every_seconds`` is required.

    Fields that only TaskFlow sets are ignored, so that a heartbeat can be sent again as it was
    shown.
    """

    every_seconds: Annotated[
        Interval | None,
        Meta(description="Maximum time from one ping to the next.", examples=[3600]),
    ] = None
    cron: Annotated[
        Cron | None,
        Meta(
            description="A cron expression, as in schedules: a ping is expected after each of its "
            "times.",
            examples=["30 2 * * *"],
        ),
    ] = None
    timezone: Annotated[
        ZoneName | None,
        Meta(description="Time zone of `cron`. Default: `UTC`.", examples=["Europe/Berlin"]),
    ] = None
    grace_seconds: Annotated[
        Grace | None,
        Meta(
            description="How late a ping may be before the heartbeat is down. Default: 300.",
            examples=[600],
        ),
    ] = None
    max_run_seconds: Annotated[
        RunTime | None,
        Meta(
            description="Maximum time from a `start` to its end, after which the heartbeat is "
            "down. A start in time gives the job this time, too. Default: `grace_seconds`.",
            examples=[1800],
        ),
    ] = None
    description: Annotated[
        Description | None,
        Meta(description="Text for people.", examples=["Nightly backup of the shop"]),
    ] = None
    paused: Annotated[
        bool | None,
        Meta(
            description="Whether missed pings are not noticed. If it is not given, it stays as it "
            "is; a new heartbeat is not paused.",
            examples=[True],
        ),
    ] = None


HeartbeatPatch: Final = patch_type(HeartbeatRequest)
ONLY_SHOWN: Final = frozenset(Heartbeat.__struct_fields__) - set(HeartbeatRequest.__struct_fields__)
"""Fields that only TaskFlow sets; they are ignored in a ``HeartbeatRequest``."""
