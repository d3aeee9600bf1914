"""``/ping``: jobs report that they run.

The URL has a token that belongs to one heartbeat, so no key is needed, and it can do nothing else.
A ping counts whatever its body is, also if it is too long or too slow: the job has run.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any, Final, cast

from msgspec import Meta
from quart import Response, request

from taskflow.api.access.request_head import client_of
from taskflow.api.access.roles import AccessPolicy
from taskflow.api.inline_requests import PING_PATH, Incoming
from taskflow.api.problems import store_timeout
from taskflow.api.responses import no_content
from taskflow.api.route import OCTETS, Content, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import HeartbeatNotFound
from taskflow.model.heartbeat_monitors import (
    MAX_EXIT_CODE,
    MAX_NOTE_BYTES,
    NewPing,
    Signal,
    note_of,
)

MAX_DROPPED_BYTES: Final = 2**20
"""Maximum size of a body that is received; a longer one ends with the connection."""

SIGNAL_PATTERN: Final = "^(start|success|fail|-?[0-9]{1,10}|[A-Z][A-Z0-9+-]{1,9})$"

_UNKNOWN: Final = (
    "this URL belongs to no heartbeat (it was deleted, or its URL rotated), or does not end with "
    "start, success, fail, an exit code or the name of a Unix signal"
)
_IS_SIGNAL: Final = re.compile(SIGNAL_PATTERN, re.ASCII)
_ANY_NOTE: Final[dict[str, Any]] = {
    "body": Any,
    "body_examples": {"text": "copied 4711 files"},
    "also_accepts": (Content(OCTETS, (), "copied 4711 files"),),
    "needs_body": False,
}
_TOKEN: Final = Parameter(
    "token",
    "The token of the heartbeat, from its `ping_url`.",
    str,
    "AaIMWLb9d7-TKBzN4BHY2jZ0m3cM0b8oTz5rFq0v2kA",
)
_SIGNAL: Final = Parameter(
    "signal",
    "`start`, `success` or `fail`; or the exit code of the job, of which 0 is `success` and any "
    "other `fail`; or the name of the Unix signal that ended it, such as `KILL`, which is `fail`. "
    "Exit codes other than 0 to 255 are not recorded.",
    Annotated[str, Meta(pattern=SIGNAL_PATTERN)],
    "start",
)
_PING: Final[dict[str, Any]] = {
    "group": "heartbeats",
    "responses": (RouteResponse("The ping is recorded.", status=HTTPStatus.NO_CONTENT),),
    "problems": (HTTPStatus.NOT_FOUND,),
    "access": AccessPolicy.PING_URL,
    # A ping counts whatever a program adds to the URL.
    "ignores_query": True,
}


@Route("GET", f"{PING_PATH}{{token}}", path_parameters=(_TOKEN,), **_PING)
async def ping_heartbeat(services: Services, token: str) -> Response:
    """Report that a job has succeeded.

    For jobs elsewhere: the URL is the `ping_url` of a heartbeat. It needs no key. At most 1 ping
    per second and heartbeat is accepted, in bursts of 20.
    """
    return await _ping(services, token, NewPing())


@Route("POST", f"{PING_PATH}{{token}}", path_parameters=(_TOKEN,), **_PING, **_ANY_NOTE)
async def ping_heartbeat_with_note(services: Services, token: str) -> Response:
    """Report that a job has succeeded, with a note.

    Like `pingHeartbeat`. The body can be anything, such as the end of a log; its first 10,000 bytes
    are kept with the ping.
    """
    return await _ping(services, token, NewPing())


@Route("GET", f"{PING_PATH}{{token}}/{{signal}}", path_parameters=(_TOKEN, _SIGNAL), **_PING)
async def signal_heartbeat(services: Services, token: str, signal: str) -> Response:
    """Report the start, the failure or the exit code of a job.

    Like `pingHeartbeat`.
    """
    return await _ping(services, token, _reported(signal))


@Route(
    "POST",
    f"{PING_PATH}{{token}}/{{signal}}",
    path_parameters=(_TOKEN, _SIGNAL),
    **_PING,
    **_ANY_NOTE,
)
async def signal_heartbeat_with_note(services: Services, token: str, signal: str) -> Response:
    """Report the start, the failure or the exit code of a job, with a note.

    Like `pingHeartbeatWithNote`.
    """
    return await _ping(services, token, _reported(signal))


async def _ping(services: Services, token: str, ping: NewPing | None) -> Response:
    with store_timeout():
        ping_id = await services.ping_urls.ping_id_of(token)
    if ping_id is None or ping is None:
        raise HeartbeatNotFound(_UNKNOWN)
    services.ping_urls.limit(ping_id)
    note = note_of(await _start_of_body())
    address = client_of(cast("Any", request.scope))
    received = NewPing(ping.signal, ping.exit_code, note, address)
    with store_timeout():
        is_known = await services.store.heartbeat_monitors.ping(ping_id, received)
    if not is_known:
        raise HeartbeatNotFound(_UNKNOWN)
    return no_content()


def _reported(text: str) -> NewPing | None:
    """Return what the last segment of a path reports; ``None`` if that is nothing."""
    if not _IS_SIGNAL.fullmatch(text):
        return None
    if text in set(Signal):
        return NewPing(Signal(text))
    if text[0].isalpha():
        return NewPing(Signal.FAIL)
    exit_code = int(text)
    is_recorded = 0 <= exit_code <= MAX_EXIT_CODE
    return NewPing(Signal.FAIL if exit_code else Signal.SUCCESS, exit_code if is_recorded else None)


async def _start_of_body() -> bytes:
    """Return the start of the body; the rest is received and dropped, within a limit."""
    if request.method != "POST":
        return b""
    incoming, start, dropped = cast("Incoming", request.body), bytearray(), 0
    while (part := await incoming.next_part()) is not None:
        room = MAX_NOTE_BYTES - len(start)
        start += part[:room]
        dropped += len(part)
        if dropped > MAX_DROPPED_BYTES:
            break
    return bytes(start)


ROUTES: Final = (
    *(ping_heartbeat, ping_heartbeat_with_note),
    *(signal_heartbeat, signal_heartbeat_with_note),
)
