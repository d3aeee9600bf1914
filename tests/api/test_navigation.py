"""The entries of the navigation, by what a user may see."""

from __future__ import annotations

import pytest

from taskflow.api.dashboard.navigation import Viewer, navigation

FOR_ALL = (
    *("Overview", "Tasks", "Failures", "Queues", "Schedules", "Groups", "Topics"),
    "API reference",
)
WHOLE = ("Hosts", "Nodes", "Alerts", "Heartbeats")
ADMIN = ("Credentials", "Audit")


def viewer(**fields) -> Viewer:
    return Viewer("a", may_read=True, may_write=False, **fields)


@pytest.mark.parametrize(
    ("user", "more"),
    [
        (None, ()),
        (Viewer(None, may_read=False, may_write=False, has_whole_view=True), ()),
        (viewer(), ()),
        (viewer(has_whole_view=True), WHOLE),
        (viewer(has_whole_view=True, may_administer=True), (*WHOLE, *ADMIN)),
    ],
)
def test_entries(user, more):
    """Keys for some queues see no hosts and nodes, and only admins see credentials and the log."""
    shown = [entry.name for group in navigation(user) for entry in group]
    assert sorted(shown) == sorted((*FOR_ALL, *more))
