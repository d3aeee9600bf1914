"""All validation errors of a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from taskflow.model.errors import FieldError, RequestError, Unprocessable

MAX_FAULTS: Final = 100
"""How many validation errors are collected; further ones are counted."""


class Faults:
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
        return self._count >= MAX_FAULTS

    def add(self, pointer: str, detail: str) -> None:
        """Add an error.

        Args:
            pointer: A JSON pointer (RFC 6901) without the ``#`` of its URI form.
            detail: What is allowed there, with the name of the field.
        """
        if not self.is_full:
            self._found.append(FieldError(f"#{pointer}", detail))
        self._count += 1

    def extend(self, faults: Iterable[FieldError], *, under: str) -> None:
        """Add the errors of a part of the document."""
        for fault in faults:
            self.add(under + fault.pointer.removeprefix("#"), fault.detail)

    def note(self, index: int, error: RequestError) -> None:
        """Add the error of a task of an array."""
        found = error.errors if isinstance(error, Unprocessable) else ()
        if found:
            self.extend(found, under=token(index))
        else:
            self.add(token(index), f"[{index}]: {error}")

    def refuse(self) -> None:
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
    how_many = f"{count} in all" if count < MAX_FAULTS else f"{MAX_FAULTS} or more"
    more = f"; and so on, {how_many}" if count > 3 else ""  # noqa: PLR2004
    return "; ".join(fault.detail for fault in found[:3]) + more
