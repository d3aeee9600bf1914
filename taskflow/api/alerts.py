"""The routes under ``/alerts``."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

from quart import Response, request

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.document.common_parts import location
from taskflow.api.document.examples import ALERT, ALERT_NOTIFICATION
from taskflow.api.problems import store_timeout
from taskflow.api.reading.alert import AlertReading, silence_of
from taskflow.api.reading.bodies import read_body, read_json
from taskflow.api.reading.paths import alert_name_of, new_alert_name_of
from taskflow.api.responses import as_json, no_content
from taskflow.api.route import MERGE_PATCH, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.alert_messages import tasks_of
from taskflow.model.alerts import Alert, AlertName, AlertNotification, shown_alert
from taskflow.model.errors import AlertNotFound, Forbidden
from taskflow.model.keyring import Keyring
from taskflow.model.masking import Masking
from taskflow.schema.alerts import AlertPatch, AlertRequest, SilenceRequest
from taskflow.settings import Settings

T = TypeVar("T")

_ALERT: Final = RouteResponse("The alert.", Alert, ALERT)
_OF_ALERTS: Final[dict[str, Any]] = {"group": "alerts", "has_whole_view": True}
_ONE_ALERT: Final[dict[str, Any]] = {
    **_OF_ALERTS,
    "path_parameters": (Parameter("name", "The name of the alert.", AlertName, ALERT.name),),
}
_KNOWN: Final[dict[str, Any]] = {**_ONE_ALERT, "problems": (HTTPStatus.NOT_FOUND,)}


@Route(
    "PUT",
    "/alerts/{name}",
    responses=(
        _ALERT,
        RouteResponse(
            "The alert, which is new.",
            Alert,
            ALERT,
            HTTPStatus.CREATED,
            headers=(location(f"/alerts/{ALERT.name}", "The path of the alert."),),
        ),
    ),
    body=AlertRequest,
    body_examples={
        "a queue that waits": {
            "on": "oldest_waiting",
            "after_seconds": 600,
            "to": [{"kind": "webhook", "url": "https://example.com/alerts"}],
            "every_seconds": 14_400,
        },
        "failed tasks": {
            "on": "task_failed",
            "queue": "mail",
            "to": [{"kind": "email", "addresses": ["ops@example.com"]}],
        },
        "a failure rate": {
            "on": "failure_rate",
            "rate": 0.2,
            "minimum": 20,
            "window_seconds": 600,
            "to": [{"kind": "slack", "url": "https://hooks.slack.com/services/T0/B0/x9"}],
        },
    },
    **_ONE_ALERT,
)
async def put_alert(services: Services, name: str) -> Response:
    """Create or replace an alert.

    It is evaluated every 10 seconds, by one node. If its condition holds, it fires, and a task for
    each destination notifies that; so does its end. At most one notification that it fires is sent
    in ``every_seconds``. A change of the condition forgets whether it fires.
    """
    reading = _reading(services, new_alert_name_of(name))
    change = reading.replacement_of(await read_json())
    with store_timeout():
        alert, is_new = await services.store.alerts.put(name, change, by=actor_of_request())
    if not is_new:
        return as_json(shown_alert(alert))
    return as_json(shown_alert(alert), status=HTTPStatus.CREATED, location=f"/alerts/{name}")


@Route(
    "PATCH",
    "/alerts/{name}",
    responses=(_ALERT,),
    body=AlertPatch,
    body_type=MERGE_PATCH,
    body_examples={
        "a threshold": {"after_seconds": 900},
        "paused": {"paused": True},
        "other destinations": {"to": [{"kind": "email", "addresses": ["dev@example.com"]}]},
    },
    **_KNOWN,
)
async def patch_alert(services: Services, name: str) -> Response:
    """Change some fields of an alert."""
    name = alert_name_of(name)
    change = _reading(services, name).patch_of(await read_json())
    with store_timeout():
        alert, _ = await services.store.alerts.put(name, change, by=actor_of_request())
    return as_json(shown_alert(alert))


@Route(
    "GET",
    "/alerts",
    responses=(RouteResponse("The alerts.", list[Alert], [ALERT]),),
    **_OF_ALERTS,
)
async def list_alerts(services: Services) -> Response:
    """List alerts by name.

    Returns all alerts, at most 200.
    """
    with store_timeout():
        return as_json([shown_alert(one) for one in await services.store.alerts.all()])


@Route("GET", "/alerts/{name}", responses=(_ALERT,), **_KNOWN)
async def show_alert(services: Services, name: str) -> Response:
    """Get an alert.

    With whether it fires, since when, and for what.
    """
    with store_timeout():
        alert = found_alert(await services.store.alerts.get(alert_name_of(name)))
    return as_json(shown_alert(alert))


@Route(
    "DELETE",
    "/alerts/{name}",
    responses=(RouteResponse("The alert was deleted.", status=HTTPStatus.NO_CONTENT),),
    **_KNOWN,
)
async def delete_alert(services: Services, name: str) -> Response:
    """Delete an alert.

    Notifications to chats that have not been sent fail as ``endpoint_disabled``.
    """
    with store_timeout():
        deleted = await services.store.alerts.delete(alert_name_of(name), by=actor_of_request())
    found_alert(deleted or None)
    return no_content()


@Route(
    "POST",
    "/alerts/{name}/test",
    responses=(
        RouteResponse(
            "The notification, with the tasks that deliver it.",
            AlertNotification,
            ALERT_NOTIFICATION,
            HTTPStatus.CREATED,
        ),
    ),
    **_KNOWN,
)
async def test_alert(services: Services, name: str) -> Response:
    """Test the destinations of an alert.

    Sends a notification that says that it is a test. ``GET /tasks/{id}`` of its tasks shows whether
    it arrived. A request of a task is rejected, because the notification of an alert could test the
    alert again.
    """
    await read_body()
    if "X-TaskFlow-Id" in request.headers:
        raise Forbidden("a task cannot test an alert: its notification could test it again")
    notify = partial(tasks_of, public_url=services.settings.public_url)
    with store_timeout():
        sent = await services.store.alerts.test(alert_name_of(name), notify, by=actor_of_request())
    return as_json(found_alert(sent), status=HTTPStatus.CREATED)


@Route(
    "POST",
    "/alerts/{name}/silence",
    responses=(_ALERT,),
    body=SilenceRequest,
    body_examples={"two hours": {"seconds": 7200}, "no longer": {"seconds": None}},
    **_KNOWN,
)
async def silence_alert(services: Services, name: str) -> Response:
    """Silence an alert for some time.

    It is evaluated as before, and notifies nothing until then. If it still fires then, that is
    notified.
    """
    seconds = silence_of(await read_json())
    with store_timeout():
        alert = await services.store.alerts.silence(
            alert_name_of(name), seconds, by=actor_of_request()
        )
    return as_json(shown_alert(found_alert(alert)))


@Route(
    "GET",
    "/alerts/{name}/notifications",
    responses=(RouteResponse("The notifications.", list[AlertNotification], [ALERT_NOTIFICATION]),),
    **_KNOWN,
)
async def list_alert_notifications(services: Services, name: str) -> Response:
    """List the last notifications of an alert, the newest first.

    Returns at most 50, with the ids of the tasks that deliver them.
    """
    with store_timeout():
        found = await services.store.alerts.notifications(alert_name_of(name))
    return as_json(found_alert(found))


def alert_reading(
    name: str, *, settings: Settings, keyring: Keyring, masking: Masking
) -> AlertReading:
    """Return what an alert is validated with."""
    return AlertReading(
        name,
        can_sign=settings.has_webhook_secrets,
        can_mail=bool(settings.smtp_url),
        keyring=keyring,
        masking=masking,
    )


def _reading(services: Services, name: str) -> AlertReading:
    return alert_reading(
        name, settings=services.settings, keyring=services.keyring, masking=services.masking
    )


def found_alert(one: T | None) -> T:
    """Return what was found.

    Raises:
        AlertNotFound: Nothing was.
    """
    if one is None:
        raise AlertNotFound
    return one


ROUTES: Final = (
    *(put_alert, patch_alert, list_alerts, show_alert, delete_alert),
    *(test_alert, silence_alert, list_alert_notifications),
)
