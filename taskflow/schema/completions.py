"""The declaration of what a target reports when its work failed."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_ERROR_CHARACTERS: Final = 1000


class FailureReport(msgspec.Struct, forbid_unknown_fields=True):
    """Why the work of an attempt failed."""

    error: Annotated[
        Annotated[str, Meta(max_length=MAX_ERROR_CHARACTERS)] | None,
        Meta(
            description="What went wrong, for people: the `error` of the task has it.",
            examples=["the file has no rows"],
        ),
    ] = None
    retry: Annotated[
        bool | None,
        Meta(
            description="Whether the task may be retried, if it has attempts left. Default: true.",
            examples=[False],
        ),
    ] = None
