"""What ``POST /tasks`` takes: a task, or many of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, NoReturn, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.api.reading import rules
from taskflow.api.reading.json_text import HOW, decoded, refuse_depth
from taskflow.api.reading.rules import PointInTime, Rule, seconds, whole_number
from taskflow.api.reading.task_array import MAX_TASKS
from taskflow.api.reading.unknown_fields import example_of, note_unknown
from taskflow.api.reading.validation_errors import Faults, token
from taskflow.model.errors import BadRequest
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.masking import MASK, MASKING
from taskflow.model.options import NO_OPTIONS, Backoff, Pauses, StatusPatterns, TaskOptions
from taskflow.model.request import (
    HEADERS_MADE_HERE,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    BodyError,
    HeaderName,
    HeaderValue,
    Method,
    RequestPayload,
    Timeout,
    content_of,
)
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_PRIORITY,
    MAX_RETENTION_SECONDS,
    MIN_PRIORITY,
    Moment,
    NewTask,
    QueueName,
    Tags,
    Task,
)
from taskflow.model.untrusted_text import is_too_deep
from taskflow.model.url import Place, place_of

AskedPayload: TypeAlias = Annotated[
    msgspec.Raw,
    Meta(
        extra_json_schema={
            "anyOf": [
                {"type": ["string", "number", "boolean", "array"]},
                {"$ref": "#/components/schemas/RequestPayload"},
            ]
        }
    ),
]
MaxAttempts: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)]
Priority: TypeAlias = Annotated[int, Meta(ge=MIN_PRIORITY, le=MAX_PRIORITY)]
Delay: TypeAlias = Annotated[float, Meta(ge=0, le=MAX_DELAY_SECONDS)]
Retention: TypeAlias = Annotated[float, Meta(ge=0, le=MAX_RETENTION_SECONDS)]
CallbackUrl: TypeAlias = Annotated[
    str, Meta(pattern="^https?://[!-~]+$(?!\n)", min_length=8, max_length=8192)
]


class TaskRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A task to be handed in; what may be null counts as not given if it is.

    What only TaskFlow can say of a task is ignored, so that one that was read can be submitted
    again. A field that does not exist is rejected.

    Attributes:
        payload: The URL to fetch, or a whole request. Any other JSON but null is taken, too, up to
            500 levels deep and without unpaired surrogates, and kept to the byte; a task whose
            payload is neither fails as ``invalid_url``.
        max_attempts: How many attempts may fail before the task does; if it is not given, as many
            as the setting ``TASKFLOW_MAX_ATTEMPTS`` says.
        priority: Higher is claimed first; 0 if it is not given.
        queue: The queue that it stands in; ``default`` if it is not given.
        run_at: Not to be run before; a moment that is past is now. Not together with ``delay``.
        delay: Not to be run before so many seconds from now.
        expires_at: No attempt is begun from then on: a task that still waits fails as ``expired``.
        backoff: How long to wait between attempts: an object, or each wait in seconds (the last
            one is for all further attempts).
        retry_on: Which statuses are worth another attempt: ``503`` or ``"5xx"``; 408, 425, 429 and
            5xx if it is not given.
        success_on: Which statuses count as success; ``2xx`` if it is not given.
        tags: What it can be found by: names with text, whole numbers or booleans.
        callback_url: Where the task is sent to when it comes to its end: a ``POST`` signed as the
            Standard Webhooks say, which is a task of its own with its own attempts. Only where
            the setting ``TASKFLOW_WEBHOOK_SECRETS`` says what to sign with.
        retention: How many seconds it is kept after its end; if it is not given, as long as the
            setting ``TASKFLOW_RETENTION_SECONDS`` says.
    """

    payload: AskedPayload
    max_attempts: MaxAttempts | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    queue: QueueName | UnsetType = UNSET
    run_at: Moment | None = None
    delay: Delay | None = None
    expires_at: Moment | None = None
    backoff: Backoff | Pauses | None = None
    retry_on: StatusPatterns | None = None
    success_on: StatusPatterns | None = None
    tags: Tags | None = None
    callback_url: CallbackUrl | None = None
    retention: Retention | None = None


TaskRequests: TypeAlias = Annotated[list[TaskRequest], Meta(min_length=1, max_length=MAX_TASKS)]

_NULL: Final = msgspec.Raw(b"null")
_NOWHERE: Final = Place("", "")

