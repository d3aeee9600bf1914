"""The reader of what clients send: validates it by its declaration and collects all errors."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import msgspec
from msgspec import inspect

from taskflow.model.errors import Unprocessable
from taskflow.model.suggestions import Vocabulary, shown_name
from taskflow.schema.validation_errors import (
    ValidationErrors,
    brackets_of_parts,
    expectation_of,
    extra_of,
    is_list,
    kinds_of,
    note_unknown,
    token,
    unknown_parameters,
)

Fields: TypeAlias = Mapping[str, msgspec.Raw]
CustomReader: TypeAlias = Callable[[bytes, ValidationErrors], Any]
"""Reads the JSON of a field and adds its validation errors itself."""

MAX_PARTS: Final = 100
"""How many elements or members a value may have."""

MAX_UNCOUNTED_BYTES: Final = 4 * 2**10
"""From what length of a value on its parts are counted before they are validated."""

_FIRST_MOMENT: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_LAST_MOMENT: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
_PARTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw])
_ERRORS: Final = (msgspec.ValidationError, msgspec.DecodeError)
_DIGITS: Final = re.compile("0*([0-9]{1,18})")

S = TypeVar("S", bound=msgspec.Struct)


class Field:
    """One declared field: reads JSON and parameters of queries by its type.

    Args:
        field: The field of the struct.
        info: The same, as msgspec describes it.
    """

    def __init__(self, field: msgspec.structs.FieldInfo, info: inspect.Field) -> None:
        kinds = list(kinds_of(info.type))
        self.name: Final = field.encode_name
        self.attribute: Final = field.name
        self.is_list: Final = any(map(is_list, kinds))
        self.is_repeated: Final = bool(extra_of(info.type).get("repeated"))
        self._type: Final = field.type
        self._decoder: Final = msgspec.json.Decoder(field.type)
        self._expected: Final = expectation_of(info.type)
        self._is_whole: Final = any(isinstance(kind, inspect.IntType) for kind in kinds)
        self._is_flag: Final = any(isinstance(kind, inspect.BoolType) for kind in kinds)
        self._is_moment: Final = any(isinstance(kind, inspect.DateTimeType) for kind in kinds)
        self._brackets: Final = brackets_of_parts(kinds)
        self._names: Final = [
            Vocabulary([field.encode_name for field in kind.fields])
            for kind in kinds
            if isinstance(kind, inspect.StructType)
        ]

    def read(self, text: bytes, errors: ValidationErrors, *, under: str = "") -> Any:
        """Return the value of JSON text; ``None`` if it is invalid, after the errors are added."""
        few = text if len(text) <= MAX_UNCOUNTED_BYTES else self._with_few_parts(text)
        if few is None:
            wrong = [""]
        else:
            try:
                return self._decoded(few)
            except _ERRORS:
                wrong = self._wrong_parts(few) or [""]
        label = ".".join([*under.split("/")[1:], self.name])
        for place in wrong:
            advice = self._advice(place.removeprefix("/"))
            errors.add(
                f"{under}{token(self.name)}{place}", f"{label} must be {self._expected}{advice}"
            )
        return None

    def read_texts(self, texts: Sequence[str]) -> Any:
        """Return the value of a parameter of a query.

        Raises:
            Unprocessable: It is invalid, or given more than once.
        """
        if len(texts) > 1 and not self.is_repeated:
            raise Unprocessable(f"{self.name} is given more than once")
        try:
            return self._converted(texts)
        except msgspec.ValidationError:
            several = ", or several with commas between them" if self._is_split else ""
            hint = "; a + in it is written as %2B" if self._is_moment else ""
            raise Unprocessable(f"{self.name} must be {self._expected}{several}{hint}") from None

    @property
    def _is_split(self) -> bool:
        return self.is_list and not self.is_repeated

    def _decoded(self, text: bytes) -> Any:
        try:
            value = self._decoder.decode(text)
        except msgspec.ValidationError:
            if not self._is_whole:
                raise
            # To JSON Schema 2.0 is a whole number.
            number = msgspec.json.decode(text, type=float)
            return msgspec.convert(int(number) if number.is_integer() else number, self._type)
        return _in_utc(value) if self._is_moment and value is not None else value

    def _converted(self, texts: Sequence[str]) -> Any:
        if self.is_repeated:
            return msgspec.convert(texts, self._type)
        [text] = texts
        if self._is_split:
            return msgspec.convert(tuple(dict.fromkeys(text.split(","))), self._type)
        if self._is_whole:
            digits = _DIGITS.fullmatch(text)
            return msgspec.convert(int(digits[1]) if digits else text, self._type)
        value = msgspec.convert(text, self._type, strict=not self._is_flag)
        return _in_utc(value) if self._is_moment else value

    def _with_few_parts(self, text: bytes) -> bytes | None:
        """Return the same value; ``None`` if it has too many parts.

        Of a member that is repeated only the last one remains: a hundred thousand may be.
        """
        if text[:1] not in self._brackets + b"{":
            return text
        parts = _PARTS.decode(text)
        return None if len(parts) > MAX_PARTS else msgspec.json.encode(parts)

    def _wrong_parts(self, text: bytes) -> list[str]:
        """Return the places of the invalid parts; none if the value as a whole is invalid.

        A part is invalid if a value with nothing but that part is.
        """
        if text[:1] not in self._brackets or len(parts := _PARTS.decode(text)) > MAX_PARTS:
            return []
        alone: Iterable[tuple[object, object]]
        if isinstance(parts, dict):
            alone = ((name, {name: part}) for name, part in parts.items())
        else:
            alone = ((index, [part]) for index, part in enumerate(parts))
        return [token(place) for place, one in alone if not self._allows(one)]

    def _allows(self, value: object) -> bool:
        try:
            self._decoder.decode(msgspec.json.encode(value))
        except _ERRORS:
            return False
        return True

    def _advice(self, name: str) -> str:
        """Return what to do about a member that does not exist."""
        if not name or name.isdigit():
            return ""
        for names in self._names:
            if name not in names:
                return f"; it has no field {shown_name(name)}; {names.advice(name)}"
        return ""


def check_name(fields: Fields, name: str, errors: ValidationErrors) -> None:
    """Add an error if a document has another name than the path that it is sent to."""
    if bytes(fields.get("name", b"null")) not in (b"null", msgspec.json.encode(name)):
        errors.add("/name", f"name must be {name}, as in the path, or absent")


def _in_utc(moment: dt.datetime) -> dt.datetime:
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:  # at either end of time, in another zone
        return _FIRST_MOMENT if moment.year == 1 else _LAST_MOMENT


class Reader(Generic[S]):
    """Reads objects and queries by a declaration.

    Args:
        kind: The declaration.
        ignored: Names that are accepted and ignored.
        elsewhere: Names that belong into another place, and how to say which.
        custom: Readers of fields that validate by other rules than their type.
    """

    def __init__(
        self,
        kind: type[S],
        *,
        ignored: Collection[str] = (),
        elsewhere: Iterable[tuple[Iterable[str], str]] = (),
        custom: Mapping[str, CustomReader] | None = None,
    ) -> None:
        self.kind: Final = kind
        info = cast("inspect.StructType", inspect.type_info(kind))
        fields = zip(msgspec.structs.fields(kind), info.fields, strict=True)
        self.fields: Final = {field.encode_name: Field(field, of) for field, of in fields}
        self.names: Final = Vocabulary(self.fields, elsewhere)
        self.ignored: Final = frozenset(ignored) - self.fields.keys()
        self._custom: Final = custom or {}

    def read(self, fields: Fields, errors: ValidationErrors, *, under: str = "") -> dict[str, Any]:
        """Return the values of the fields that are given; adds all validation errors."""
        note_unknown(fields, self.names, errors, ignored=self.ignored, under=under)
        values = {}
        for name in fields:
            if custom := self._custom.get(name):
                values[name] = custom(bytes(fields[name]), errors)
            elif field := self.fields.get(name):
                values[name] = field.read(bytes(fields[name]), errors, under=under)
        return values

    def read_query(self, query: Mapping[str, Sequence[str]]) -> S:
        """Return the parameters of a query.

        Raises:
            Unprocessable: Some are invalid; the message names each.
        """
        wrong = unknown_parameters(query, self.names)
        values: dict[str, Any] = {}
        for name, texts in query.items():
            if field := self.fields.get(name):
                try:
                    values[field.attribute] = field.read_texts(texts)
                except Unprocessable as error:
                    wrong.append(str(error))
        if wrong:
            raise Unprocessable("; ".join(wrong))
        return self.kind(**values)
