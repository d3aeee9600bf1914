"""Every route as clients see it: what it takes and what it answers.

A route that is added gets an ``Operation`` here, and an answer that any request can get a place
in ``ANY_REQUEST``; ``openapi.py`` makes the document of it.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.api.document.examples import (
    ATTEMPT,
    CALLBACK_ID,
    CANCELED,
    COMPLETED,
    ENDED_EVENT,
    PENDING,
    QUEUE,
    SCHEDULE,
    STATISTICS,
    TASK_ID,
    TOLD,
    URL,
)
from taskflow.api.intake import Added, Refused, Summary
from taskflow.api.listing import Broken
from taskflow.api.live.events import EventsRequest, LastEventId
from taskflow.api.many_by_hand import ManyMoved
from taskflow.api.reading.accept import LINES
from taskflow.api.reading.head import IdempotencyKeyText
from taskflow.api.reading.many import ManyRequest
from taskflow.api.reading.new_task import TaskRequest, TaskRequests
from taskflow.api.reading.page import PageRequest, ShowRequest, cursor_of
from taskflow.api.reading.prefer import WaitRequest
from taskflow.api.reading.queue import QueueRequest
from taskflow.api.reading.schedule import ScheduleRequest, SchedulesRequest
from taskflow.api.statistics import StatisticsRequest
from taskflow.model.event import TaskEvent
from taskflow.model.outcome import ErrorType
from taskflow.model.queue import Queue
from taskflow.model.shown_schedule import Schedule, ScheduleName
from taskflow.model.statistics import TaskStatistics
from taskflow.model.task import DEFAULT_QUEUE, AttemptRecord, QueueName, Task, TaskStatus


def _some_fields() -> Any:
    """A type for a task of which some fields are shown."""
    _, _, attributes = (inspect.getdoc(Task) or "").partition("\n\nAttributes:\n")
    fields = [(field.name, field.type | UnsetType, UNSET) for field in msgspec.structs.fields(Task)]
    meaning = "Those fields of a task that ``fields`` names."
    document = f"{meaning}\n\nAttributes:\n{attributes}"
    return msgspec.defstruct(
        "TaskFields", fields, namespace={"__doc__": document}, forbid_unknown_fields=True
    )


TaskFields: Final = _some_fields()


class Parameter(msgspec.Struct, frozen=True):
    """Something in the path, the query or the head of an answer.

    Attributes:
        name: As it is written in a request.
        description: One line for people.
        kind: Its type.
        example: A value of it.
        is_required: Whether it is always there; of a head only, as a path has all and a query
            needs none.
    """

    name: str
    description: str
    kind: Any
    example: object
    is_required: bool = False


class Content(msgspec.Struct, frozen=True):
    """A body of lines or events, beside that which comes first.

    Attributes:
        media_type: What it is.
        kinds: What each of them may be.
        example: Some of them.
    """

    media_type: str
    kinds: tuple[Any, ...]
    example: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a route answers if all is well.

    Attributes:
        status: Its code.
        description: One line for people.
        kind: The type of its body; ``None`` if it has none.
        example: A body of it.
        media_type: What the body is.
        also: What else it may be.
        picked_kind: The type of its body if the request picks fields, if it can.
        fields: Of its head.
        links: Operations that take the ``id`` in it.
    """

    status: HTTPStatus = HTTPStatus.OK
    description: str
    kind: Any = None
    example: object = None
    media_type: str = "application/json"
    also: tuple[Content, ...] = ()
    picked_kind: Any = None
    fields: tuple[Parameter, ...] = ()
    links: tuple[str, ...] = ()


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A ``POST`` that TaskFlow makes to an address that it was given.

    Attributes:
        name: For programs.
        address: Where that is, as a runtime expression of OpenAPI.
        description: When it comes, and what its answers mean.
        kind: The type of its body.
        example: A body of it.
        fields: Of its head.
    """

    name: str
    address: str
    description: str
    kind: Any
    example: object
    fields: tuple[Parameter, ...]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A method of a path.

    Attributes:
        method: In small letters.
        path: With the names of its parameters in braces.
        name: For programs that make clients of the document; unique.
        group: What it is listed under.
        summary: A few words.
        description: All of it.
        answer: If all is well.
        others: What it may answer beside that if all is well.
        problems: The statuses of its other answers, those of any request aside.
        path_parameters: All of those in the path.
        fields: Of the head of a request.
        query: The type of its query; parameters are its fields.
        query_examples: A value for each of them.
        query_repeated: Which of those that are lists are given once for each value; the others
            have commas between them.
        body: The type of the body that it takes, if it takes one.
        body_examples: Bodies, by short names.
        also_takes: Bodies of another media type.
        is_open: Whether the rules of access do not hold for it: anybody may ask.
        callback: What is sent later to an address that it was given, if anything is.
    """

    method: str
    path: str
    name: str
    group: str
    summary: str
    description: str
    answer: Answer
    others: tuple[Answer, ...] = ()
    problems: tuple[HTTPStatus, ...] = ()
    path_parameters: tuple[Parameter, ...] = ()
    fields: tuple[Parameter, ...] = ()
    query: type[msgspec.Struct] | None = None
    query_examples: Mapping[str, object] = msgspec.field(default_factory=dict)
    query_repeated: tuple[str, ...] = ()
    body: Any = None
    body_examples: Mapping[str, object] = msgspec.field(default_factory=dict)
    also_takes: tuple[Content, ...] = ()
    is_open: bool = False
    callback: Callback | None = None

    def all_problems(self) -> list[HTTPStatus]:
        """The statuses of all answers but the one if all is well."""
        access = () if self.is_open else ACCESS
        return sorted({*ANY_REQUEST, *access, *self.problems})


