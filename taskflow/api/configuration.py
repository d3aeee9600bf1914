"""The route ``POST /config``: changes of several resources, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import UNSET
from quart import Response

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.document.examples import APPLIED
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_json
from taskflow.api.reading.configuration import WantedChange, wanted_changes_of
from taskflow.api.resource_kinds import KINDS, Kind, Validation, Values, Write
from taskflow.api.responses import as_json
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.audit import Actor
from taskflow.model.configuration import (
    AppliedConfiguration,
    ChangedResource,
    ResourceKind,
    ResourceOutcome,
    differences,
)
from taskflow.model.errors import (
    ConfigurationChanged,
    FieldError,
    RequestError,
    Unprocessable,
)
from taskflow.schema.configuration import ConfigurationRequest
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.schema.validation_errors import ValidationErrors, token
from taskflow.store.base.configuration import Configuration

_ORDER: Final = list(ResourceKind)


class _Change(msgspec.Struct, frozen=True):
    """A valid change.

    Attributes:
        wanted: What the client sent.
        kind: Its kind.
        write: Makes it.
    """

    wanted: WantedChange
    kind: Kind
    write: Write

    @property
    def is_deletion(self) -> bool:
        return self.wanted.fields is None


@Route(
    "POST",
    "/config",
    "config",
    (RouteResponse("The changes, which were all made.", AppliedConfiguration, APPLIED),),
    (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED),
    body=ConfigurationRequest,
    body_examples={
        "a queue and its schedule": {
            "changes": [
                {"kind": "queue", "name": "mail", "fields": {"max_concurrency": 10}},
                {
                    "kind": "schedule",
                    "name": "reports",
                    "fields": {
                        "cron": "30 6 * * MON-FRI",
                        "task": {"payload": "https://example.com/", "queue": "mail"},
                    },
                },
            ]
        },
        "a precondition": {
            "changes": [
                {
                    "kind": "queue",
                    "name": "other",
                    "fields": {"rate": 5},
                    "before": {"rate": None, "paused": False},
                }
            ]
        },
        "a deletion": {"changes": [{"kind": "queue", "name": "mail", "fields": None}]},
    },
    has_whole_view=True,
)
async def apply_configuration(services: Services) -> Response:
    """Change several resources, all or nothing.

    Creates, changes and deletes credentials, settings of queues, topics, endpoints and schedules in
    one transaction: if one change is rejected, or the service dies meanwhile, nothing is changed.
    All changes are validated before, by the rules of their own routes, and each has its entry in
    the audit log. Kinds that others refer to are changed first, and deleted last. ``before`` makes
    a change depend on the resource being as it was when the change was planned.

    With several cells, each cell commits for itself, after all changes were made in all of them: if
    a cell fails in that moment, ``detail`` names the cells that have committed.
    """
    by = actor_of_request()
    changes = await _read(services, wanted_changes_of(await read_json()))

    async def work(stored: Configuration) -> dict[str, ResourceOutcome]:
        await _refuse_stale(changes, stored, services)
        return {
            change.wanted.place: await _made(change, stored, by) for change in _in_order(changes)
        }

    with store_timeout():
        made = await services.store.configure(work)
    return as_json(AppliedConfiguration([_shown(one.wanted, made) for one in changes]))


def _shown(wanted: WantedChange, made: dict[str, ResourceOutcome]) -> ChangedResource:
    return ChangedResource(wanted.kind, wanted.name, made[wanted.place])


async def _read(services: Services, wanted: Sequence[WantedChange]) -> list[_Change]:
    """Validate the fields of the changes.

    Raises:
        Forbidden: The caller may not change resources of one of the kinds.
        Unprocessable: Fields are invalid.
    """
    for name in dict.fromkeys(one.kind for one in wanted):
        KINDS[name].authorize()
    validation = Validation(services, await _credentials_after(services, wanted))
    errors, changes = ValidationErrors(), []
    for one in wanted:
        kind = KINDS[one.kind]
        try:
            if one.fields is None:
                write = kind.delete(one.name, validation)
            else:
                write = kind.put(one.name, one.fields, validation)
            changes.append(_Change(one, kind, write))
        except RequestError as error:
            one.add_error(errors, error)
    errors.raise_if_any()
    return changes


async def _credentials_after(
    services: Services, wanted: Sequence[WantedChange]
) -> KnownCredentials:
    """Return the credentials that exist after the changes."""
    known = await services.submissions.credentials.read()
    changed = [one for one in wanted if one.kind is ResourceKind.CREDENTIAL]
    deleted = {one.name for one in changed if one.fields is None}
    names = known.names.union(one.name for one in changed) - deleted
    return msgspec.structs.replace(known, names=names)


def _in_order(changes: Sequence[_Change]) -> Iterator[_Change]:
    """Yield the changes in the order in which they can be made."""

    def place(change: _Change) -> int:
        return _ORDER.index(change.wanted.kind)

    yield from sorted((one for one in changes if not one.is_deletion), key=place)
    yield from sorted((one for one in changes if one.is_deletion), key=place, reverse=True)


async def _made(change: _Change, stored: Configuration, by: Actor) -> ResourceOutcome:
    """Make a change.

    Raises:
        RequestError: It is rejected; the message names the resource.
    """
    try:
        is_new_or_existed = await change.write(stored, by)
        if change.is_deletion and not is_new_or_existed:
            raise change.kind.not_found
    except Unprocessable as error:
        errors = ValidationErrors()
        change.wanted.add_error(errors, error)
        errors.raise_if_any()
    except RequestError as error:
        error.args = (f"{change.wanted.label}: {error}",)
        raise
    if change.is_deletion:
        return ResourceOutcome.DELETED
    return ResourceOutcome.CREATED if is_new_or_existed else ResourceOutcome.CHANGED


async def _refuse_stale(
    changes: Sequence[_Change], stored: Configuration, services: Services
) -> None:
    """Hold the resources that have a precondition, and check it.

    Raises:
        ConfigurationChanged: One is not as it was.
    """
    errors: list[FieldError] = []
    for change in changes:
        wanted = change.wanted
        if wanted.before is not UNSET:
            await stored.hold(wanted.kind, wanted.name)
            current = await change.kind.current(stored, wanted.name, services)
            errors += _differences(wanted, current, change.kind.initial)
    if errors:
        raise ConfigurationChanged(errors)


def _differences(
    wanted: WantedChange, current: Values | None, initial: Values | None
) -> Iterator[FieldError]:
    """Yield what is not as it was."""
    place = f"#{wanted.place}/before"
    if wanted.before is None:
        if current is not None:
            yield FieldError(place, f"{wanted.label} exists now")
        return
    assert wanted.before is not UNSET
    now = current if current is not None else initial
    if now is None:
        yield FieldError(place, f"{wanted.label} does not exist any more")
        return
    for name, what in differences(wanted.before, now):
        yield FieldError(f"{place}{token(name)}", f"{wanted.label}: {what}")


ROUTES: Final = (apply_configuration,)
