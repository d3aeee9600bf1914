"""What ``POST /config`` accepts, as changes whose fields are still JSON text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.model.configuration import ResourceKind
from taskflow.model.errors import FieldError, RequestError, Unprocessable
from taskflow.model.task import NAME_RULE, is_name
from taskflow.schema.configuration import MAX_CHANGES, ConfigurationRequest, ResourceChange
from taskflow.schema.json_text import object_fields
from taskflow.schema.reader import Reader
from taskflow.schema.validation_errors import ValidationErrors

HOW: Final = (
    'send a JSON object such as {"changes": [{"kind": "queue", "name": "mail", "fields": '
    '{"max_concurrency": 10}}]}'
)
_REQUEST: Final = Reader(ConfigurationRequest, custom={"changes": lambda text, _: text})
_CHANGE: Final = Reader(
    ResourceChange, custom={"fields": lambda text, _: text, "before": lambda text, _: text}
)
_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_NULL: Final = b"null"


class WantedChange(msgspec.Struct, frozen=True):
    """A change that a client sent.

    Attributes:
        place: Its JSON pointer.
        kind: The kind of the resource.
        name: Its name.
        fields: The JSON text of its fields; ``None`` to delete it.
        before: The fields that it must have now; ``None`` if it must not exist; ``UNSET`` for no
            precondition.
    """

    place: str
    kind: ResourceKind
    name: str
    fields: bytes | None
    before: Mapping[str, Any] | UnsetType | None

    @property
    def label(self) -> str:
        """Its kind and name, for messages."""
        return f"{self.kind} {self.name}"

    def add_error(self, errors: ValidationErrors, error: RequestError) -> None:
        """Add what is wrong with its fields."""
        found = error.errors if isinstance(error, Unprocessable) else ()
        for one in found or (FieldError("#", str(error)),):
            pointer = one.pointer.removeprefix("#")
            errors.add(f"{self.place}/fields{pointer}", f"{self.label}: {one.detail}")


def wanted_changes_of(body: bytes) -> list[WantedChange]:
    """Read the changes, without their fields.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: It is invalid.
    """
    fields, errors = object_fields(body, how=HOW), ValidationErrors()
    given = _REQUEST.read(fields, errors)
    elements = _elements_of(given.get("changes"), errors)
    errors.raise_if_any()
    read = [_change_of(bytes(one), f"/changes/{n}", errors) for n, one in enumerate(elements)]
    errors.raise_if_any()
    changes = [one for one in read if one is not None]
    _refuse_twice(changes, errors)
    errors.raise_if_any()
    return changes


def _elements_of(text: bytes | None, errors: ValidationErrors) -> Sequence[msgspec.Raw]:
    try:
        elements = _ELEMENTS.decode(text or b"")
    except (msgspec.ValidationError, msgspec.DecodeError):
        errors.add("/changes", f"changes must be a list of changes; {HOW}")
        return ()
    if len(elements) > MAX_CHANGES:
        errors.add(
            "/changes",
            f"changes has {len(elements)} elements; at most {MAX_CHANGES} are made together",
        )
        return ()
    return elements


def _change_of(text: bytes, place: str, errors: ValidationErrors) -> WantedChange | None:
    try:
        fields = _MEMBERS.decode(text)
    except msgspec.ValidationError:
        errors.add(place, "a change must be an object of kind, name and fields")
        return None
    count = errors.count
    given = _CHANGE.read(fields, errors, under=place)
    for needed in ("kind", "name", "fields"):
        if needed not in fields:
            errors.add(f"{place}/{needed}", f"{needed} of a change is missing")
    kind, name = given.get("kind"), given.get("name")
    if kind is not None and name is not None:
        _check_name(kind, name, place, errors)
    wanted = _object_of(fields, "fields", place, errors)
    before = _object_of(fields, "before", place, errors) if "before" in fields else UNSET
    if errors.count > count or kind is None or name is None:
        return None
    return WantedChange(place, kind, name, None if wanted is None else given["fields"], before)


def _check_name(kind: ResourceKind, name: str, place: str, errors: ValidationErrors) -> None:
    topic, slash, endpoint = name.partition("/")
    if kind is not ResourceKind.ENDPOINT:
        if not is_name(name):
            errors.add(f"{place}/name", f"the name {name!r} must be {NAME_RULE}")
    elif not (slash and is_name(topic) and is_name(endpoint)):
        what = "the names of its topic and of the endpoint with a slash between them"
        errors.add(f"{place}/name", f"the name of an endpoint must be {what}; each is {NAME_RULE}")


def _object_of(
    fields: Mapping[str, msgspec.Raw], name: str, place: str, errors: ValidationErrors
) -> dict[str, Any] | None:
    """Return the value of a field: an object, or ``None`` for null."""
    text = bytes(fields.get(name, _NULL))
    if text == _NULL:
        return None
    try:
        return _OBJECT.decode(text)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError):
        errors.add(f"{place}/{name}", f"{name} of a change must be an object, or null")
        return None


def _refuse_twice(changes: Sequence[WantedChange], errors: ValidationErrors) -> None:
    """Add an error for each resource that several changes name."""
    known: set[tuple[ResourceKind, str]] = set()
    for change in changes:
        if (change.kind, change.name) in known:
            errors.add(f"{change.place}/name", f"{change.label} is in several changes")
        known.add((change.kind, change.name))
