"""Checks that the values of a file can be sent as JSON; YAML has others."""

from __future__ import annotations

import math
from typing import Any, Final

from taskflow.schema.validation_errors import ValidationErrors, token

_MIN_WHOLE: Final = -(2**63)
_MAX_WHOLE: Final = 2**64 - 1


def check_values(value: Any, errors: ValidationErrors, *, under: str = "") -> None:
    """Add an error for each value that JSON does not have, such as ``.nan``."""
    if isinstance(value, dict):
        for name, one in value.items():
            check_values(one, errors, under=under + token(name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            check_values(one, errors, under=f"{under}/{index}")
    elif reason := _complaint_of(value):
        errors.add(under, f"{'.'.join(under.split('/')[1:]) or 'the file'} {reason}")


def _complaint_of(value: Any) -> str | None:
    match value:
        case None | bool():
            return None
        case float():
            return None if math.isfinite(value) else "must be a finite number: JSON has no other"
        case int():
            is_known = _MIN_WHOLE <= value <= _MAX_WHOLE
            return None if is_known else "must be a whole number of at most 64 bits"
        case str():
            return None if value.isascii() or _is_unicode(value) else "must be valid Unicode"
        case _:
            return "must be text, a number, true, false, null, a list or an object"


def _is_unicode(text: str) -> bool:
    """Return whether a text can be encoded: YAML can name half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
