"""Validates the name of a credential in a task, a queue or a schedule."""

from __future__ import annotations

import difflib

import msgspec

from taskflow.model.errors import FieldError, Unprocessable
from taskflow.model.suggestions import MIN_LIKENESS
from taskflow.schema.validation_errors import ValidationErrors


class KnownCredentials(msgspec.Struct, frozen=True):
    """The names of the credentials that exist.

    Attributes:
        names: The names.
        are_suggested: Whether an error may suggest a similar name.
    """

    names: frozenset[str]
    are_suggested: bool = True

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def check(self, name: str | None, errors: ValidationErrors, *, under: str = "") -> None:
        """Add an error if there is no credential with this name.

        Args:
            name: The name; ``None`` if none is given.
            errors: Where the error is added.
            under: The JSON pointer of the object that has the field.
        """
        if name is not None and name not in self:
            errors.add_part(under, "", self.error_of(name))

    def error_of(self, name: str, *, is_short: bool = False) -> Unprocessable:
        """Return the error for an object with the name of a credential that does not exist.

        Args:
            name: The name.
            is_short: Whether to skip the search for a similar name, which takes milliseconds.
        """
        detail = f"there is no credential {name}{'' if is_short else self._advice(name)}"
        return Unprocessable(detail, errors=[FieldError("#/credential", detail)])

    def _advice(self, name: str) -> str:
        if self.are_suggested:
            for meant in difflib.get_close_matches(name, sorted(self.names), 1, MIN_LIKENESS):
                return f"; did you mean {meant}?"
        return "; PUT /credentials/NAME creates one"
