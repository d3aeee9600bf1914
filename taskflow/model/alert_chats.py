"""The bodies that chats and mail expect for the same notification."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from taskflow.model.alert_target import DestinationKind
from taskflow.model.untrusted_text import shortened

_RED: Final = 0xD92D20
_GREEN: Final = 0x079455
# Below the limits of the products: 3,000 characters of a section, 4,096 of a description, and 28 KB
# of a card.
_MAX_SECTION_CHARACTERS: Final = 2_300
_MAX_DESCRIPTION_CHARACTERS: Final = 4_000
_MAX_TEXT_CHARACTERS: Final = 2_800
_MAX_TITLE_CHARACTERS: Final = 150
_LINK_TEXT: Final = "Open in TaskFlow"
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+.!|~<>-])")
_CARD: Final = "application/vnd.microsoft.card.adaptive"


def body_for(
    kind: DestinationKind, title: str, lines: Sequence[str], link: str | None, *, is_firing: bool
) -> dict[str, Any]:
    """Return the body of a notification.

    Args:
        kind: Its destination.
        title: Its first line.
        lines: Its other lines, which may contain text of targets.
        link: A link to the alert.
        is_firing: True if something is wrong, which decides the color.
    """
    title = shortened(title, _MAX_TITLE_CHARACTERS)
    if kind is DestinationKind.SLACK:
        return _slack(title, lines, link, is_firing=is_firing)
    if kind is DestinationKind.TEAMS:
        return _teams(title, lines, link, is_firing=is_firing)
    if kind is DestinationKind.DISCORD:
        return _discord(title, lines, link, is_firing=is_firing)
    return {"subject": title, "text": "\n".join([title, "", *lines, *([link] if link else [])])}


def _slack(
    title: str, lines: Sequence[str], link: str | None, *, is_firing: bool
) -> dict[str, Any]:
    # Shortened once it is escaped, which may make it five times as long.
    text = shortened(_for_slack("\n".join(lines)), _MAX_SECTION_CHARACTERS)
    heading = shortened(_for_slack(title), 2 * _MAX_TITLE_CHARACTERS)
    linked = f"\n<{link}|{_LINK_TEXT}>" if link else ""
    section = {"type": "mrkdwn", "text": f"*{heading}*\n{text}{linked}"}
    attachment = {
        "color": f"#{_color(is_firing):06x}",
        "fallback": title,
        "blocks": [{"type": "section", "text": section}],
    }
    return {"text": _for_slack(title), "attachments": [attachment]}


def _teams(
    title: str, lines: Sequence[str], link: str | None, *, is_firing: bool
) -> dict[str, Any]:
    heading = {
        "type": "TextBlock",
        "text": _for_markdown(title),
        "weight": "Bolder",
        "size": "Medium",
        "color": "Attention" if is_firing else "Good",
        "wrap": True,
    }
    text = shortened("\n".join(lines), _MAX_TEXT_CHARACTERS)
    blocks = [
        {"type": "TextBlock", "text": _for_markdown(line), "wrap": True, "spacing": "Small"}
        for line in text.splitlines()
    ]
    action = {"type": "Action.OpenUrl", "title": _LINK_TEXT, "url": link}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [heading, *blocks],
        **({"actions": [action]} if link else {}),
    }
    return {
        "type": "message",
        "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}],
    }


def _discord(
    title: str, lines: Sequence[str], link: str | None, *, is_firing: bool
) -> dict[str, Any]:
    text = shortened(_for_markdown("\n".join(lines)), _MAX_DESCRIPTION_CHARACTERS)
    return {
        "embeds": [
            {
                "title": title,
                "description": text,
                "color": _color(is_firing),
                **({"url": link} if link else {}),
            }
        ],
        "allowed_mentions": {"parse": []},
    }


def _color(is_firing: bool) -> int:  # noqa: FBT001 - the only argument
    return _RED if is_firing else _GREEN


def _for_slack(text: str) -> str:
    """Return text without links and mentions: these are the characters that Slack escapes."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _for_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