_RULES: Final[Mapping[str, Rule]] = {
    "max_attempts": whole_number(MaxAttempts),
    "priority": whole_number(Priority),
    "queue": Rule(QueueName, rules.NAME, may_be_null=False),
    "run_at": PointInTime(Moment, rules.A_MOMENT),
    "delay": seconds(Delay),
    "expires_at": PointInTime(Moment, rules.A_MOMENT),
    "backoff": Rule(
        Backoff | Pauses,
        rules.BACKOFF,
        parts=rules.FIELDS | rules.ITEMS,
        names=Vocabulary(Backoff.__struct_fields__),
    ),
    "retry_on": Rule(StatusPatterns, rules.STATUSES, parts=rules.ITEMS),
    "success_on": Rule(StatusPatterns, rules.STATUSES, parts=rules.ITEMS),
    "tags": Rule(Tags, rules.TAGS, parts=rules.FIELDS),
    "callback_url": Rule(CallbackUrl, "an http or https URL of printable ASCII"),
    "retention": seconds(Retention),
}
_PAYLOAD_FIELDS: Final = RequestPayload.__struct_fields__
_SCHEDULE_FIELDS: Final = ("cron", "every", "timezone")
TASK_NAMES: Final = Vocabulary(
    TaskRequest.__struct_fields__,
    [
        (_PAYLOAD_FIELDS, "{} goes inside payload"),
        (_SCHEDULE_FIELDS, "{} is for PUT /schedules/NAME, beside a task"),
    ],
)
PAYLOAD_NAMES: Final = Vocabulary(
    _PAYLOAD_FIELDS, [(TaskRequest.__struct_fields__, "{} goes beside payload, not inside it")]
)
PASSED_OVER: Final = frozenset(Task.__struct_fields__) - _RULES.keys() - {"payload"}

_PAYLOAD_RULES: Final[Mapping[str, Rule]] = {
    "url": Rule(
        Annotated[str, Meta(min_length=1, max_length=8192)], "text of 1 to 8192 characters"
    ),
    "method": Rule(Method, "a method in capitals such as POST; CONNECT and TRACE are not taken"),
    "timeout": seconds(Timeout),
    "follow_redirects": Rule(bool, "true or false"),
}

_NO_SECRETS: Final = (
    "callback_url cannot be used: there is no secret to sign callbacks with; set "
    "TASKFLOW_WEBHOOK_SECRETS to what `taskflow secret new` prints"
)

_MASK: Final = MASK.encode()
_WAS_MASKED: Final = (
    f"has {MASK} in place of a credential that was masked when it was shown; send the real value"
)
_Fields: TypeAlias = dict[str, msgspec.Raw]
_FIELDS: Final = msgspec.json.Decoder(_Fields)
_TEXT: Final = msgspec.json.Decoder(str)
_ENVELOPES: Final = msgspec.json.Decoder(list[msgspec.Raw])


def new_task_of(
    body: bytes, *, max_attempts: int, can_sign: bool, trace: Mapping[str, str] | None = None
) -> NewTask:
    """Read one task; the payload is kept to the byte.

    Args:
        body: JSON text.
        max_attempts: For a task that does not say how many it gets.
        can_sign: Whether there are secrets to sign callbacks with.
        trace: The fields of the W3C Trace Context that came with it.

    Raises:
        BadRequest: It is not a JSON object with a payload that is not null.
        Unprocessable: It is, but cannot be stored unchanged, or other fields cannot be used.
    """
    try:
        fields = decoded(body, _FIELDS)
    except msgspec.ValidationError:
        raise BadRequest(f"the body is not a JSON object; {HOW}") from None
    payload = fields.pop("payload", _NULL)
    text = _not_too_deep(payload)
    faults = Faults()
    if fields:
        _note_unknown(fields, text, faults)
    if text == b"null":
        _refuse_without_payload(fields, faults, is_null=payload is not _NULL)
    place = _place_of(text, faults)
    given = _read_beside_payload(fields, faults) if fields else {}
    if _MASK in body:
        _refuse_masked(text, given.get("callback_url"), faults)
    if given.get("run_at") is not None and given.get("delay") is not None:
        faults.add("/delay", "delay must not be given together with run_at")
    if given.get("callback_url") is not None and not can_sign:
        faults.add("/callback_url", _NO_SECRETS)
    faults.refuse()
    if not (given or trace):
        return _plain_task(payload.copy(), place, max_attempts)
    return _new_task(payload.copy(), given, place, trace or {}, max_attempts)


def _plain_task(payload: msgspec.Raw, place: Place, max_attempts: int) -> NewTask:
    return NewTask(
        payload, max_attempts=max_attempts, host=place.host or None, authority=place.authority
    )


def _new_task(
    payload: msgspec.Raw,
    given: Mapping[str, Any],
    place: Place,
    trace: Mapping[str, str],
    max_attempts: int,
) -> NewTask:
    def value(name: str, default: Any = None) -> Any:
        found = given.get(name)
        return default if found is None else found

    callback_url = value("callback_url")
    callback_place = _place_in(callback_url) if callback_url else _NOWHERE
    options = TaskOptions(
        backoff=value("backoff"),
        retry_on=value("retry_on"),
        success_on=value("success_on"),
        callback_url=callback_url,
        callback_host=callback_place.host or None,
        callback_authority=callback_place.authority or None,
        traceparent=trace.get("traceparent"),
        tracestate=trace.get("tracestate"),
    )
    return NewTask(
        payload,
        queue=value("queue", "default"),
        priority=value("priority", 0),
        delay_seconds=value("delay", 0.0),
        max_attempts=value("max_attempts", max_attempts),
        run_at=value("run_at"),
        expires_at=value("expires_at"),
        retention_seconds=value("retention"),
        tags=value("tags", {}),
        host=place.host or None,
        authority=place.authority,
        options=NO_OPTIONS if options == NO_OPTIONS else options,
    )


