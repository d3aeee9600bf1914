"""Checks of what callers pass in: whatever cannot be used is an ``InvalidArgument``."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from taskflow.client.errors import ClientError, InvalidArgument

T = TypeVar("T")

_MAX_SHOWN_CHARS: Final = 80
_ERRORS: Final = (
    AttributeError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)


@contextlib.contextmanager
def checked_arguments() -> Iterator[None]:
    """Turn what Python raises for an argument into our error; also a decorator.

    Raises:
        InvalidArgument: An argument cannot be used.
    """
    try:
        yield
    except ClientError:
        raise
    except _ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidArgument(reason) from None


def shown(value: object) -> str:
    """A value as errors show it, in one short line."""
    with contextlib.suppress(Exception):
        text = ascii(value)
        return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}..."
    return f"this {type(value).__name__}"


def whole_number(name: str, value: object, *, minimum: int) -> int:
    """Return a whole number.

    Raises:
        InvalidArgument: It is none, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InvalidArgument(
            f"{name} must be a whole number from {minimum} on, not {shown(value)}"
        )
    return value


def seconds(name: str, value: object, *, may_be_zero: bool = True) -> float:
    """Return a time in seconds; infinity is one.

    Raises:
        InvalidArgument: It is none.
    """
    time = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            time = float(value)
    if time > 0 or (time == 0 and may_be_zero):
        return time
    bound = "0 or more" if may_be_zero else "more than 0"
    raise InvalidArgument(f"{name} must be {bound} seconds, not {shown(value)}")


def text(name: str, value: object) -> str:
    """Return text that can be sent.

    Raises:
        InvalidArgument: It is none, or has halves of surrogate pairs.
    """
    if not isinstance(value, str) or not _is_unicode(value):
        raise InvalidArgument(f"{name} must be text, not {shown(value)}")
    return value


def items_of(name: str, value: T) -> T:
    """Return what several things come from; text and mappings are one thing.

    Raises:
        InvalidArgument: Nothing comes from it.
    """
    is_one = isinstance(value, (str, bytes, bytearray, Mapping))
    if is_one or not isinstance(value, (Iterable, AsyncIterable)):
        raise InvalidArgument(f"{name} must be a list or another iterable, not {shown(value)}")
    return value


def texts_of(name: str, value: Iterable[str]) -> list[str]:
    """Return several texts that can be sent.

    Raises:
        InvalidArgument: They are not several, or one of them is no text.
    """
    return [text(name, one) for one in items_of(name, value)]


@checked_arguments()
def json_of(value: Any) -> bytes:
    """Write a value as JSON.

    Raises:
        InvalidArgument: It cannot be written.
    """
    document = msgspec.json.encode(value)
    if b"null" in document and _has_not_finite(value):  # of which msgspec would make a null
        raise InvalidArgument("NaN and infinity cannot be written as JSON")
    return document


def _has_not_finite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, msgspec.Struct):
        return _has_not_finite(msgspec.structs.asdict(value))
    if isinstance(value, Mapping):
        return any(map(_has_not_finite, value.values()))
    return isinstance(value, (list, tuple, set)) and any(map(_has_not_finite, value))


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
