"""All validation errors of a request, and what a field may be, in words derived from its type.

A type that words cannot be derived from says them itself: ``Meta(extra={"expected": "..."})``.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import inspect

from taskflow.model.errors import FieldError, RequestError, Unprocessable
from taskflow.model.suggestions import MAX_COMPARED_CHARACTERS, Vocabulary, shown_name

MAX_ERRORS: Final = 100
"""Maximum number of validation errors that are collected; further ones are counted."""
MAX_UNKNOWN: Final = 20
"""How many unknown names of one document are reported."""
MAX_URL_BYTES: Final = 200
"""How long a URL may be to be repeated in a message."""
A_MOMENT: Final = "a date and time with a zone, such as 2026-11-24T06:57:50Z"
_LISTS: Final = (inspect.ListType, inspect.VarTupleType)


class ValidationErrors:
    """Collects the validation errors of a document, each with its place."""

    def __init__(self) -> None:
        self._found: list[FieldError] = []
        self._count = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found)

    @property
    def count(self) -> int:
        """The number of errors, including those that are not collected."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether no more errors are collected."""
        return self._count >= MAX_ERRORS

    def add(self, pointer: str, detail: str) -> None:
        """Add an error.

        Args:
            pointer: A JSON pointer (RFC 6901) without the ``#`` of its URI form.
            detail: What is allowed there, with the name of the field.
        """
        if not self.is_full:
            self._found.append(FieldError(f"#{pointer}", detail))
        self._count += 1

    def add_part(self, place: str, label: str, error: RequestError) -> None:
        """Add the errors of a part of the document.

        Args:
            place: The JSON pointer of the part.
            label: Its name in the message of an error that has no places of its own.
            error: What reading the part raised.
        """
        found = error.errors if isinstance(error, Unprocessable) else ()
        if not found:
            self.add(place, f"{label}: {error}")
        for one in found:
            self.add(place + one.pointer.removeprefix("#"), one.detail)

    def raise_if_any(self) -> None:
        """Reject the document if it has errors.

        Raises:
            Unprocessable: It has.
        """
        if self._found:
            raise Unprocessable(_summary(self._found, self._count), errors=self._found)


