"""Hides what may be secret in what is kept and shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

MASK: Final = "***"

MAX_URL_CHARACTERS: Final = 200

# However it is written: a URL that is not one is what errors are about.
_USERINFO: Final = re.compile(r"^((?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]*)[^/?#\\]*@")
_AFTER_PATH: Final = re.compile(r"([?#]).*", re.DOTALL)


def masked_url(text: str) -> str:
    """A URL, or what was sent for one, without credentials and query: for error texts.

    Signed links carry their secret in the query.
    """
    without_userinfo = _USERINFO.sub(rf"\1{MASK}@", text)
    return _AFTER_PATH.sub(rf"\1{MASK}", without_userinfo)[:MAX_URL_CHARACTERS]


def masked_headers(headers: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Header fields, those of these lower-case names without their values."""
    return {name: MASK if name.lower() in names else value for name, value in headers.items()}
