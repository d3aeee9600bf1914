"""What happens to tasks, as it happens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec

from taskflow.api.document.examples import ENDED_EVENT
from taskflow.api.document.operations.headers import X_ACCEL_BUFFERING
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parameters import ID_IN_PATH
from taskflow.api.document.operations.parts import Answer, Content, Parameter
from taskflow.api.reading.events import EventsRequest, LastEventId, TaskEventsRequest
from taskflow.model.event import TaskEvent
from taskflow.model.task import DEFAULT_QUEUE

LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID",
    "The id of the last event that came, to go on after it; browsers send it by themselves.",
    LastEventId,
    "4711",
)
EVENTS: Final = Answer(
    description="Each event is a `TaskEvent` as JSON, with its id. `: heartbeat` comes when "
    "nothing else does. An event of the type `dropped` ends a stream that was read too slowly; "
    "`reset` says that some events before it are not kept any more.",
    also=(
        Content(
            "text/event-stream",
            (TaskEvent,),
            f"id: 7\ndata: {msgspec.json.encode(ENDED_EVENT).decode()}\n\n",
        ),
    ),
    fields=(msgspec.structs.replace(X_ACCEL_BUFFERING, is_required=True),),
)

EVENT_STREAMS: Final = (
    Operation(
        method="get",
        path="/tasks/{id}/events",
        name="watchTask",
        group="events",
        summary="What happens to a task, as it happens",
        description="Server-sent events, from how it stands now to its end.",
        path_parameters=(ID_IN_PATH,),
        fields=(LAST_EVENT_ID,),
        query=TaskEventsRequest,
        query_examples={"lastEventId": "4711"},
        answer=EVENTS,
        others=(
            Answer(
                status=HTTPStatus.NO_CONTENT,
                description="It is at its end and nothing was missed: do not come back.",
            ),
        ),
        problems=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/events",
        name="watchTasks",
        group="events",
        summary="What happens to all tasks, as it happens",
        description="Server-sent events, on whichever node they happen, in one order on all nodes. "
        "Whoever comes back with `Last-Event-ID` within 5 minutes has missed none.",
        fields=(LAST_EVENT_ID,),
        query=EventsRequest,
        query_examples={"queue": DEFAULT_QUEUE, "tag": ["customer:42"], "lastEventId": "4711"},
        query_repeated=("tag",),
        answer=EVENTS,
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
)
