"""References to variables of the environment in the texts of a file: ``${NAME}``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

_REFERENCE: Final = re.compile(r"(\$)?\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")
_EXPECTED: Final = (
    "${ must be followed by the name of a variable (letters, digits and _) and }; "
    "write $${ for the text ${"
)


class Variables:
    """Replaces references, and collects what cannot be replaced.

    Args:
        environ: The environment; ``None`` for the one of the process.

    Attributes:
        missing: The names of variables that are not set.
        malformed: Messages with the places of references that are not ``${NAME}``.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ: Final = os.environ if environ is None else environ
        self.missing: Final[set[str]] = set()
        self.malformed: Final[list[str]] = []

    def replaced(self, value: Any, place: str = "") -> Any:
        """Return a value with the references in its texts replaced; ``$${`` stands for ``${``."""
        if isinstance(value, str):
            return self._text(value, place)
        if isinstance(value, dict):
            return {name: self.replaced(one, _inside(place, name)) for name, one in value.items()}
        if isinstance(value, list):
            return [self.replaced(one, _inside(place, index)) for index, one in enumerate(value)]
        return value

    def _text(self, text: str, place: str) -> str:
        is_malformed = False

        def one(found: re.Match[str]) -> str:
            nonlocal is_malformed
            if found[1]:
                return found[0][1:]
            if found[2] is None:
                is_malformed = True
            elif found[2] not in self._environ:
                self.missing.add(found[2])
            return self._environ.get(found[2] or "", "")

        after = _REFERENCE.sub(one, text)
        if is_malformed:
            self.malformed.append(f"{place}: {_EXPECTED}" if place else _EXPECTED)
        return after


def escaped(value: Any) -> Any:
    """Return a value whose texts have no references: ``${`` becomes ``$${``."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {name: escaped(one) for name, one in value.items()}
    if isinstance(value, list):
        return [escaped(one) for one in value]
    return value


def _inside(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)
