"""Quart-Trio's app, without what no request here uses: its sessions, and subdomains."""

from __future__ import annotations

from typing import Any

from quart import Quart
from quart.sessions import NullSession, SecureCookieSessionInterface
from quart.wrappers import BaseRequestWebsocket
from quart_trio import QuartTrio
from werkzeug.routing import MapAdapter

_NO_SESSION = NullSession()


class _NoSessions(SecureCookieSessionInterface):
    """No session is opened; ``access/sessions.py`` has the sessions of the dashboard."""

    async def open_session(self, _app: Quart, _request: BaseRequestWebsocket) -> NullSession:
        return _NO_SESSION


class QuartApp(QuartTrio):
    """Quart-Trio's app, without Quart's sessions and subdomains."""

    session_interface = _NoSessions()

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Return an adapter that matches the path; no route depends on a subdomain."""
        if request is None:
            return None
        url_map: Any = self.url_map
        adapter: MapAdapter = url_map.bind_to_request(request, "", None)
        return adapter
