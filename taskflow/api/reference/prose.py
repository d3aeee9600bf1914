"""Renders the Markdown of descriptions as HTML: paragraphs, lists, code and strong text."""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup, escape

_CODE: Final = re.compile(r"`([^`]+)`")
_STRONG: Final = re.compile(r"\*\*([^*]+)\*\*")


def line(text: str) -> Markup:
    """Render a text of one paragraph, without the paragraph element."""
    marked = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    return Markup(_STRONG.sub(r"<strong>\1</strong>", marked))  # noqa: S704 - escaped above


def paragraphs(text: str) -> Markup:
    """Render a text of paragraphs and lists."""
    return Markup("\n").join(_block(block) for block in re.split(r"\n{2,}", text.strip()))


def _block(block: str) -> Markup:
    if not block.startswith("- "):
        return Markup("<p>{}</p>").format(line(block))
    items = (line(item) for item in block.removeprefix("- ").split("\n- "))
    return Markup("<ul>{}</ul>").format(
        Markup("").join(Markup("<li>{}</li>").format(item) for item in items)
    )
