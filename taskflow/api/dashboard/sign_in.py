"""Signing in with an API key, and signing out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from quart import Blueprint, Response, request

from taskflow.api.access.rejected_keys import RejectedKeys
from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.access.roles import CALLER, SIGN_IN_PATH, SIGN_OUT_PATH, Caller, is_page
from taskflow.api.access.sessions import COOKIE, MAX_SESSION_SECONDS, PATH, Sessions
from taskflow.api.dashboard.forms import read_form
from taskflow.api.dashboard.pages import page, redirect_to
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.store.base.store import TaskStore


def add_routes(
    routes: Blueprint, sessions: Sessions | None, store: TaskStore, rejected_keys: RejectedKeys
) -> None:
    """Add the page and its form; if no API keys are set, they redirect to the overview."""

    @routes.get(SIGN_IN_PATH)
    async def sign_in() -> Response:
        if sessions is None:
            return redirect_to(PATH)
        return await page("sign_in.html", next=_next_of(request.args.get("next", "")))

    @routes.post(SIGN_IN_PATH)
    async def signed_in() -> Response:
        form = await read_form(await read_body())
        wanted = _next_of(form.get("next", ""))
        if sessions is None:
            return redirect_to(PATH)
        value = sessions.begin(form.get("key", "").strip())
        if value is None:
            rejected_keys.count(Action.SESSION_REJECTED, actor_of_request().address)
            return await page("sign_in.html", status=403, next=wanted, error=True)
        session = sessions.session_of(f"{COOKIE}={value}")
        assert session is not None
        actor = Actor(session.key.name, session.id, actor_of_request().address)
        with store_timeout():
            await store.audit.record([NewEntry(action=Action.SESSION_SIGN_IN, actor=actor)])
        response = redirect_to(wanted)
        response.set_cookie(
            COOKIE,
            value,
            max_age=MAX_SESSION_SECONDS,
            path=PATH,
            secure=_uses_tls(),
            httponly=True,
            samesite="Lax",  # links from other sites, such as a chat, keep the session
        )
        return response

    @routes.post(SIGN_OUT_PATH)
    async def sign_out() -> Response:
        await read_body()
        caller: Caller = cast("Mapping[str, Any]", request.scope)[CALLER]
        if caller.session is not None:
            with store_timeout():
                await store.end_session(
                    caller.session, seconds=MAX_SESSION_SECONDS, by=actor_of_request()
                )
        response = redirect_to(SIGN_IN_PATH if sessions else PATH)
        response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="Lax")
        return response


def _next_of(address: str) -> str:
    """Return the page to show after signing in; only pages of this service are allowed."""
    is_line = address.isascii() and address.isprintable()
    return address if is_line and is_page(address.partition("?")[0]) else PATH


def _uses_tls() -> bool:
    """Return whether the browser uses TLS, to this service or to a proxy in front of it."""
    return request.scheme == "https" or request.headers.get("Origin", "").startswith("https://")
