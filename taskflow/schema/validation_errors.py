"""All validation errors of a request."""

from __future__ import annotations

from typing import Final

from taskflow.model.errors import FieldError, RequestError, Unprocessable

MAX_ERRORS: Final = 100
"""Maximum number of validation errors that are collected; further ones are counted."""


class ValidationErrors:
    """Collects the validation errors of a document, each with its place."""

    def __init__(self) -> None:
        self._found: list[FieldError] = []
        self._count = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found)

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
