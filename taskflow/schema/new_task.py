"""Readers of submitted tasks: one, as a ``POST`` or the template of a schedule, or an array."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from taskflow.model.completion import COMPLETION_URL_HEADER, Completion, CompletionMode
from taskflow.model.errors import BadRequest, Unprocessable
from taskflow.model.options import (
    NO_OPTIONS,
    WEBHOOK_ATTEMPTS,
    WEBHOOK_SECONDS,
    Backoff,
    StoredBackoff,
    TaskOptions,
)
from taskflow.model.order_keys import OnFailure
from taskflow.model.request import RequestPayload
from taskflow.model.signature import NO_SECRETS
from taskflow.model.task import NewTask
from taskflow.model.untrusted_text import is_too_deep
from taskflow.model.url import NOWHERE, Place, place_in
from taskflow.schema.graph_tasks import check_parents, check_references, with_parents
from taskflow.schema.json_text import HOW, decoded, object_fields, refuse_depth
from taskflow.schema.keyed_tasks import check_keys, read_debounce, read_unique
from taskflow.schema.payload import (
    MASK_BYTES,
    place_of_payload,
    reject_header,
    reject_masked,
    reject_signature_fields,
)
from taskflow.schema.reader import Fields, Reader
from taskflow.schema.tasks import MAX_TASKS, ONLY_SHOWN, TaskRequest
from taskflow.schema.validation_errors import ValidationErrors, example_of

_NULL: Final = msgspec.Raw(b"null")
_PAYLOAD_FIELDS: Final = RequestPayload.__struct_fields__
_SCHEDULE_FIELDS: Final = ("cron", "every_seconds", "timezone")
TASK_READER: Final = Reader(
    TaskRequest,
    ignored=ONLY_SHOWN,
    elsewhere=[
        (_PAYLOAD_FIELDS, "{} goes inside payload"),
        (_SCHEDULE_FIELDS, "{} is for PUT /schedules/NAME, beside a task"),
    ],
    custom={"unique": read_unique, "debounce": read_debounce},
)
_REORDERING: Final = ("priority", "delay_seconds")
_KEYS: Final = {"unique", "debounce"}
_TIMED_OTHERWISE: Final = ("order_key", "debounce", "after")
_LONG_AGO: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_OPTIONS: Final = frozenset(TaskOptions.__struct_fields__)
NO_PUBLIC_URL: Final = (
    "completion.mode callback needs TASKFLOW_PUBLIC_URL, which is not set: targets report outcomes "
    "at a URL below it"
)
HOW_ARRAY: Final = 'send an array of tasks, such as [{"payload": "https://example.com/"}]'
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_MIN_BYTES_OF_ELEMENT: Final = 2  # with its comma


def new_task_of(
    body: bytes,
    *,
    max_attempts: int,
    can_sign: bool,
    has_public_url: bool = True,
    trace: Mapping[str, str] | None = None,
) -> NewTask:
    """Read one task; the payload is kept to the byte.

    Args:
        body: JSON text.
        max_attempts: The number of attempts of a task that does not say how many it gets.
        can_sign: Whether there are secrets to sign with.
        has_public_url: Whether the service has a URL at which targets can report outcomes; true if
            that is not known here.
        trace: The fields of the W3C Trace Context that came with it.

    Raises:
        BadRequest: The body is not a JSON object with a payload that is not null.
        Unprocessable: Fields are invalid, or the body cannot be stored unchanged.
    """
    fields = object_fields(body)
    payload = fields.pop("payload", _NULL)
    text = _not_too_deep(payload)
    errors = ValidationErrors()
    place, has_references = place_of_payload(text, errors), False
    given = _read_options(fields, errors, payload=text) if fields else {}
    if text == b"null":
        _add_missing_payload(fields, errors, is_null=payload is not _NULL)
    if MASK_BYTES in body:
        reject_masked(text, given.get("callback_url"), errors)
    if given:
        _check_combinations(given, errors, can_sign=can_sign)
        if "completion" in given:
            _check_completion(given["completion"], text, errors, has_public_url=has_public_url)
        has_references = check_references(text, given, errors)
        if given.get("sign"):
            reject_signature_fields(text, errors)
    errors.raise_if_any()
    if given or trace:
        given = with_parents(given, has_references=has_references)
        return _new_task(payload.copy(), given, place, trace or {}, max_attempts)
    return NewTask(
        payload.copy(),
        max_attempts=max_attempts,
        host=place.host or None,
        authority=place.authority,
    )


def _read_options(fields: Fields, errors: ValidationErrors, *, payload: bytes) -> dict[str, Any]:
    """Return the fields beside the payload."""
    for name in TASK_READER.fields.keys() & fields.keys():
        _not_too_deep(fields[name])
    given = TASK_READER.read(fields, errors)
    if "id" in fields and any(given.get(name) is not None for name in _TIMED_OTHERWISE):
        # It is a task as it was shown, to be submitted again: the new one has its own time.
        given.pop("run_at", None)
    if payload.startswith(b'"') and not fields.keys().isdisjoint(_PAYLOAD_FIELDS):
        example = example_of({**fields, "url": payload}, _PAYLOAD_FIELDS)
        errors.add("/payload", f"a whole request is an object: send {example}")
    if given.get("backoff") == "webhook":
        given |= {"backoff": WEBHOOK_SECONDS}
        given.setdefault("max_attempts", WEBHOOK_ATTEMPTS)
    return {name: value for name, value in given.items() if value is not None}


def _add_missing_payload(fields: Fields, errors: ValidationErrors, *, is_null: bool) -> None:
    what = f"payload is {'null' if is_null else 'missing'}"
    if not errors:
        raise BadRequest(f"{what}; {HOW}")
    errors.add("/payload", f"{what}; send {example_of(fields, _PAYLOAD_FIELDS)}")


def _check_combinations(
    given: Mapping[str, Any], errors: ValidationErrors, *, can_sign: bool
) -> None:
    if "run_at" in given and "delay_seconds" in given:
        errors.add("/delay_seconds", "delay_seconds must not be given together with run_at")
    check_keys(given, errors)
    _check_lines_and_groups(given, errors)
    check_parents(given, errors)
    for name in ("callback_url", "sign"):
        if given.get(name) and not can_sign:
            errors.add(f"/{name}", NO_SECRETS.format(name))


def _check_completion(
    completion: Completion, payload: bytes, errors: ValidationErrors, *, has_public_url: bool
) -> None:
    if completion.mode is CompletionMode.CALLBACK:
        reject_header(payload, COMPLETION_URL_HEADER, errors)
        if not has_public_url:
            errors.add("/completion/mode", NO_PUBLIC_URL)


def _check_lines_and_groups(given: Mapping[str, Any], errors: ValidationErrors) -> None:
    if "order_key" in given:
        for name in _REORDERING:
            if given.get(name):  # 0 changes nothing
                errors.add(f"/{name}", f"{name} must not be given together with order_key")
        for name in sorted(_KEYS & given.keys()):
            errors.add(f"/{name}", f"{name} must not be given together with order_key")
        # A time that is over changes nothing: a task can be submitted again as it was shown.
        if given.get("run_at", _LONG_AGO) > dt.datetime.now(dt.UTC):
            errors.add("/run_at", "run_at must not be in the future together with order_key")
    if "group" in given:
        for name in sorted(_KEYS & given.keys()):
            errors.add(f"/{name}", f"{name} must not be given together with group")
    if "on_failure" in given and "order_key" not in given:
        errors.add("/on_failure", "on_failure needs order_key")


def _new_task(
    payload: msgspec.Raw,
    given: Mapping[str, Any],
    place: Place,
    trace: Mapping[str, str],
    max_attempts: int,
) -> NewTask:
    """Return the task; each field goes to where the one of its name is stored."""
    callback_url = given.get("callback_url")
    callback_place = place_in(callback_url) if callback_url else NOWHERE
    chosen = {name: given[name] for name in _OPTIONS & given.keys()}
    if isinstance(backoff := chosen.get("backoff"), Backoff):
        chosen["backoff"] = StoredBackoff(**msgspec.structs.asdict(backoff))
    options = TaskOptions(
        **chosen,
        callback_host=callback_place.host or None,
        callback_authority=callback_place.authority or None,
        traceparent=trace.get("traceparent"),
        tracestate=trace.get("tracestate"),
    )
    stored = {name: given[name] for name in given.keys() - _OPTIONS}
    if "order_key" in stored:
        stored.setdefault("on_failure", OnFailure.CONTINUE)
    return NewTask(
        payload,
        **{"max_attempts": max_attempts, **stored},
        host=place.host or None,
        authority=place.authority,
        options=NO_OPTIONS if options == NO_OPTIONS else options,
    )


def _not_too_deep(field: msgspec.Raw) -> bytes:
    text = bytes(field)
    if is_too_deep(text):
        refuse_depth()
    return text


def elements_of(body: bytes) -> list[msgspec.Raw]:
    """Return the elements of an array.

    Raises:
        BadRequest: It is not a JSON array.
        Unprocessable: It has no elements, or too many.
    """
    try:
        elements = _decoded(body)
    except msgspec.ValidationError as error:
        if body.lstrip().startswith(b"["):
            raise _wrong_length() from error
        raise BadRequest(f"the body is not a JSON array; {HOW_ARRAY}") from None
    if not elements:
        raise _wrong_length()
    return elements


def _decoded(body: bytes) -> list[msgspec.Raw]:
    if len(body) <= _MIN_BYTES_OF_ELEMENT * MAX_TASKS:
        return decoded(body, _LIST, how=HOW_ARRAY)
    found = decoded(body, _bounded_decoder(), how=HOW_ARRAY)
    return [element for element in msgspec.structs.astuple(found) if element is not UNSET]


@functools.cache
def _bounded_decoder() -> msgspec.json.Decoder[Any]:
    """A decoder that stops at the first element that is too many.

    A bound on a list is checked when all of it has been decoded: eight million elements in 16 MiB
    would take 0.6 s and 0.5 GB first.
    """
    # Without `| UnsetType`, which is true as well: ten thousand unions take 30 ms to resolve.
    fields = [(f"at_{index}", msgspec.Raw, UNSET) for index in range(MAX_TASKS)]
    kind = msgspec.defstruct("Elements", fields, array_like=True, forbid_unknown_fields=True)
    return msgspec.json.Decoder(kind)


def _wrong_length() -> Unprocessable:
    return Unprocessable(
        f"an array has 1 to {MAX_TASKS} tasks; send more of them as application/x-ndjson, "
        "a line for each"
    )
