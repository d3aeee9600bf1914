"""Masks URLs in the texts of errors, in which the whole query is left out."""

from __future__ import annotations

import re
from typing import Final

from taskflow.model.masking import MASK

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
