"""The entries of the navigation, in the order in which they are shown, and who sees them."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Viewer(NamedTuple):
    """The user who views a page.

    Attributes:
        name: The name of the API key they signed in with; ``None`` if no keys are set.
        may_read: Whether they may see the pages.
        may_write: Whether they may submit and change tasks.
        may_administer: Whether they may see the pages for admins: credentials and the audit log.
        has_whole_view: Whether their key is for all queues, so that they may see the pages about
            all queues, such as nodes.
    """

    name: str | None
    may_read: bool
    may_write: bool
    may_administer: bool = False
    has_whole_view: bool = False


class Audience(enum.Enum):
    """The users who see an entry."""

    EVERYBODY = enum.auto()
    WHOLE_VIEW = enum.auto()
    """Those whose key is for all queues."""
    ADMINS = enum.auto()


class Entry(NamedTuple):
    """An entry of the navigation: the path of its page, its name, and who sees it."""

    path: str
    name: str
    audience: Audience = Audience.EVERYBODY


_GROUPS: Final = (
    (
        Entry("/ui", "Overview"),
        Entry("/ui/tasks", "Tasks"),
        Entry("/ui/failures", "Failures"),
    ),
    (
        Entry("/ui/queues", "Queues"),
        Entry("/ui/schedules", "Schedules"),
        Entry("/ui/groups", "Groups"),
        Entry("/ui/topics", "Topics"),
    ),
    (
        Entry("/ui/hosts", "Hosts", Audience.WHOLE_VIEW),
        Entry("/ui/nodes", "Nodes", Audience.WHOLE_VIEW),
    ),
    (
        Entry("/ui/alerts", "Alerts", Audience.WHOLE_VIEW),
        Entry("/ui/heartbeats", "Heartbeats", Audience.WHOLE_VIEW),
    ),
    (
        Entry("/ui/credentials", "Credentials", Audience.ADMINS),
        Entry("/ui/audit", "Audit", Audience.ADMINS),
        Entry("/docs", "API reference"),
    ),
)


def navigation(viewer: Viewer | None) -> list[list[Entry]]:
    """Return the groups of entries that a viewer may open; ``None`` is a user who is signed out."""
    groups = ([entry for entry in group if _is_for(entry, viewer)] for group in _GROUPS)
    return [group for group in groups if group]


def _is_for(entry: Entry, viewer: Viewer | None) -> bool:
    if entry.audience is Audience.EVERYBODY:
        return True
    if viewer is None or not viewer.may_read:
        return False
    return viewer.may_administer if entry.audience is Audience.ADMINS else viewer.has_whole_view
