"""Fields by rules: what each may be, as a type for programs and in words for people."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, NamedTuple

import msgspec

from taskflow.api.reading.validation_errors import Faults, token
from taskflow.model.options import MAX_BACKOFF_SECONDS, MAX_PAUSES, Backoff
from taskflow.model.suggestions import Vocabulary, shown_name

_FIRST_MOMENT: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_LAST_MOMENT: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
_MOST_PARTS: Final = 100
MAX_UNCOUNTED_BYTES: Final = 4 * 2**10
"""From what length of a value on its parts are counted before they are validated."""

FIELDS: Final = dict[str, msgspec.Raw]
ITEMS: Final = list[msgspec.Raw]


class Rule(NamedTuple):
    """What a field may be.

    Attributes:
        kind: Its type, with bounds.
        expected: The same in words, after the name of the field and "must be".
        may_be_null: Whether null stands for a field that is not given.
        parts: What to read it as to tell which of its parts are wrong, if it has any.
        names: Those of its fields, if it may be an object of some.
    """

    kind: Any
    expected: str
    may_be_null: bool = True
    parts: Any = None
    names: Vocabulary | None = None

    def read(self, name: str, text: bytes, faults: Faults, *, under: str = "") -> Any:
        """The field's value; ``None`` if it is null or not allowed, which is noted then."""
        if self.may_be_null and text == b"null":
            return None
        if len(text) > MAX_UNCOUNTED_BYTES and self._has_too_many_parts(text):
            faults.add(
                f"{under}{token(name)}", f"{self._label(name, under)} must be {self.expected}"
            )
            return None
        try:
            return self.value_of(text)
        except (msgspec.ValidationError, msgspec.DecodeError):
            where = f"{under}{token(name)}"
            label = self._label(name, under)
            for place in self._wrong_parts(text) or [""]:
                advice = self._advice(place.removeprefix("/"))
                faults.add(f"{where}{place}", f"{label} must be {self.expected}{advice}")
            return None

    def value_of(self, text: bytes) -> Any:
        """Read JSON by the type."""
        return msgspec.json.decode(text, type=self.kind)

    @staticmethod
    def _label(name: str, under: str) -> str:
        return ".".join([*under.split("/")[1:], name])

    def _has_too_many_parts(self, text: bytes) -> bool:
        """Return whether it has more parts than any value may have, before each is validated."""
        kind = self.parts or (FIELDS if text.startswith(b"{") else None)
        if kind is None:
            return False
        try:
            return len(msgspec.json.decode(text, type=kind)) > _MOST_PARTS
        except msgspec.ValidationError:
            return False

    def _advice(self, name: str) -> str:
        """Return what to do about a field of it that does not exist."""
        if not name or self.names is None or name.isdigit() or name in self.names:
            return ""
        return f"; it has no field {shown_name(name)}; {self.names.advice(name)}"

    def _wrong_parts(self, text: bytes) -> list[str]:
        """Which parts of an object or a list are not allowed; none if that is not their fault.

        It is a part's if the whole would not be allowed with nothing else in it.
        """
        if self.parts is None:
            return []
        try:
            parts = msgspec.json.decode(text, type=self.parts)
        except msgspec.ValidationError:
            return []
        if len(parts) > _MOST_PARTS:
            return []
        alone: dict[str | int, object]
        if isinstance(parts, dict):
            alone = {name: {name: part} for name, part in parts.items()}
        else:
            alone = {number: [part] for number, part in enumerate(parts)}
        return [
            token(place)
            for place, one in alone.items()
            if not self._is_allowed(msgspec.json.encode(one))
        ]

    def _is_allowed(self, text: bytes) -> bool:
        try:
            self.value_of(text)
        except (msgspec.ValidationError, msgspec.DecodeError):
            return False
        return True


class WholeNumber(Rule):
    """A number within bounds that is whole; so is 2.0, as JSON Schema has it."""

    def value_of(self, text: bytes) -> Any:
        """Read JSON by the type."""
        number = msgspec.json.decode(text, type=int | float)
        is_whole = isinstance(number, float) and number.is_integer()
        return msgspec.convert(int(number) if is_whole else number, self.kind)


class PointInTime(Rule):
    """A date and time with a zone, kept in UTC."""

    def value_of(self, text: bytes) -> Any:
        """Read JSON by the type."""
        moment: dt.datetime = msgspec.json.decode(text, type=self.kind)
        try:
            return moment.astimezone(dt.UTC)
        except OverflowError:  # at either end of time, in another zone
            return _FIRST_MOMENT if moment.year == 1 else _LAST_MOMENT


def whole_number(kind: Any) -> WholeNumber:
    """A rule for an ``int`` with bounds."""
    [bounds] = kind.__metadata__
    expected = f"a whole number from {bounds.ge} to {bounds.le}"
    return WholeNumber(kind, expected, may_be_null=False)


def seconds(kind: Any) -> Rule:
    """A rule for a ``float`` with bounds."""
    [bounds] = kind.__metadata__
    return Rule(kind, f"a number of seconds from {bounds.ge} to {bounds.le}")


NAME: Final = (
    "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
)
A_MOMENT: Final = "a date and time with a zone, such as 2026-11-24T06:57:50Z"
STATUSES: Final = 'a list of up to 50 statuses, such as 503 or "5xx"'
BACKOFF: Final = (
    f"an object of {', '.join(Backoff.__struct_fields__[:-1])} and max, or a list of 1 to "
    f"{MAX_PAUSES} waits; waits are seconds up to {MAX_BACKOFF_SECONDS}, factor is 1 to 100"
)
TAGS: Final = (
    "an object of up to 16 names (as those of queues) with text of up to 256 characters, whole "
    "numbers, true or false"
)
