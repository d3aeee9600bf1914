"""Credentials: create, list and delete them. The service never returns their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskflow.client import calls
from taskflow.client.arguments import json_of
from taskflow.client.asynchronous.transport import Transport
from taskflow.client.listing import Listing
from taskflow.model.sealed_credential import CredentialSummary


class Credentials:
    """The credentials of a service, for keys with the role ``admin``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def all(self) -> Listing[CredentialSummary]:
        """Return the credentials by name, without their values."""
        answer = await self._transport.ask(calls.Call("GET", "/credentials"))
        return answer.read_all(CredentialSummary)

    async def get(self, name: str) -> CredentialSummary:
        """Return a credential without its values.

        Raises:
            NotFound: There is no credential with this name.
        """
        return (await self._transport.ask(calls.of_credential("GET", name))).read(CredentialSummary)

    async def put(self, name: str, credential: Mapping[str, Any]) -> CredentialSummary:
        """Create or replace a credential.

        Args:
            name: The name of the credential.
            credential: Its fields, such as ``{"kind": "bearer", "token": token, "hosts":
                ["api.example.com"]}``; docs/reference/api.md describes the fields of each kind.

        Raises:
            Unprocessable: It is invalid, or the service has no encryption keys.
        """
        call = calls.of_credential("PUT", name, body=json_of(credential))
        return (await self._transport.ask(call)).read(CredentialSummary)

    async def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a credential.

        Args:
            name: The name of the credential.
            force: Whether to delete it although a queue, schedule or endpoint uses it.

        Raises:
            NotFound: There is no credential with this name.
            Conflict: A queue, schedule or endpoint uses it.
        """
        await self._transport.ask(calls.of_credential("DELETE", name, is_forced=force))
