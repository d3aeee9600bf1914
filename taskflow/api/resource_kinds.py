"""The kinds of resources of a configuration: how each is read, shown, changed and deleted.

Each kind uses what the routes of its resource use. A new kind needs a member of ``ResourceKind``, a
class and an entry in ``KINDS`` here, its store in ``Configuration`` of each store, and a section in
``cli/remote/configuration/resources.py``.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias, cast

import msgspec

from taskflow.api.access.api_keys import Role
from taskflow.api.access.request_caller import role_of_request
from taskflow.api.credentials import sealed_of
from taskflow.api.endpoints import endpoint_reading
from taskflow.api.queues import permissions_with
from taskflow.api.reading.schedule import replacement_of
from taskflow.api.reading.topic import topic_change_of
from taskflow.api.schedules import schedule_reading
from taskflow.api.services import Services
from taskflow.model.audit import Actor
from taskflow.model.configuration import ResourceKind
from taskflow.model.errors import (
    CredentialNotFound,
    EndpointNotFound,
    Forbidden,
    QueueNotFound,
    RequestError,
    ScheduleNotFound,
    TopicNotFound,
)
from taskflow.model.proxy import masked_proxy
from taskflow.model.queue_limits import NO_SETTINGS, QueueChange
from taskflow.schema import queues
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.store.base.configuration import Configuration

Values: TypeAlias = Mapping[str, Any]
"""A resource as the API shows it, as JSON has it."""

Write: TypeAlias = Callable[[Configuration, Actor], Awaitable[bool]]
"""Writes a resource in a transaction; returns whether it is new, or a deleted one existed."""


class Validation(NamedTuple):
    """What the fields of resources are validated with.

    Attributes:
        services: The service.
        credentials: The credentials that exist after the changes.
    """

    services: Services
    credentials: KnownCredentials


class Kind(abc.ABC):
    """A kind of resources.

    Attributes:
        not_found: The error if a resource to delete does not exist.
        initial: The values of a resource that does not exist; ``None`` if it has to be created.
    """

    not_found: ClassVar[type[RequestError]]
    initial: ClassVar[Values | None] = None

    def authorize(self) -> None:  # noqa: B027 - most kinds need no more than the route
        """Check that the caller of the request may change resources of this kind.

        Raises:
            Forbidden: The caller may not.
        """

    @abc.abstractmethod
    def put(self, name: str, body: bytes, validation: Validation) -> Write:
        """Validate the fields of a resource as its own route does, and return how it is written.

        Raises:
            RequestError: They are invalid.
        """

    @abc.abstractmethod
    def delete(self, name: str, validation: Validation) -> Write:
        """Return how a resource is deleted."""

    @abc.abstractmethod
    async def current(self, stored: Configuration, name: str, services: Services) -> Values | None:
        """Return a resource; ``None`` if it does not exist."""


class Credentials(Kind):
    """Credentials, for admins."""

    not_found = CredentialNotFound

    def authorize(self) -> None:
        if role_of_request() is not Role.ADMIN:
            raise Forbidden("credentials need a key with the role admin", scope=str(Role.ADMIN))

    def put(self, name: str, body: bytes, validation: Validation) -> Write:
        services = validation.services
        sealed = sealed_of(body, name, services.keyring, services.settings)
        return lambda stored, by: stored.credentials.put(sealed, by=by)

    def delete(self, name: str, validation: Validation) -> Write:
        return lambda stored, by: stored.credentials.delete(name, by=by)

    async def current(self, stored: Configuration, name: str, services: Services) -> Values | None:
        return _values_of(await stored.credentials.get(name))


class Queues(Kind):
    """Settings of queues. Without settings, a queue has the default ones."""

    not_found = QueueNotFound
    initial = msgspec.to_builtins(msgspec.structs.asdict(NO_SETTINGS))

    def put(self, name: str, body: bytes, validation: Validation) -> Write:
        return self._changing(name, queues.patch_of(body, name, self._permissions(validation)))

    def delete(self, name: str, validation: Validation) -> Write:
        nothing = b'{"paused":false,"egress_proxy":null}'
        change = queues.replacement_of(nothing, name, self._permissions(validation))
        write = self._changing(name, change)

        async def reset(stored: Configuration, by: Actor) -> bool:
            await write(stored, by)
            return True

        return reset

    async def current(self, stored: Configuration, name: str, services: Services) -> Values | None:
        settings = await stored.queues.get(name) or NO_SETTINGS
        if settings == NO_SETTINGS:
            return None
        masked = masked_proxy(settings.egress_proxy)
        shown = {**msgspec.structs.asdict(settings), "egress_proxy": masked}
        return cast("Values", msgspec.to_builtins(shown))

    def _permissions(self, validation: Validation) -> queues.Permissions:
        return permissions_with(validation.services, validation.credentials)

    def _changing(self, name: str, change: QueueChange) -> Write:
        async def write(stored: Configuration, by: Actor) -> bool:
            return (await stored.queues.change(name, change, by=by)).is_new

        return write


class Topics(Kind):
    """Topics, without their endpoints."""

    not_found = TopicNotFound

    def put(self, name: str, body: bytes, validation: Validation) -> Write:
        change = topic_change_of(body, name)

        async def write(stored: Configuration, by: Actor) -> bool:
            return (await stored.topics.put(name, change, by=by))[1]

        return write

    def delete(self, name: str, validation: Validation) -> Write:
        return lambda stored, by: stored.topics.delete(name, by=by)

    async def current(self, stored: Configuration, name: str, services: Services) -> Values | None:
        return _values_of(await stored.topics.get(name))


class Endpoints(Kind):
    """The endpoints of topics, by ``TOPIC/ENDPOINT``."""

    not_found = EndpointNotFound

    def put(self, name: str, body: bytes, validation: Validation) -> Write:
        topic, _, endpoint = name.partition("/")
        reading = endpoint_reading(topic, endpoint, validation.services, validation.credentials)
        change = reading.change_of(body)

        async def write(stored: Configuration, by: Actor) -> bool:
            changed = await stored.topics.change_endpoint(topic, endpoint, change, by=by)
            if changed is None:
                raise TopicNotFound("its topic does not exist")
            return changed[1]

        return write

    def delete(self, name: str, validation: Validation) -> Write:
        topic, _, endpoint = name.partition("/")
        return lambda stored, by: stored.topics.delete_endpoint(topic, endpoint, by=by)

    async def current(self, stored: Configuration, name: str, services: Services) -> Values | None:
        topic, _, endpoint = name.partition("/")
        found = await stored.topics.endpoint(topic, endpoint)
        return None if found is None else _values_of(found.shown(services.masking))


class Schedules(Kind):
    """Schedules."""

    not_found = ScheduleNotFound

    def put(self, name: str, body: bytes, validation: Validation) -> Write:
        reading = schedule_reading(name, validation.services, validation.credentials)
        change = replacement_of(body, reading, must_be_new=False)

        async def write(stored: Configuration, by: Actor) -> bool:
            return (await stored.schedules.change(name, change, by=by))[1]

        return write

    def delete(self, name: str, validation: Validation) -> Write:
        return lambda stored, by: stored.schedules.delete(name, by=by)

    async def current(self, stored: Configuration, name: str, services: Services) -> Values | None:
        return _values_of(await stored.schedules.get(name))


KINDS: Final[Mapping[ResourceKind, Kind]] = {
    ResourceKind.CREDENTIAL: Credentials(),
    ResourceKind.QUEUE: Queues(),
    ResourceKind.TOPIC: Topics(),
    ResourceKind.ENDPOINT: Endpoints(),
    ResourceKind.SCHEDULE: Schedules(),
}
"""All kinds."""


def _values_of(resource: msgspec.Struct | None) -> Values | None:
    if resource is None:
        return None
    return msgspec.json.decode(msgspec.json.encode(resource), type=dict[str, Any])
