"""What ``PUT`` and ``PATCH /schedules/{name}`` accept, as changes of a schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from taskflow.api.reading.kept_credentials import (
    is_masked,
    refuse_moved_credentials,
    with_kept_credentials,
)
from taskflow.model.conditional_fetch import CONDITIONAL_FIELDS, CONDITIONAL_METHODS
from taskflow.model.errors import RequestError, ScheduleExists, ScheduleNotFound, Unprocessable
from taskflow.model.masking import Masking
from taskflow.model.request import RequestPayload, StoredPayload
from taskflow.model.schedule import Missed, Overlap, ScheduleChange, ScheduleDefinition, Timing
from taskflow.model.task import NewTask
from taskflow.schema.json_text import object_fields
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.schema.merge_patch import patch_fields_of, patched
from taskflow.schema.new_task import new_task_of
from taskflow.schema.reader import Fields, Reader, check_name
from taskflow.schema.schedule_rules import check_template, timing_of
from taskflow.schema.schedules import ONLY_SHOWN, ScheduleRequest, with_current_names
from taskflow.schema.tasks import TaskRequest
from taskflow.schema.validation_errors import ValidationErrors, token

HOW: Final = (
    'send a JSON object with times and a task, such as {"cron": "30 6 * * MON-FRI", "task": '
    '{"payload": "https://example.com/"}}'
)
_HOW_TO_PATCH: Final = 'send a JSON object of what is to change, such as {"cron": "0 7 * * *"}'
_READER: Final = Reader(
    ScheduleRequest,
    ignored=ONLY_SHOWN,
    elsewhere=[
        (TaskRequest.__struct_fields__, "{} goes inside task"),
        (RequestPayload.__struct_fields__, "{} goes inside task.payload"),
    ],
    custom={"task": lambda text, _: text},
)
_NULL: Final = msgspec.Raw(b"null")


class Reading(msgspec.Struct, frozen=True):
    """What a schedule is read with.

    Attributes:
        name: The name in the path.
        max_attempts: The number of attempts of tasks that do not say how many they get.
        can_sign: Whether there are secrets to sign with.
        has_public_url: Whether targets can report outcomes.
        masking: What is masked where a schedule is shown.
        credentials: The credentials that exist; ``None`` if that does not matter.
    """

    name: str
    max_attempts: int
    can_sign: bool
    has_public_url: bool
    masking: Masking
    credentials: KnownCredentials | None

    def definition_of(self, fields: Fields) -> ScheduleDefinition:
        """Read a whole schedule.

        Raises:
            Unprocessable: Fields are invalid.
        """
        errors = ValidationErrors()
        given = _READER.read(fields, errors)
        check_name(fields, self.name, errors)
        timing = timing_of(fields, given, errors)
        template = self._template_of(given.get("task"), errors)
        is_conditional = bool(given.get("conditional"))
        if is_conditional and template is not None:
            _check_conditional(bytes(template.payload), errors)
        errors.raise_if_any()
        assert template is not None
        return ScheduleDefinition(
            name=self.name,
            timing=timing,
            task=fields["task"].copy(),
            template=template,
            missed=given.get("missed") or Missed.ONCE,
            overlap=given.get("overlap") or Overlap.ALLOW,
            conditional=is_conditional,
            paused=bool(given.get("paused")),
        )

    def with_kept(self, fields: Fields, before: ScheduleDefinition) -> Fields:
        """Return the fields with masked values of the task as they are stored."""
        if "task" not in fields:
            return fields
        return {**fields, "task": with_kept_credentials(fields["task"], before.task, self.masking)}

    def _template_of(self, text: bytes | None, errors: ValidationErrors) -> NewTask | None:
        """Return the task as a ``POST`` would read it; ``None`` if it is invalid."""
        if text is None:
            errors.add("/task", f"task is missing: what should the schedule run? {HOW}")
            return None
        if not text.startswith(b"{"):
            errors.add("/task", f"task must be an object, as POST /tasks accepts it; {HOW}")
            return None
        try:
            template = new_task_of(
                text,
                max_attempts=self.max_attempts,
                can_sign=self.can_sign,
                has_public_url=self.has_public_url,
            )
        except RequestError as error:
            errors.add_part("/task", "task", error)
            return None
        if self.credentials is not None:
            self.credentials.check(template.options.credential, errors, under="/task")
        check_template(template, errors)
        return template


def replacement_of(body: bytes, reading: Reading, *, must_be_new: bool) -> ScheduleChange:
    """Read a whole schedule. If it does not say ``paused``, that stays as it is.

    The change raises ``ScheduleExists`` if the schedule must be new and is not, and
    ``Unprocessable`` if there are masked values that it does not have.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    fields = object_fields(body, how=HOW)
    keeps_pause = bytes(fields.get("paused", _NULL)) == b"null"
    # Masked values can be read only with the stored ones; anything else before the store is asked.
    is_known = not is_masked(bytes(fields.get("task", _NULL)))
    known = reading.definition_of(fields) if is_known else None

    def change(before: ScheduleDefinition | None) -> ScheduleDefinition:
        if before is None:
            return known or reading.definition_of(fields)
        if must_be_new:
            raise ScheduleExists
        definition = known or reading.definition_of(reading.with_kept(fields, before))
        if keeps_pause:
            return msgspec.structs.replace(definition, paused=before.paused)
        return definition

    return change


