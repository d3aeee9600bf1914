"""What a file would change, and how that is applied."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from taskflow.cli.remote.configuration.declaration import Wanted
from taskflow.cli.remote.configuration.resources import ALL, Credentials, Fields, Section
from taskflow.client.asynchronous.client import Client
from taskflow.model.configuration import is_same
from taskflow.schema.validation_errors import ValidationErrors

HIDDEN: Final = "(not shown)"


class Action(enum.Enum):
    """What happens to a resource."""

    CREATE = "+"
    CHANGE = "~"
    DELETE = "-"


class FieldChange(NamedTuple):
    """A field and its values; what has no value yet is ``None``."""

    name: str
    before: Any
    after: Any


class Change(NamedTuple):
    """A change of a resource.

    Attributes:
        section: Its section.
        name: Its name.
        action: What happens.
        fields: The fields that change.
        given: The fields in the file.
        current: The fields now.
    """

    section: Section
    name: str
    action: Action
    fields: Sequence[FieldChange]
    given: Fields
    current: Fields | None

    @property
    def request(self) -> dict[str, Any]:
        """What is sent: the fields, and those that the plan was made from."""
        is_deletion = self.action is Action.DELETE
        fields = None if is_deletion else self.section.sent(self.given, self.current)
        kind = self.section.kind
        return {"kind": kind, "name": self.name, "fields": fields, "before": self.current}


class Options(NamedTuple):
    """What a plan includes beside creations and changes.

    Attributes:
        prune: Whether resources that the file does not name are deleted, of the sections that it
            has.
        credentials: Whether credentials are sent although nothing that is shown of them changes.
    """

    prune: bool = False
    credentials: bool = False


async def plan_of(wanted: Wanted, client: Client, options: Options) -> list[Change]:
    """Return the changes, in the order in which they are applied.

    Raises:
        Unprocessable: A resource would be invalid together with its fields now.
    """
    errors = ValidationErrors()
    changes: list[Change] = []
    deletions: list[Change] = []
    for section in ALL:
        if section.name not in wanted.sections:
            continue
        named = wanted.sections[section.name]
        current = await section.current(client)
        for name, given in named.items():
            section.check(name, given, current.get(name), errors)
        changes += _changes(section, named, current, options)
        if options.prune:
            deletions += [
                Change(section, name, Action.DELETE, (), {}, current[name])
                for name in current
                if name not in named
            ]
    errors.raise_if_any()
    return changes + deletions[::-1]


def _changes(
    section: Section,
    named: Mapping[str, Fields],
    current: Mapping[str, Fields],
    options: Options,
) -> Iterator[Change]:
    for name, given in named.items():
        now = current.get(name, section.initial)
        fields = list(_field_changes(section, given, now))
        must_send = options.credentials and isinstance(section, Credentials)
        if now is None:
            yield Change(section, name, Action.CREATE, fields, given, None)
        elif fields or must_send:
            yield Change(section, name, Action.CHANGE, fields, given, now)


def _field_changes(
    section: Section, given: Fields, current: Fields | None
) -> Iterator[FieldChange]:
    shown = section.shown(given, current)
    for name in dict.fromkeys([*given, *shown]):
        if name not in shown:
            continue
        after = shown[name]
        before = None if current is None else current.get(name)
        if not is_same(before, after):
            yield FieldChange(name, before, after)
    if current is None:
        for name in given:
            if name not in shown and given[name] is not None:
                yield FieldChange(name, None, HIDDEN)


def text_of(change: Change) -> Iterator[str]:
    """Yield the lines that describe a change."""
    yield f"{change.action.value} {change.section.kind} {change.name}"
    for field in change.fields:
        after = field.after if field.after is HIDDEN else _json_text(field.after)
        if change.action is Action.CREATE or field.before is None:
            yield f"    {field.name}: {after}"
        else:
            yield f"    {field.name}: {_json_text(field.before)} -> {after}"


def _json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def summary_of(changes: Sequence[Change]) -> str:
    """Return the number of changes of each kind, in one line."""
    if not changes:
        return "nothing to change"
    words = {Action.CREATE: "create", Action.CHANGE: "change", Action.DELETE: "delete"}
    counts = {
        word: sum(change.action is action for change in changes) for action, word in words.items()
    }
    return ", ".join(f"{count} to {word}" for word, count in counts.items() if count)