def _read_beside_payload(fields: _Fields, faults: Faults) -> dict[str, Any]:
    """What the other fields say, as far as they are known."""
    return {
        name: _RULES[name].read(name, _not_too_deep(fields[name]), faults)
        for name in fields
        if name in _RULES
    }


def _note_unknown(fields: _Fields, payload: bytes, faults: Faults) -> None:
    note_unknown(fields, TASK_NAMES, faults, ignored=PASSED_OVER)
    if payload.startswith(b'"') and not fields.keys().isdisjoint(_PAYLOAD_FIELDS):
        example = example_of({**fields, "url": payload}, _PAYLOAD_FIELDS)
        faults.add("/payload", f"a whole request is an object: send {example}")


def _refuse_without_payload(fields: _Fields, faults: Faults, *, is_null: bool) -> NoReturn:
    what = f"payload is {'null' if is_null else 'missing'}"
    if not faults:
        raise BadRequest(f"{what}; {HOW}")
    faults.add("/payload", f"{what}; send {example_of(fields, _PAYLOAD_FIELDS)}")
    faults.refuse()
    raise AssertionError


def _not_too_deep(field: msgspec.Raw) -> bytes:
    text = bytes(field)
    if is_too_deep(text):
        refuse_depth()
    return text


def _place_of(payload: bytes, faults: Faults) -> Place:
    """Where a payload leads to, and what is wrong with it if it is a whole request."""
    if payload.startswith(b'"'):
        url: Any = _TEXT.decode(payload)
    elif payload.startswith(b"{"):
        url = _check_request(payload, faults)
    else:
        return _NOWHERE
    return _place_in(url) if url else _NOWHERE


def _place_in(url: str) -> Place:
    try:
        return place_of(url)
    except InvalidUrl:
        return _NOWHERE  # the task will fail and say why


def _check_request(payload: bytes, faults: Faults) -> str:
    fields = _FIELDS.decode(payload)
    if bytes(fields.get("url", b"null")) == b"null":
        faults.add("/payload/url", "payload.url is missing: where to is the request to be sent?")
    note_unknown(fields, PAYLOAD_NAMES, faults, under="/payload")
    given = {
        name: rule.read(name, bytes(fields[name]), faults, under="/payload")
        for name, rule in _PAYLOAD_RULES.items()
        if name in fields
    }
    if "headers" in fields:
        _check_headers(bytes(fields["headers"]), faults)
    try:
        content_of(bytes(fields["body"]) if "body" in fields else None)
    except BodyError as error:
        faults.add("/payload/body/base64", f"payload.{error}")
    return given.get("url") or ""


def _check_headers(text: bytes, faults: Faults) -> None:
    if text == b"null":
        return
    try:
        headers = msgspec.json.decode(text, type=_Fields)
    except msgspec.ValidationError:
        faults.add("/payload/headers", "payload.headers must be an object of names with text")
        return
    if len(headers) > MAX_HEADERS:
        faults.add("/payload/headers", f"payload.headers must be {MAX_HEADERS} at most")
        return
    for name, value in headers.items():
        where = f"/payload/headers{token(name)}"
        if name.lower() in HEADERS_MADE_HERE:
            faults.add(where, f"the header {name} is made by TaskFlow; leave it out")
        elif not _is(name, HeaderName):
            faults.add(where, f"{name!r} is not the name of a header")
        elif not _is_json_of(bytes(value), HeaderValue):
            faults.add(
                where,
                f"the header {name} must be printable ASCII without spaces around it, up to "
                f"{MAX_HEADER_BYTES} bytes",
            )


def _refuse_masked(payload: bytes, callback_url: str | None, faults: Faults) -> None:
    """A task that was shown, and is submitted again, has masks in place of its credentials."""
    if callback_url is not None and MASKING.is_masked(callback_url):
        faults.add("/callback_url", f"callback_url {_WAS_MASKED}")
    where = "/payload"
    url: Any = None
    headers: Any = None
    if payload.startswith(b'"'):
        url = _TEXT.decode(payload)
    elif payload.startswith(b"{"):
        fields = msgspec.json.decode(payload, type=dict[str, Any])
        where, url, headers = "/payload/url", fields.get("url"), fields.get("headers")
    if isinstance(url, str) and MASKING.is_masked(url):
        faults.add(where, f"the URL {_WAS_MASKED}")
    for name in MASKING.masked_headers(headers) if isinstance(headers, dict) else ():
        faults.add(f"/payload/headers{token(name)}", f"the header {name} {_WAS_MASKED}")


def _is(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _is_json_of(text: bytes, kind: Any) -> bool:
    try:
        msgspec.json.decode(text, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return False
    return True
