"""What ``PUT /schedules/{name}`` and ``GET /schedules`` accept."""

from __future__ import annotations

import datetime as dt
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.api.reading import rules
from taskflow.api.reading.json_text import decoded
from taskflow.api.reading.new_task import TaskRequest, new_task_of
from taskflow.api.reading.rules import PointInTime, Rule, seconds, whole_number
from taskflow.api.reading.task_query import DEFAULT_PAGE, Limit
from taskflow.api.reading.unknown_fields import note_unknown, unknown_parameters
from taskflow.api.reading.validation_errors import Faults, token
from taskflow.model.conditional_fetch import CONDITIONAL_FIELDS, CONDITIONAL_METHODS
from taskflow.model.errors import BadRequest, RequestError, ScheduleNotFound, Unprocessable
from taskflow.model.request import RequestPayload
from taskflow.model.schedule import (
    MAX_EVERY_SECONDS,
    MIN_EVERY_SECONDS,
    Missed,
    Schedule,
    ScheduleDefinition,
    ScheduleName,
    TimeZone,
    Timing,
)
from taskflow.model.schedule_times import TimingError, check_timing
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import Moment, NewTask

HOW: Final = (
    'send a JSON object with times and a task, such as {"cron": "30 6 * * MON-FRI", "task": '
    '{"payload": "https://example.com/"}}'
)
Cron: TypeAlias = Annotated[str, Meta(max_length=256, extra_json_schema={"format": "cron"})]
Every: TypeAlias = Annotated[float, Meta(ge=MIN_EVERY_SECONDS, le=MAX_EVERY_SECONDS)]
ZoneName: TypeAlias = Annotated[TimeZone, Meta(extra_json_schema={"format": "iana-time-zone"})]


_SINGLE_MOMENTS: Final = ("run_at", "expires_at")


def _template() -> Any:
    """A type for what may be said of each task of a schedule."""
    fields = [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in msgspec.structs.fields(TaskRequest)
        if field.name not in _SINGLE_MOMENTS
    ]
    told = inspect.getdoc(TaskRequest) or ""
    for name in _SINGLE_MOMENTS:
        told = re.sub(rf"^    {name}: .*\n(?: {{5,}}.*\n)*", "", told, flags=re.MULTILINE)
    return msgspec.defstruct(
        "TaskTemplate", fields, namespace={"__doc__": told}, forbid_unknown_fields=True
    )


TaskTemplate: Final = _template()


class ScheduleRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A schedule to be made, or to be put in the place of one.

    Either ``cron`` or ``every`` has to be there. What only TaskFlow can say of a schedule is passed
    over, so that one that was read can be handed in again.

    Attributes:
        task: The template of its tasks: a task as ``POST /tasks`` takes it, but without ``run_at``
            and ``expires_at``, which are single moments.
        cron: Five fields: minute, hour, day of the month, month, day of the week. Beside numbers,
            names, lists, ranges and steps it takes ``L``, the last day of the month, ``LW``, its
            last working day, ``5L``, its last Friday, and ``1#2``, its second Monday. A range of
            days or months may pass the end of the week or year (``FRI-MON``, ``NOV-FEB``), and
            ``?`` stands for any day.
        every: Seconds from one time to the next, always the same.
        start_at: The first of the times of ``every``, from which the others are counted; as long
            after it was made as any other if it is not given.
        timezone: Whose clock ``cron`` goes by; ``UTC`` if it is not given.
        missed: What is done about times at which no node was there to fire them, from a minute
            on; ``once`` if it is not given.
        conditional: Whether to ask the target for another answer than that of its last COMPLETED
            task only: if there is none a task is COMPLETED with ``not_modified``. For GET and
            HEAD.
        paused: Whether it makes no tasks for now. If it is not given, that stays as it is; a new
            schedule is not paused.
    """

    task: TaskTemplate  # type: ignore[valid-type]  # made above
    cron: Cron | None = None
    every: Every | None = None
    start_at: Moment | None = None
    timezone: ZoneName | None = None
    missed: Missed | None = None
    conditional: bool | None = None
    paused: bool | None = None


class SchedulePatch(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a schedule. A field that is not given stays as it is; null removes it.

    Attributes:
        task: A change of the template of its tasks, in the same way.
        cron: Five fields, as in a ``PUT``. From ``every`` to ``cron`` is
            ``{"every": null, "cron": "0 7 * * *"}``.
        every: Seconds from one time to the next.
        start_at: The first of the times of ``every``.
        timezone: Whose clock ``cron`` goes by; null for ``UTC``.
        missed: What is done about times at which no node was there; null for ``once``.
        conditional: Whether its fetches are conditional on what the last one answered.
        paused: Whether it makes no tasks for now; null resumes it.
    """

    task: dict[str, Any] | UnsetType = UNSET
    cron: Cron | UnsetType | None = UNSET
    every: Every | UnsetType | None = UNSET
    start_at: Moment | UnsetType | None = UNSET
    timezone: ZoneName | UnsetType | None = UNSET
    missed: Missed | UnsetType | None = UNSET
    conditional: bool | UnsetType | None = UNSET
    paused: bool | UnsetType | None = UNSET


class SchedulesRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /schedules``.

    Attributes:
        limit: How many schedules to answer with, at most.
        cursor: A place in the list, as the ``Link`` header gives it; its beginning if it is not
            given.
    """

    limit: Limit = DEFAULT_PAGE
    cursor: ScheduleName | None = None


_RULES: Final[Mapping[str, Rule]] = {
    "cron": Rule(Cron, "text with five fields, such as 30 6 * * MON-FRI"),
    "every": seconds(Every),
    "start_at": PointInTime(Moment, rules.A_MOMENT),
    "timezone": Rule(TimeZone, "the name of a time zone, such as Europe/Berlin"),
    "missed": Rule(Missed, f"one of {', '.join(Missed)}"),
    "conditional": Rule(bool, "true or false"),
    "paused": Rule(bool, "true or false"),
    "name": Rule(ScheduleName, rules.NAME, may_be_null=False),
}
KNOWN: Final = ("task", *_RULES)
PASSED_OVER: Final = frozenset(Schedule.__struct_fields__) - set(KNOWN)
_NAMES: Final = Vocabulary(
    KNOWN,
    [
        (TaskRequest.__struct_fields__, "{} goes inside task"),
        (RequestPayload.__struct_fields__, "{} goes inside task.payload"),
    ],
)
_QUERY: Final = Vocabulary(SchedulesRequest.__struct_fields__)
_LIMIT: Final = whole_number(Limit)

_Fields: TypeAlias = dict[str, msgspec.Raw]
_FIELDS: Final = msgspec.json.Decoder(_Fields)


def schedule_of(
    body: bytes, *, name: str, max_attempts: int, can_sign: bool, now: dt.datetime
) -> ScheduleDefinition:
    """Read a schedule.

    Args:
        body: JSON text.
        name: That in the path.
        max_attempts: For a task that does not say how many it gets.
        can_sign: Whether there are secrets to sign callbacks with.
        now: From when on there have to be times.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: Fields cannot be used; names each and what is allowed.
    """
    try:
        fields = decoded(body, _FIELDS, how=HOW)
    except msgspec.ValidationError:
        raise BadRequest(f"the body is not a JSON object; {HOW}") from None
    faults = Faults()
    note_unknown(fields, _NAMES, faults, ignored=PASSED_OVER)
    given = {
        field: rule.read(field, bytes(fields[field]), faults)
        for field, rule in _RULES.items()
        if field in fields
    }
    if given.get("name") not in (None, name):
        faults.add("/name", f"name must be that in the path, {name}, or left out")
    timing = _timing_of(fields, given, now, faults)
    is_conditional = bool(given.get("conditional"))
    template = None
    if text := _template_text(fields, faults):
        template = _template_of(text, faults, max_attempts=max_attempts, can_sign=can_sign)
    if is_conditional and template is not None:
        _check_conditional(bytes(template.payload), faults)
    faults.refuse()
    assert timing is not None
    assert template is not None
    return ScheduleDefinition(
        name=name,
        timing=timing,
        task=fields["task"].copy(),
        template=template,
        missed=given.get("missed") or Missed.ONCE,
        conditional=is_conditional,
        paused=bool(given.get("paused")),
    )


def says_paused(body: bytes) -> bool:
    """Whether a schedule that can be read says if it is paused."""
    return bytes(_FIELDS.decode(body).get("paused", b"null")) != b"null"


def name_of(text: str) -> str:
    """Read a schedule's name, that of one that is to be made.

    Raises:
        Unprocessable: It is none.
    """
    if not is_name(text):
        raise Unprocessable(f"the name of a schedule must be {rules.NAME}")
    return text


def known_name_of(text: str) -> str:
    """Read the name of a schedule that is there.

    Raises:
        ScheduleNotFound: It is no name at all, so no schedule has it.
    """
    if not is_name(text):
        raise ScheduleNotFound(f"there is no schedule with this name; a name is {rules.NAME}")
    return text


def is_name(text: str) -> bool:
    """Whether a schedule can go by this name."""
    try:
        msgspec.convert(text, ScheduleName)
    except msgspec.ValidationError:
        return False
    return True


def must_be_new(conditions: Sequence[str]) -> bool:
    """Read ``If-None-Match`` (RFC 9110, section 13.1.2): whether one that is there is to stay.

    Raises:
        Unprocessable: It names entity tags, which schedules have none of.
    """
    if conditions and [text.strip() for text in conditions] != ["*"]:
        raise Unprocessable(
            "If-None-Match must be * here, which leaves a schedule alone, or be away"
        )
    return bool(conditions)


def schedules_request_of(query: Mapping[str, Sequence[str]]) -> SchedulesRequest:
    """Read the query of ``GET /schedules``.

    Raises:
        Unprocessable: Parameters cannot be used; names each and what is allowed.
    """
    known = SchedulesRequest.__struct_fields__
    wrong = unknown_parameters(query, _QUERY)
    wrong += [f"{name} is given more than once" for name in known if len(query.get(name, ())) > 1]
    limit, cursor = query.get("limit", ["100"])[0], query.get("cursor", [None])[0]
    if not _is_limit(limit):
        wrong.append(f"limit must be {_LIMIT.expected}")
    if cursor is not None and not is_name(cursor):
        wrong.append(
            "cursor is not one that this service gave; follow the Link header with rel=next"
        )
    if wrong:
        raise Unprocessable("; ".join(wrong))
    return SchedulesRequest(int(limit), cursor)


def _is_limit(text: str) -> bool:
    if not re.fullmatch("0*[1-9][0-9]{0,3}", text):
        return False
    try:
        _LIMIT.value_of(text.lstrip("0").encode())
    except msgspec.ValidationError:
        return False
    return True


def _timing_of(
    fields: _Fields, given: Mapping[str, Any], now: dt.datetime, faults: Faults
) -> Timing | None:
    """When it is due; ``None`` if that is wrong, which is noted then."""
    said = [name for name in ("cron", "every") if bytes(fields.get(name, b"null")) != b"null"]
    if not said:
        faults.add("", "either cron or every must be given: when is it due?")
    if len(said) > 1:
        faults.add("/every", "every must not be given together with cron")
    if given.get("start_at") is not None and "cron" in said:
        faults.add("/start_at", "start_at is for every: a cron expression says itself when")
    timing = Timing(
        cron=given.get("cron"),
        every=given.get("every"),
        start_at=given.get("start_at"),
        timezone=given.get("timezone") or Timing().timezone,
    )
    for one in (Timing(every=1.0, timezone=timing.timezone), Timing(cron=timing.cron)):
        try:
            check_timing(one, now)
        except TimingError as error:
            faults.add(token(error.field), str(error))
    return timing


def _template_text(fields: _Fields, faults: Faults) -> bytes:
    """The task, if there is one; else nothing, which is noted then."""
    if "task" not in fields:
        faults.add("/task", f"task is missing: what is to be done? {HOW}")
        return b""
    if not bytes(fields["task"]).startswith(b"{"):
        faults.add("/task", f"task must be an object, as POST /tasks takes it; {HOW}")
        return b""
    return bytes(fields["task"])


def _template_of(
    text: bytes, faults: Faults, *, max_attempts: int, can_sign: bool
) -> NewTask | None:
    """The task as a POST would read it; ``None`` if that would refuse it."""
    try:
        template = new_task_of(text, max_attempts=max_attempts, can_sign=can_sign)
    except RequestError as error:
        found = error.faults if isinstance(error, Unprocessable) else ()
        faults.extend(found, under="/task")
        if not found:
            faults.add("/task", f"task: {error}")
        return None
    for name in _SINGLE_MOMENTS:
        if getattr(template, name) is not None:
            faults.add(
                f"/task/{name}",
                f"task.{name} is a single moment and cannot be that of each task; leave it out",
            )
    return template


def _check_conditional(payload: bytes, faults: Faults) -> None:
    if not payload.startswith(b"{"):
        return
    try:
        request = msgspec.json.decode(payload, type=RequestPayload)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return  # what is wrong is noted already
    has_body = request.body is not UNSET and bytes(request.body) != b"null"
    if (request.method or ("POST" if has_body else "GET")) not in CONDITIONAL_METHODS:
        faults.add(
            "/conditional",
            f"conditional is for {' and '.join(CONDITIONAL_METHODS)}; another method cannot be "
            "answered with that nothing has changed",
        )
    for name in request.headers or {}:
        if name.lower() in CONDITIONAL_FIELDS:
            faults.add(
                f"/task/payload/headers{token(name)}",
                f"the header {name} is made by TaskFlow if conditional is true; leave it out",
            )
