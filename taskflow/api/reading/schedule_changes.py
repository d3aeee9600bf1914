"""Changes of schedules, as ``PUT`` and ``PATCH /schedules/{name}`` describe them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

import msgspec

from taskflow.api.reading.kept_credentials import refuse_moved_credentials
from taskflow.api.reading.merge_patch import patch_fields_of, patched
from taskflow.api.reading.schedule import says_paused, schedule_of
from taskflow.model.errors import ScheduleExists, ScheduleNotFound
from taskflow.model.masking import Masking
from taskflow.model.schedule import ScheduleChange, ScheduleDefinition

_HOW: Final = 'send a JSON object of what is to change, such as {"cron": "0 7 * * *"}'


class Reading(msgspec.Struct, frozen=True):
    """What a schedule is read with.

    Attributes:
        name: The name in the path.
        max_attempts: For a task that does not say how many it gets.
        can_sign: Whether there are secrets to sign callbacks with.
        masking: What is masked where a schedule is shown.
    """

    name: str
    max_attempts: int
    can_sign: bool
    masking: Masking

    def definition_of(self, body: bytes) -> ScheduleDefinition:
        """Read a whole schedule; see ``schedule_of``."""
        return schedule_of(
            body,
            name=self.name,
            max_attempts=self.max_attempts,
            can_sign=self.can_sign,
            now=dt.datetime.now(dt.UTC),
        )


def replacement_of(body: bytes, reading: Reading, *, must_be_new: bool) -> ScheduleChange:
    """Read a whole schedule. If it does not say ``paused``, that stays as it is.

    The change raises ``ScheduleExists`` if the schedule must be new and is not.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: Fields cannot be used.
    """
    definition = reading.definition_of(body)
    keeps_pause = not says_paused(body)

    def change(before: ScheduleDefinition | None) -> ScheduleDefinition:
        if before is None:
            return definition
        if must_be_new:
            raise ScheduleExists
        if keeps_pause:
            return msgspec.structs.replace(definition, paused=before.paused)
        return definition

    return change


def patch_of(body: bytes, reading: Reading) -> ScheduleChange:
    """Read a JSON merge patch of a schedule.

    The change raises ``ScheduleNotFound`` without a schedule, and ``Unprocessable`` if it cannot
    be changed so.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: It cannot be kept unchanged.
    """
    patch = patch_fields_of(body, how=_HOW)

    def change(before: ScheduleDefinition | None) -> ScheduleDefinition:
        if before is None:
            raise ScheduleNotFound
        fields = patched(_fields_of(before), patch)
        whole = msgspec.json.encode(fields)
        if "task" in patch:
            definition = reading.definition_of(whole)
            refuse_moved_credentials(before.task, fields["task"], patch["task"], reading.masking)
            return definition
        # Its options were read when the task was sent; the settings may differ by now.
        definition = msgspec.structs.replace(reading, can_sign=True).definition_of(whole)
        return msgspec.structs.replace(definition, template=before.template)

    return change


def _fields_of(definition: ScheduleDefinition) -> Mapping[str, msgspec.Raw]:
    """The fields of a schedule that a client may send."""
    timing = definition.timing
    fields = {
        "cron": timing.cron,
        "every": timing.every,
        "start_at": timing.start_at,
        "timezone": timing.timezone,
        "missed": definition.missed,
        "conditional": definition.conditional,
        "paused": definition.paused,
        "task": definition.task,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in given.items()}