def token(name: object) -> str:
    """Return a part of a JSON pointer."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def _summary(found: list[FieldError], count: int) -> str:
    if len(found) == 1:
        return found[0].detail
    total = f"{count} in all" if count < MAX_ERRORS else f"{MAX_ERRORS} or more"
    more = f"; and so on, {total}" if count > 3 else ""  # noqa: PLR2004
    return "; ".join(error.detail for error in found[:3]) + more


def note_unknown(
    fields: Collection[str],
    vocabulary: Vocabulary,
    errors: ValidationErrors,
    *,
    ignored: Collection[str] = (),
    under: str = "",
) -> None:
    """Add an error for each field that does not exist, with what was probably meant."""
    unknown = (name for name in fields if name not in vocabulary and name not in ignored)
    owner = ".".join(under.split("/")[1:])
    subject = f"{owner} has" if owner else "there is"
    found = 0
    for name in itertools.islice(unknown, MAX_UNKNOWN):
        found += 1
        place = token(name) if len(name) <= MAX_COMPARED_CHARACTERS else ""
        advice = vocabulary.advice(name)
        errors.add(f"{under}{place}", f"{subject} no field {shown_name(name)}; {advice}")
    if found == MAX_UNKNOWN and next(unknown, None) is not None:
        errors.add(under, f"{owner or 'the body'} has more fields that do not exist")


def unknown_parameters(query: Iterable[str], vocabulary: Vocabulary) -> list[str]:
    """Return an error for each parameter that does not exist."""
    unknown = (name for name in query if name not in vocabulary)
    messages: list[str] = []
    for name in itertools.islice(unknown, MAX_UNKNOWN):
        advice = vocabulary.advice(name)
        listed = "" if messages or advice == vocabulary.listed else f" {vocabulary.listed}"
        messages.append(f"there is no parameter {shown_name(name)}; {advice}{listed}")
    if next(unknown, None) is not None:
        messages.append(f"more than {MAX_UNKNOWN} parameters do not exist")
    return messages


def example_of(fields: Mapping[str, bytes], names: Iterable[str]) -> str:
    """Return a body with these fields of a request in its payload; most values are left out."""
    url = bytes(fields.get("url", b'"https://example.com/"'))
    shown = url.decode() if len(url) <= MAX_URL_BYTES else '"..."'
    others = [f'"{name}": ...' for name in names if name in fields and name != "url"]
    if not others:
        return f'{{"payload": {shown}}}'
    request = ", ".join([f'"url": {shown}', *others])
    return f'{{"payload": {{{request}}}}}'


def extra_of(info: inspect.Type) -> Mapping[str, Any]:
    """Return what the annotations of a type say to us; the outermost one decides."""
    if isinstance(info, inspect.Metadata):
        return {**extra_of(info.type), **(info.extra or {})}
    if isinstance(info, inspect.UnionType):
        members = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
        return extra_of(members[0]) if len(members) == 1 else {}
    return {}


def kinds_of(info: inspect.Type) -> Iterator[inspect.Type]:
    """Yield the members of a union without annotations and null; of another type, the type."""
    if isinstance(info, inspect.Metadata):
        yield from kinds_of(info.type)
    elif isinstance(info, inspect.UnionType):
        for kind in info.types:
            yield from kinds_of(kind)
    elif not isinstance(info, inspect.NoneType):
        yield info


def is_list(kind: inspect.Type) -> bool:
    """Return whether values are JSON arrays."""
    return isinstance(kind, _LISTS)


def brackets_of_parts(kinds: list[inspect.Type]) -> bytes:
    """Return how values begin whose parts can be invalid by themselves: ``{``, ``[``, both or none.

    Members of an object that requires some cannot be validated without these.
    """
    objects = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    if any(field.required for kind in objects for field in kind.fields):
        return b""
    has_members = objects or any(isinstance(kind, inspect.DictType) for kind in kinds)
    return (b"{" if has_members else b"") + (b"[" if any(map(is_list, kinds)) else b"")


def expectation_of(info: inspect.Type) -> str:
    """Return what a value must be, to follow "must be"."""
    extra = extra_of(info)
    if "expected" in extra:
        return str(extra["expected"])
    kinds = list(kinds_of(info))
    words = " or ".join(dict.fromkeys(_words(kind, extra) for kind in kinds))
    return f"{words}, or a list of some" if len(kinds) > 1 and any(map(is_list, kinds)) else words


def _words(kind: inspect.Type, extra: Mapping[str, Any]) -> str:
    words = "an object"
    match kind:
        case inspect.BoolType():
            words = "true or false"
        case inspect.IntType(ge=minimum, le=maximum):
            words = f"a whole number from {minimum} to {maximum}"
        case inspect.FloatType(gt=float() | int() as bound, le=maximum):
            unit = f" of {extra['unit']}" if "unit" in extra else ""
            words = f"a number{unit} greater than {bound:g}, at most {maximum}"
        case inspect.FloatType(ge=minimum, le=maximum):
            unit = f" of {extra['unit']}" if "unit" in extra else ""
            words = f"a number{unit} from {minimum} to {maximum}"
        case inspect.DateTimeType():
            words = A_MOMENT
        case inspect.EnumType(cls=members):
            words = f"one of {', '.join(member.value for member in members)}"
        case inspect.StrType(min_length=minimum, max_length=maximum):
            words = f"text of {minimum or 0} to {maximum} characters"
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            words = expectation_of(item)
        case inspect.StructType(fields=fields):
            *names, last = (field.encode_name for field in fields)
            words = f"an object of {', '.join(names)} and {last}"
    return words
