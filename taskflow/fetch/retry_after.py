"""Reads ``Retry-After`` (RFC 9110 section 10.2.3)."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Mapping


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """How long the target asks to be left alone; ``None`` if it does not say so legibly.

    A date counts from the target's own ``Date``: whose clock is wrong does not matter then.

    Args:
        headers: Of the answer, by lower-case name.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    until = _date_of(text)
    if until is None:
        return None
    now = _date_of(headers.get("date", "")) or dt.datetime.now(dt.UTC)
    return max(0.0, (until - now).total_seconds())


def _date_of(text: str) -> dt.datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError, TypeError):
        return None
    # "-0000" and dates without a zone are read as naive ones.
    return date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date