def patch_of(body: bytes, reading: Reading) -> ScheduleChange:
    """Read a JSON merge patch of a schedule.

    The change raises ``ScheduleNotFound`` without a schedule, and ``Unprocessable`` if the
    schedule after it is invalid.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: It cannot be kept unchanged.
    """
    patch = patch_fields_of(body, how=_HOW_TO_PATCH)

    def change(before: ScheduleDefinition | None) -> ScheduleDefinition:
        if before is None:
            raise ScheduleNotFound
        fields: Fields = patched(_fields_of(before), patch)
        if "task" in patch:
            fields = reading.with_kept(fields, before)
            definition = reading.definition_of(fields)
            refuse_moved_credentials(before.task, fields["task"], patch["task"], reading.masking)
            return definition
        # Its options were read when the task was sent; the settings may differ by now.
        lenient = msgspec.structs.replace(
            reading, can_sign=True, has_public_url=True, credentials=None
        )
        definition = lenient.definition_of(fields)
        return msgspec.structs.replace(definition, template=before.template)

    return change


def patched_timing(body: bytes, before: Timing) -> Timing:
    """Return when a schedule would be due after a merge patch of its times.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: The times are invalid.
    """
    patch = patch_fields_of(body, how=_HOW_TO_PATCH)
    times = {name: one for name, one in patch.items() if name in Timing.__struct_fields__}
    fields: Fields = patched(_given(msgspec.structs.asdict(before)), times)
    errors = ValidationErrors()
    timing = timing_of(fields, _READER.read(fields, errors), errors)
    errors.raise_if_any()
    return timing


def must_be_new(conditions: Sequence[str]) -> bool:
    """Read ``If-None-Match`` (RFC 9110, section 13.1.2): whether the schedule must be new.

    Raises:
        Unprocessable: It names entity tags, which schedules do not have.
    """
    if conditions and [text.strip() for text in conditions] != ["*"]:
        raise Unprocessable('If-None-Match must be "*" or absent')
    return bool(conditions)


def _fields_of(definition: ScheduleDefinition) -> Fields:
    """Return the fields of a schedule that a client may send."""
    values = {
        **msgspec.structs.asdict(definition.timing),
        "missed": definition.missed,
        "overlap": definition.overlap,
        "conditional": definition.conditional,
        "paused": definition.paused,
        "task": with_current_names(definition.task),
    }
    return _given(values)


def _given(values: Mapping[str, object]) -> Fields:
    """Return the values that are not null as fields of a document."""
    return {
        name: msgspec.Raw(msgspec.json.encode(value))
        for name, value in values.items()
        if value is not None
    }


def _check_conditional(payload: bytes, errors: ValidationErrors) -> None:
    if not payload.startswith(b"{"):
        return
    try:
        request = msgspec.json.decode(payload, type=StoredPayload)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return  # its errors have been added
    has_body = request.body is not UNSET and bytes(request.body) != b"null"
    if (request.method or ("POST" if has_body else "GET")) not in CONDITIONAL_METHODS:
        errors.add(
            "/conditional",
            f"conditional is for {' and '.join(CONDITIONAL_METHODS)}; responses to other methods "
            "cannot be conditional",
        )
    for name in request.headers or {}:
        if name.lower() in CONDITIONAL_FIELDS:
            errors.add(
                f"/task/payload/headers{token(name)}",
                f"the header {name} is set by TaskFlow if conditional is true; leave it out",
            )
