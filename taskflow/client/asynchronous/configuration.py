"""Changes of several resources, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskflow.client import calls
from taskflow.client.arguments import json_of
from taskflow.client.asynchronous.transport import Transport
from taskflow.model.configuration import AppliedConfiguration


class Configuration:
    """The configuration of a service: what is changed together."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def apply(self, changes: Sequence[Mapping[str, Any]]) -> AppliedConfiguration:
        """Create, change and delete several resources, all or nothing.

        Args:
            changes: The changes, such as ``{"kind": "queue", "name": "mail", "fields":
                {"max_concurrency": 10}}``. The kinds are ``credential``, ``queue``, ``topic``,
                ``endpoint`` (its name is ``TOPIC/ENDPOINT``) and ``schedule``. ``fields`` is what
                the request for one resource has; ``None`` deletes the resource. With ``before``,
                nothing is changed unless the resource has these fields now; ``None`` stands for a
                resource that does not exist. docs/reference/api.md describes them.

        Raises:
            Unprocessable: A change is invalid; ``errors`` has the places.
            Rejected: With the status 412, a resource is not as ``before`` says.
            Forbidden: The key may not change resources of one of the kinds.
        """
        body = json_of({"changes": list(changes)})
        call = calls.of_configuration(body)
        return (await self._transport.ask(call)).read(AppliedConfiguration)
