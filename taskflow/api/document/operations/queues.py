"""Queues: what is asked of them, and how they stand."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from taskflow.api.bulk_actions import ManyMoved
from taskflow.api.document.examples import QUEUE
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import MERGE_PATCH, Answer, Parameter
from taskflow.api.reading.queue_settings import QueuePatch, QueueRequest
from taskflow.model.queues import Queue
from taskflow.model.task import QueueName

_QUEUE_IN_PATH: Final = Parameter("name", "The name of the queue.", QueueName, "mail")
_QUEUE_VERBS: Final = (
    ("pause", "Start nothing more of a queue", "What runs goes on; what else is asked stays."),
    ("resume", "Start tasks of a queue again", "Those that wait, in their order."),
    ("purge", "Cancel the pending tasks of a queue", "All of its PENDING tasks become CANCELED."),
)

_NEW_QUEUE: Final = Answer(
    status=HTTPStatus.CREATED,
    description="The queue, which had no settings before.",
    kind=Queue,
    example=QUEUE,
)
_PROBLEMS_OF_CHANGES: Final = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

QUEUES: Final = (
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
        summary="Replace the limits of a queue",
        description="A limit that is not given is lifted; `PATCH` changes one alone. A queue that "
        "is paused stays so unless `paused` says otherwise. The limits hold from the answer on for "
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
        others=(_NEW_QUEUE,),
        problems=_PROBLEMS_OF_CHANGES,
    ),
    Operation(
        method="patch",
        path="/queues/{name}",
        name="patchQueue",
        group="queues",
        summary="Change some settings of a queue",
        description="A JSON merge patch (RFC 7396): a setting that is not given stays as it is, "
        "null removes a limit. Of concurrent changes of different settings none is lost.",
        path_parameters=(_QUEUE_IN_PATH,),
        body=QueuePatch,
        body_type=MERGE_PATCH,
        body_examples={
            "one limit": {"rate": 5},
            "a limit removed": {"max_concurrency": None},
            "a limit of each host": {"per_host": {"max_concurrency": 2}},
            "paused": {"paused": True},
        },
        answer=Answer(description="The queue.", kind=Queue, example=QUEUE),
        others=(_NEW_QUEUE,),
        problems=_PROBLEMS_OF_CHANGES,
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
)
