"""The pages of nodes: the list, and a node with its tasks and its settings."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from quart import Blueprint, Response

from taskflow.api.access.request_caller import require_all_queues
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, viewer
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.model.errors import TaskNotFound
from taskflow.model.monitoring import MAX_LISTED_TASKS, NodeRecord
from taskflow.store.base.store import TaskStore

NODES_PAGE: Final = f"{PATH}/nodes"
MAX_NODES: Final = 200


class ComparedSetting(NamedTuple):
    """A setting of a node, and its values on the other nodes.

    Attributes:
        name: The variable.
        value: Its value on this node; empty if it is not set.
        others: The values of the other nodes that are alive, the most frequent first, each with the
            number of nodes.
    """

    name: str
    value: str
    others: tuple[tuple[str, int], ...]

    @property
    def differs(self) -> bool:
        """True if another node has another value."""
        return any(value != self.value for value, _ in self.others)


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """Add the pages and their streams; nodes serve all queues, so a key needs all of them."""

    @routes.get(NODES_PAGE)
    async def nodes() -> Response:
        require_all_queues()
        return await page("nodes.html", **await _list_of(store))

    @routes.get(f"{PATH}/live/nodes")
    async def nodes_live() -> Response:
        require_all_queues()
        user = viewer()

        async def load() -> dict[str, Any]:
            return {**await _list_of(store), "viewer": user}

        return refreshed(feed, "nodes_region.html", load)

    @routes.get(f"{NODES_PAGE}/<node_id>")
    async def node(node_id: str) -> Response:
        require_all_queues()
        state = await _state_of(store, node_id)
        if state["node"] is None:
            raise TaskNotFound(
                "no node with this id is known; a node is listed until a minute after it stopped"
            )
        return await page("node.html", **state)

    @routes.get(f"{NODES_PAGE}/<node_id>/live")
    async def node_live(node_id: str) -> Response:
        require_all_queues()
        user = viewer()

        async def load() -> dict[str, Any]:
            return {**await _state_of(store, node_id), "viewer": user}

        return refreshed(feed, "node_region.html", load)


def differing(nodes: Iterable[NodeRecord]) -> list[str]:
    """Return the settings that are not the same on all nodes that are alive and report them."""
    known = [node.settings for node in nodes if node.alive and node.settings is not None]
    names = {name for settings in known for name in settings}
    return sorted(name for name in names if len({one.get(name, "") for one in known}) > 1)


def compared(node: NodeRecord, nodes: Iterable[NodeRecord]) -> list[ComparedSetting]:
    """Return the settings of a node, compared with the other nodes that are alive."""
    others = [
        one.settings
        for one in nodes
        if one.alive and one.id != node.id and one.settings is not None
    ]
    return [
        ComparedSetting(
            name, value, tuple(Counter(one.get(name, "") for one in others).most_common())
        )
        for name, value in sorted((node.settings or {}).items())
    ]


async def _list_of(store: TaskStore) -> dict[str, Any]:
    with store_timeout():
        found = await store.monitoring.nodes(MAX_NODES)
    return {"nodes": found, "differing": differing(found)}


async def _state_of(store: TaskStore, node_id: str) -> dict[str, Any]:
    with store_timeout():
        found = await store.monitoring.nodes(MAX_NODES, tasks=MAX_LISTED_TASKS)
    node = _by_id(found, node_id)
    return {
        "node": node,
        "node_id": node_id,
        "settings": [] if node is None else compared(node, found),
        "versions": Counter(one.version for one in found if one.alive),
        "max_tasks": MAX_LISTED_TASKS,
    }


def _by_id(nodes: Sequence[NodeRecord], node_id: str) -> NodeRecord | None:
    try:
        wanted = uuid.UUID(node_id)
    except ValueError:
        return None
    return next((node for node in nodes if node.id == wanted), None)
