"""Where pages lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^(```+|~~~+).*?^\1\s*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)
ANCHOR = re.compile(r'<a (?:id|name)="([^"]+)"')
ELSEWHERE = ("http://", "https://", "mailto:")


def dead_links(page: Path) -> list[str]:
    """Return the links to a missing file or heading."""
    return [link for link in _links(page) if not _leads_somewhere(page, link)]


def _links(page: Path) -> Iterator[str]:
    prose = CODE.sub("", page.read_text("utf-8"))
    yield from (link for link in LINK.findall(prose) if not link.startswith(ELSEWHERE))


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of headings: small letters, hyphens, no marks, a number if needed."""
    text = page.read_text("utf-8")
    found: dict[str, int] = {}
    for heading in HEADING.findall(_without_blocks(text)):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
    numbered = {f"{name}-{n}" for name, last in found.items() for n in range(1, last + 1)}
    return set(found) | numbered | set(ANCHOR.findall(text))


def _without_blocks(text: str) -> str:
    return re.sub(r"^(```+|~~~+).*?^\1\s*$", "", text, flags=re.MULTILINE | re.DOTALL)
