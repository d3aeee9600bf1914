"""The caller of the current request: the actor for the audit log, and the rights of the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from quart import request

from taskflow.api.access.api_keys import Role
from taskflow.api.access.request_head import client_of
from taskflow.api.access.roles import CALLER, Caller
from taskflow.api.access.scoped_store import refuse_scope, scoped_store
from taskflow.api.live.feed import Feed
from taskflow.model.audit import Actor
from taskflow.model.queue_scope import QueueScope
from taskflow.store.base.store import TaskStore


def actor_of_request() -> Actor:
    """Return the actor of the request, for the audit log."""
    caller = _caller() or Caller(None, None)
    return Actor(caller.name, caller.session, client_of(_asgi_scope()))


def scope_of_request() -> QueueScope | None:
    """Return the queues that the caller may use; ``None`` for all."""
    caller = _caller()
    return None if caller is None else caller.scope


def require_all_queues() -> None:
    """Reject a caller whose key is limited to some queues.

    Raises:
        Forbidden: It is.
    """
    if scope_of_request() is not None:
        refuse_scope()


def role_of_request() -> Role | None:
    """Return the role of the caller; ``None`` without one."""
    caller = _caller()
    return None if caller is None else caller.role


def _caller() -> Caller | None:
    return _asgi_scope().get(CALLER)


def _asgi_scope() -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", request.scope)


def store_of_request(store: TaskStore) -> TaskStore:
    """Return the part of the store that the caller may see."""
    scope = scope_of_request()
    return store if scope is None else scoped_store(store, scope)


def feed_of_request(feed: Feed) -> Feed:
    """Return the feed as the caller may see it."""
    scope = scope_of_request()
    return feed if scope is None else feed.within(scope)