class ProblemText(msgspec.Struct, frozen=True):
    """What is told of an answer that is a problem.

    Attributes:
        description: When it comes.
        detail: Of an example.
        fields: Of its head.
    """

    description: str
    detail: str
    fields: tuple[Parameter, ...] = ()


# What stands before the routes answers so, whatever is asked for.
ANY_REQUEST: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

# What the rules of access answer.
ACCESS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.MISDIRECTED_REQUEST,
)
_RETRY_AFTER: Final = Parameter("Retry-After", "In seconds.", int, 2, is_required=True)

PROBLEMS: Final[Mapping[HTTPStatus, ProblemText]] = {
    HTTPStatus.BAD_REQUEST: ProblemText(
        "The request can be read in two ways, or its body is no JSON object with a `payload` "
        "that is not null.",
        'payload is missing; send a JSON object with a payload, such as {"payload": '
        '"https://example.com/"}',
    ),
    HTTPStatus.UNAUTHORIZED: ProblemText(
        "This TaskFlow asks for a key, and the request has none, or one that it does not know.",
        "this needs a key; send Authorization: Bearer and a key that this service knows",
        (
            Parameter(
                "WWW-Authenticate",
                "What is asked for (RFC 6750).",
                str,
                'Bearer realm="taskflow"',
                is_required=True,
            ),
        ),
    ),
    HTTPStatus.FORBIDDEN: ProblemText(
        "The key's role does not suffice; or there are no keys and the request came from another "
        "machine; or a page of another origin had a browser ask.",
        "pages of another origin may not ask this service; TASKFLOW_CORS_ORIGINS names those "
        "that may",
    ),
    HTTPStatus.NOT_FOUND: ProblemText(
        "No task has this id, or it is no id at all; or the task has no result that could be asked "
        "for; or no queue or schedule has this name.",
        "There is no task with this id.",
    ),
    HTTPStatus.REQUEST_TIMEOUT: ProblemText(
        "The body did not come within `TASKFLOW_REQUEST_SECONDS`.",
        "the body did not come in time; send it without long pauses",
    ),
    HTTPStatus.CONFLICT: ProblemText(
        "The task stands so that this cannot be done to it.",
        "cannot cancel a task that is COMPLETED",
    ),
    HTTPStatus.PRECONDITION_FAILED: ProblemText(
        "There is a schedule with this name, and `If-None-Match: *` says not to replace it.",
        "There is a schedule with this name; without If-None-Match it would be replaced.",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ProblemText(
        "The body is larger than the setting `TASKFLOW_MAX_BODY_BYTES` says.",
        "the body is larger than the 1048576 bytes that are taken here",
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: ProblemText(
        "The request target is longer than 8 KiB.", "the target is longer than 8192 bytes"
    ),
    HTTPStatus.GONE: ProblemText(
        "The same request came before with the same Idempotency-Key, and the task that it made was "
        "deleted since.",
        "This request made a task that was deleted since; make up a new Idempotency-Key.",
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ProblemText(
        "The body is compressed. Its media type does not matter: it is read as JSON.",
        "The request body is compressed; send it as it is.",
        (
            Parameter(
                "Accept-Encoding",
                "What is taken.",
                Literal["identity"],
                "identity",
                is_required=True,
            ),
        ),
    ),
    HTTPStatus.MISDIRECTED_REQUEST: ProblemText(
        "`Host` names another service.",
        "this service does not go by the name in Host; TASKFLOW_ALLOWED_HOSTS has its names",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: ProblemText(
        "The key's rate limit is used up, or as many tasks wait as may wait.",
        "more than 10 a second are not taken from one client; try again in 1 s",
        (
            _RETRY_AFTER,
            Parameter("RateLimit", "What is left of the limit.", str, '"post";r=0;t=1'),
            Parameter("RateLimit-Policy", "The limit.", str, '"post";q=10;w=1'),
        ),
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: ProblemText(
        "The request is well-formed, but a field or parameter cannot be used, which is named "
        "together with what is allowed; or the payload cannot be kept unchanged.",
        "limit must be a whole number from 1 to 1000",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ProblemText(
        "A header field is longer than 8 KiB, or all of them together are longer than 16 KiB or "
        "more than 100.",
        "a header field is longer than 8192 bytes, or all of them together are longer than 16384",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: ProblemText(
        "A fault in TaskFlow itself.", "a fault in TaskFlow itself; its log has the details"
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ProblemText(
        "Too many clients are connected, the database does not answer, or tasks are not being run. "
        "Whether a task of such a POST was kept is not known.",
        "The task store cannot be reached at the moment; try again shortly.",
        (_RETRY_AFTER,),
    ),
}

_ID_IN_PATH: Final = Parameter("id", "The task's id, as its POST gave it.", uuid.UUID, TASK_ID)
_QUEUE_IN_PATH: Final = Parameter("name", "The name of the queue.", QueueName, "mail")
_NAME_IN_PATH: Final = Parameter("name", "What the schedule goes by.", ScheduleName, SCHEDULE.name)
_HEALTHY: Final = "ok\n"
# What a POST that asks for no body may be answered with.
_BY_HAND: Final = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "Makes it safe to send the same request again: it is answered with what the first one made. "
    "Any text, such as a new UUID for each new request.",
    IdempotencyKeyText,
    "8e03978e-40d5-43dd-bc93-6894a57f9324",
)
PREFER: Final = Parameter(
    "Prefer",
    "`wait=N` waits for the end of the task for up to N seconds, 60 at most; of a stream, "
    "`return=minimal` tells only of lines that made no task (RFC 7240).",
    str,
    "wait=10",
)
PREFERENCE_APPLIED: Final = Parameter(
    "Preference-Applied", "The preference that was followed.", str, "wait=10"
)
TRACEPARENT: Final = Parameter(
    "traceparent",
    "W3C Trace Context, handed on to the target; so is `tracestate`.",
    str,
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
ETAG: Final = Parameter(
    "ETag", "Changes whenever the task does.", str, '"3a90c45b0beee913714a6bf7"', is_required=True
)
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
)
_MANY: Final = (
    (
        "cancel",
        "Call many tasks off",
        "Of all tasks that match, those that are PENDING or RUNNING.",
    ),
    (
        "retry",
        "Run many tasks again",
        "Of all tasks that match, those that are FAILED or CANCELED, from the start.",
    ),
    (
        "delete",
        "Delete many tasks",
        "Of all tasks that match, those that are at their end, with their attempts.",
    ),
)

_QUEUE_VERBS: Final = (
    ("pause", "Start nothing more of a queue", "What runs goes on; what else is asked stays."),
    ("resume", "Start tasks of a queue again", "Those that wait, in their order."),
    ("purge", "Call off what waits in a queue", "All of it that is PENDING becomes CANCELED."),
)

OPERATIONS: Final = (
    Operation(
        method="post",
        path="/tasks",
        name="addTask",
        group="tasks",
        summary="Hand in a task, or many",
        description="Answers when the task is on disk, and never waits for a worker unless it is "
        "asked to. From then on the task comes to its end, whatever is killed. An array of tasks "
        "is kept as a whole or not at all. A stream of them, one to a line, is kept as it comes, "
        "and answered line by line meanwhile.",
        fields=(IDEMPOTENCY_KEY, PREFER, TRACEPARENT),
        query=WaitRequest,
        query_examples={"wait": 10},
        body=TaskRequest | TaskRequests,
        body_examples={
            "once": {"payload": URL},
            "urgent": {"payload": URL, "max_attempts": 3, "priority": 10},
            "request": {
                "payload": {"url": URL, "method": "PUT", "body": {"answer": 42}},
                "queue": "mail",
                "tags": {"customer": 42},
                "delay": 60,
                "backoff": [1, 10, 60],
            },
            "many": [{"payload": URL}, {"payload": f"{URL}?page=2"}],
        },
        also_takes=(
            Content(
                LINES, (TaskRequest,), f'{{"payload": "{URL}"}}\n{{"payload": "{URL}?page=2"}}\n'
            ),
        ),
        answer=Answer(
            status=HTTPStatus.CREATED,
            description="The task as it was stored, or at its end if that was waited for; an array "
            "of tasks for an array.",
            kind=Task | list[Task],
            example=PENDING,
            fields=(
                Parameter("Location", "Where the task is.", str, f"/tasks/{TASK_ID}"),
                PREFERENCE_APPLIED,
            ),
            links=("showTask", "listAttempts", "showResult"),
        ),
        others=(
            Answer(
                description="The same request came before with the same Idempotency-Key: the task "
                "or tasks that it made. Or a stream: what became of each line, and a summary.",
                kind=Task | list[Task],
                example=COMPLETED,
                also=(
                    Content(
                        LINES,
                        (Added, Refused, Summary),
                        f'{{"index":0,"id":"{TASK_ID}"}}\n{{"added":1,"refused":0,"error":null}}\n',
                    ),
                ),
                fields=(
                    Parameter(
                        "Idempotent-Replayed",
                        "That nothing was made.",
                        Literal["true"],
                        "true",
                    ),
                    PREFERENCE_APPLIED,
                ),
            ),
        ),
        problems=(
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.GONE,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
        callback=Callback(
            name="ended",
            address="{$request.body#/callback_url}",
            description="The task at its end, signed as the Standard Webhooks say. Any 2xx will "
            "do, 410 is final, and after any other answer it is sent again, up to ten times. "
            "Redirects are not followed.",
            kind=Task,
            example=TOLD,
            fields=(
                Parameter(
                    "webhook-id",
                    "The id of the callback, the same whenever it is sent again.",
                    uuid.UUID,
                    CALLBACK_ID,
                    is_required=True,
                ),
                Parameter(
                    "webhook-timestamp",
                    "When it was sent, in seconds since 1970.",
                    int,
                    1_795_503_470,
                    is_required=True,
                ),
                Parameter(
                    "webhook-signature",
                    "`v1,` and HMAC-SHA256 in base64, for each secret, with spaces between them.",
                    str,
                    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                    is_required=True,
                ),
            ),
        ),
    ),
    Operation(
        method="get",
        path="/tasks",
        name="listTasks",
        group="tasks",
        summary="List tasks, the newest first",
        description="By pages, or with `Accept: application/x-ndjson` all that match, one after "
        "the other as they are read. A task has to match all that is given; without a filter all "
        "tasks do. A page costs no more however many tasks there are, so it may have fewer tasks "
        "than the limit, even none, and still lead to a next one: `Link` says whether there is "
        "one. Each parameter but `tag` may be given once; unknown ones are refused.",
        query=PageRequest,
        query_examples={
            "limit": 20,
            "status": [TaskStatus.FAILED, TaskStatus.CANCELED],
            "queue": DEFAULT_QUEUE,
            "tag": ["color:red"],
            "host": "example.com",
            "error_type": ErrorType.TIMEOUT,
            "created_after": COMPLETED.created_at,
            "created_before": COMPLETED.created_at,
            "finished_after": COMPLETED.created_at,
            "finished_before": COMPLETED.created_at,
            "url": "/invoices/",
            "fields": ["id", "status"],
            "cursor": cursor_of(TASK_ID),
        },
        query_repeated=("tag",),
        answer=Answer(
            description="A page; or a stream, whose last line is an object with a problem as its "
            "`error` if it breaks off.",
            kind=list[Task],
            picked_kind=list[TaskFields],  # type: ignore[valid-type]  # made above
            example=[COMPLETED],
            also=(
                Content(
                    LINES,
                    (Task, TaskFields, Broken),
                    f'{{"id":"{TASK_ID}","status":"COMPLETED"}}\n',
                ),
            ),
            fields=(
                Parameter(
                    "Link",
                    "Leads to the next page, if there is one.",
                    str,
                    f'</tasks?limit=20&cursor={cursor_of(TASK_ID)}>; rel="next"',
                ),
            ),
        ),
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    *(
        Operation(
            method="post",
            path=f"/tasks/{verb}",
            name=f"{verb}Tasks",
            group="tasks",
            summary=summary,
            description=f"{description} Those that come to another state meanwhile are passed "
            "over, as are tasks that are handed in meanwhile. After 10 seconds it answers how far "
            "it came: the same request again goes on. With `dry_run` they are only counted.",
            body=ManyRequest,
            body_examples={
                "some": {"queue": DEFAULT_QUEUE, "host": "example.com", "dry_run": True},
                "all": {"all": True},
            },
            answer=Answer(
                description="How many it were.",
                kind=ManyMoved,
                example=ManyMoved(1250, is_complete=True, dry_run=False),
            ),
            problems=(
                HTTPStatus.REQUEST_TIMEOUT,
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                HTTPStatus.UNPROCESSABLE_ENTITY,
                HTTPStatus.TOO_MANY_REQUESTS,
                HTTPStatus.SERVICE_UNAVAILABLE,
            ),
        )
        for verb, summary, description in _MANY
    ),
    Operation(
        method="get",
        path="/tasks/{id}",
        name="showTask",
        group="tasks",
        summary="How a task stands",
        description="With its result, or why it failed, once it is at its end. With a wait: once "
        "it is at its end, or once it stands otherwise than who asks knows by `If-None-Match`, and "
        "after so many seconds in any case.",
        path_parameters=(_ID_IN_PATH,),
        fields=(
            PREFER,
            Parameter("If-None-Match", "The `ETag` of what is known already.", str, '"3a90c45b"'),
        ),
        query=ShowRequest,
        query_examples={"fields": ["id", "status"], "wait": 10},
        answer=Answer(
            description="The task.",
            kind=Task,
            picked_kind=TaskFields,
            example=COMPLETED,
            fields=(ETAG, PREFERENCE_APPLIED),
        ),
        others=(
            Answer(
                status=HTTPStatus.NOT_MODIFIED,
                description="It stands as it is known already.",
                fields=(ETAG, PREFERENCE_APPLIED),
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
        path="/tasks/{id}/events",
        name="watchTask",
        group="events",
        summary="What happens to a task, as it happens",
        description="Server-sent events, from how it stands now to its end.",
        path_parameters=(_ID_IN_PATH,),
        fields=(LAST_EVENT_ID,),
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
        query_examples={"queue": DEFAULT_QUEUE, "tag": ["customer:42"]},
        query_repeated=("tag",),
        answer=EVENTS,
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
    Operation(
        method="get",
        path="/tasks/{id}/attempts",
        name="listAttempts",
        group="tasks",
        summary="How each attempt at a task went",
        description="In the order in which they were made; a running one is the last.",
        path_parameters=(_ID_IN_PATH,),
        answer=Answer(
            description="The attempts; none for a task that has not been run.",
            kind=list[AttemptRecord],
            example=[ATTEMPT],
        ),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="post",
        path="/tasks/{id}/cancel",
        name="cancelTask",
        group="tasks",
        summary="Call a task off",
        description="One that is running is cut off, on whichever node, and never runs by itself "
        "again. A body is passed over.",
        path_parameters=(_ID_IN_PATH,),
        answer=Answer(description="The task, CANCELED.", kind=Task, example=CANCELED),
        problems=_BY_HAND,
    ),
    Operation(
        method="post",
        path="/tasks/{id}/retry",
        name="retryTask",
        group="tasks",
        summary="Run a FAILED or CANCELED task again",
        description="From the start, with all its attempts before it; those that were made stay "
        "listed. A body is passed over.",
        path_parameters=(_ID_IN_PATH,),
        answer=Answer(description="The task, PENDING.", kind=Task, example=PENDING),
        problems=_BY_HAND,
    ),
    Operation(
        method="delete",
        path="/tasks/{id}",
        name="deleteTask",
        group="tasks",
        summary="Delete a task that is at its end",
        description="With its attempts. One that is not at its end has to be canceled first.",
        path_parameters=(_ID_IN_PATH,),
        answer=Answer(status=HTTPStatus.NO_CONTENT, description="It is gone."),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="get",
        path="/tasks/{id}/result",
        name="showResult",
        group="tasks",
        summary="What the target answered, as it answered it",
        description="The body of a COMPLETED task: JSON to the byte, text in UTF-8, anything else "
        "as the bytes that came. Its media type is the target's own if it can be trusted to be "
        "one. It is to be saved, not shown: browsers run nothing in it.",
        path_parameters=(_ID_IN_PATH,),
        answer=Answer(
            description="The body.",
            kind=Any,
            example={"answer": 42},
            media_type="*/*",
            fields=(
                Parameter(
                    "Content-Disposition",
                    "A name to save it by.",
                    str,
                    f'attachment; filename="{TASK_ID}.json"',
                    is_required=True,
                ),
            ),
        ),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="get",
        path="/queues",
        name="listQueues",
        group="queues",
        summary="All queues, by name",
        description="Those of which anything was asked, and those that have tasks or had one that "
        "ended within the hour; the first 1,000. Any other is shown when it is asked for by name.",
        answer=Answer(description="The queues.", kind=list[Queue], example=[QUEUE]),
        problems=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Operation(
        method="get",
        path="/queues/{name}",
        name="showQueue",
        group="queues",
        summary="What is asked of a queue, and how it stands",
        description="A queue is there once a task was handed in to it or anything was asked of it.",
        path_parameters=(_QUEUE_IN_PATH,),
        answer=Answer(description="The queue.", kind=Queue, example=QUEUE),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="put",
        path="/queues/{name}",
        name="putQueue",
        group="queues",
        summary="Pause a queue, or limit it",
        description="In place of all that was asked of it before. It holds from the answer on for "
        "whatever starts, over all nodes together; what runs already goes on.",
        path_parameters=(_QUEUE_IN_PATH,),
        body=QueueRequest,
        body_examples={
            "limited": {"max_concurrency": 10, "rate": 5, "per_host": {"max_concurrency": 2}},
            "in bursts": {"rate": {"per_second": 0.5, "burst": 10}},
            "paused": {"paused": True},
            "free": {},
        },
        answer=Answer(description="The queue.", kind=Queue, example=QUEUE),
        others=(
            Answer(
                status=HTTPStatus.CREATED,
                description="The queue, of which nothing was asked before.",
                kind=Queue,
                example=QUEUE,
            ),
        ),
        problems=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    ),
    *(
        Operation(
            method="post",
            path=f"/queues/{{name}}/{verb}",
            name=f"{verb}Queue",
            group="queues",
            summary=summary,
            description=f"{description} A body is passed over.",
            path_parameters=(_QUEUE_IN_PATH,),
            answer=Answer(description="The queue.", kind=Queue, example=QUEUE)
            if verb != "purge"
            else Answer(
                description="How many tasks were canceled.",
                kind=ManyMoved,
                example=ManyMoved(1250, is_complete=True, dry_run=False),
            ),
            problems=(
                HTTPStatus.NOT_FOUND,
                HTTPStatus.REQUEST_TIMEOUT,
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                HTTPStatus.TOO_MANY_REQUESTS,
                HTTPStatus.SERVICE_UNAVAILABLE,
            ),
        )
        for verb, summary, description in _QUEUE_VERBS
    ),
    Operation(
        method="get",
        path="/stats",
        name="showStatistics",
        group="tasks",
        summary="How many tasks stand how, wait, and end",
        description="By queue and in all, at the same cost however many tasks there are. At most "
        "1,000 queues are listed; any other is told of when `queue` names it.",
        query=StatisticsRequest,
        query_examples={"queue": DEFAULT_QUEUE},
        answer=Answer(
            description="The statistics of this moment.",
            kind=TaskStatistics,
            example=STATISTICS,
        ),
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="put",
        path="/schedules/{name}",
        name="putSchedule",
        group="schedules",
        summary="Make or replace a schedule",
        description="All of it is put in the place of what was there. A schedule that is handed in "
        "again with the same times keeps them, also those it has not dealt with yet.",
        path_parameters=(_NAME_IN_PATH,),
        fields=(Parameter("If-None-Match", "`*` does not replace one.", Literal["*"], "*"),),
        body=ScheduleRequest,
        body_examples={
            "cron": {
                "cron": SCHEDULE.cron,
                "timezone": SCHEDULE.timezone,
                "task": {"payload": URL},
            },
            "every": {"every": 300, "missed": "skip", "task": {"payload": URL, "queue": "mail"}},
            "conditional": {"every": 60, "conditional": True, "task": {"payload": URL}},
        },
        answer=Answer(description="The schedule.", kind=Schedule, example=SCHEDULE),
        others=(
            Answer(
                status=HTTPStatus.CREATED,
                description="The schedule, which is new.",
                kind=Schedule,
                example=SCHEDULE,
                fields=(Parameter("Location", "Where it is.", str, f"/schedules/{SCHEDULE.name}"),),
            ),
        ),
        problems=(
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.PRECONDITION_FAILED,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/schedules",
        name="listSchedules",
        group="schedules",
        summary="List schedules by name",
        description="By pages; `Link` says whether there is a next one.",
        query=SchedulesRequest,
        query_examples={"limit": 20, "cursor": SCHEDULE.name},
        answer=Answer(
            description="A page.",
            kind=list[Schedule],
            example=[SCHEDULE],
            fields=(
                Parameter(
                    "Link",
                    "Leads to the next page, if there is one.",
                    str,
                    f'</schedules?limit=20&cursor={SCHEDULE.name}>; rel="next"',
                ),
            ),
        ),
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="get",
        path="/schedules/{name}",
        name="showSchedule",
        group="schedules",
        summary="How a schedule stands",
        description="What it is, when it is due next, and what it did last.",
        path_parameters=(_NAME_IN_PATH,),
        answer=Answer(description="The schedule.", kind=Schedule, example=SCHEDULE),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="delete",
        path="/schedules/{name}",
        name="deleteSchedule",
        group="schedules",
        summary="Delete a schedule",
        description="The tasks that it made stay.",
        path_parameters=(_NAME_IN_PATH,),
        answer=Answer(status=HTTPStatus.NO_CONTENT, description="It is gone."),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="post",
        path="/schedules/{name}/run",
        name="runSchedule",
        group="schedules",
        summary="Make a task of a schedule now",
        description="Paused or not; its times stay as they are. A body is passed over.",
        path_parameters=(_NAME_IN_PATH,),
        answer=Answer(
            status=HTTPStatus.CREATED,
            description="The task.",
            kind=Task,
            example=msgspec.structs.replace(PENDING, schedule=SCHEDULE.name),
            fields=(Parameter("Location", "Where the task is.", str, f"/tasks/{TASK_ID}"),),
        ),
        problems=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/livez",
        name="isAlive",
        group="health",
        summary="Whether the process lives",
        description="200 while it can answer at all.",
        is_open=True,
        answer=Answer(
            description="It lives.",
            kind=Literal["ok\n"],
            example=_HEALTHY,
            media_type="text/plain",
        ),
    ),
    Operation(
        method="get",
        path="/readyz",
        name="isReady",
        group="health",
        summary="Whether it takes tasks and runs them",
        description="Asks the database, and looks whether the workers are running.",
        is_open=True,
        answer=Answer(
            description="It does.",
            kind=Literal["ok\n"],
            example=_HEALTHY,
            media_type="text/plain",
        ),
        problems=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Operation(
        method="get",
        path="/openapi.json",
        name="describe",
        group="health",
        summary="This document",
        description="Made at the start from the types that requests are validated by.",
        answer=Answer(
            description="OpenAPI 3.1.",
            kind=dict[str, Any],
            example={"openapi": "3.1.0", "info": {"title": "TaskFlow", "version": "0.1.0"}},
        ),
    ),
)
