"""Alerts: create, change, test, silence and delete them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskflow.client import calls
from taskflow.client.arguments import json_of
from taskflow.client.asynchronous.transport import Transport
from taskflow.client.listing import Listing
from taskflow.model.alerts import Alert, AlertNotification


class Alerts:
    """The alerts of a service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def all(self) -> Listing[Alert]:
        """Return the alerts by name."""
        return (await self._transport.ask(calls.Call("GET", "/alerts"))).read_all(Alert)

    async def get(self, name: str) -> Alert:
        """Return an alert.

        Raises:
            NotFound: There is no alert with this name.
        """
        return (await self._transport.ask(calls.of_alert("GET", name))).read(Alert)

    async def put(self, name: str, alert: Mapping[str, Any]) -> Alert:
        """Create or replace an alert.

        Args:
            name: The name of the alert.
            alert: Its fields, such as ``{"on": "task_failed", "to": [{"kind": "email",
                "addresses": ["ops@example.com"]}]}``; docs/reference/api.md describes them.

        Raises:
            Unprocessable: It is invalid, or the service cannot notify a destination.
        """
        call = calls.of_alert("PUT", name, body=json_of(alert))
        return (await self._transport.ask(call)).read(Alert)

    async def update(self, name: str, change: Mapping[str, Any]) -> Alert:
        """Change some fields of an alert; ``None`` resets one to its default.

        Raises:
            NotFound: There is no alert with this name.
            Unprocessable: It would be invalid.
        """
        call = calls.of_alert("PATCH", name, body=json_of(change))
        return (await self._transport.ask(call)).read(Alert)

    async def delete(self, name: str) -> None:
        """Delete an alert.

        Raises:
            NotFound: There is no alert with this name.
        """
        await self._transport.ask(calls.of_alert("DELETE", name))

    async def test(self, name: str) -> AlertNotification:
        """Send a test to the destinations of an alert; its ``tasks`` deliver it.

        Raises:
            NotFound: There is no alert with this name.
        """
        call = calls.of_alert("POST", name, "/test")
        return (await self._transport.ask(call)).read(AlertNotification)

    async def silence(self, name: str, seconds: float | None) -> Alert:
        """Let an alert notify nothing for this time; ``None`` ends that.

        Raises:
            NotFound: There is no alert with this name.
        """
        call = calls.of_alert("POST", name, "/silence", json_of({"seconds": seconds}))
        return (await self._transport.ask(call)).read(Alert)

    async def notifications(self, name: str) -> Listing[AlertNotification]:
        """Return the last notifications of an alert, the newest first.

        Raises:
            NotFound: There is no alert with this name.
        """
        call = calls.of_alert("GET", name, "/notifications")
        return (await self._transport.ask(call)).read_all(AlertNotification)
