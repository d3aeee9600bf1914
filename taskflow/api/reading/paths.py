"""Names and ids in paths."""

from __future__ import annotations

import re
import uuid
from typing import Final

from taskflow.model.errors import (
    AlertNotFound,
    CredentialNotFound,
    EndpointNotFound,
    FailureNotFound,
    GroupNotFound,
    HeartbeatNotFound,
    QueueNotFound,
    RequestError,
    ScheduleNotFound,
    TaskNotFound,
    TopicNotFound,
    Unprocessable,
)
from taskflow.model.task import NAME_RULE, is_name

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def task_id_of(text: str) -> uuid.UUID:
    """Read a task's id.

    Raises:
        TaskNotFound: It is not an id, so no task has it.
    """
    if not _UUID.fullmatch(text):
        raise TaskNotFound("no task has this id; an id is a UUID")
    return uuid.UUID(text)


def group_id_of(text: str) -> uuid.UUID:
    """Read a group's id.

    Raises:
        GroupNotFound: It is not an id, so no group has it.
    """
    if not _UUID.fullmatch(text):
        raise GroupNotFound("no group has this id; an id is a UUID")
    return uuid.UUID(text)


def failure_id_of(text: str) -> uuid.UUID:
    """Read a failure's id.

    Raises:
        FailureNotFound: It is not an id, so no failure has it.
    """
    if not _UUID.fullmatch(text):
        raise FailureNotFound("no failure has this id; an id is a UUID")
    return uuid.UUID(text)


def queue_name_of(text: str) -> str:
    """Read the name of a queue.

    Raises:
        QueueNotFound: It is not a name, so no queue has it.
    """
    if not is_name(text):
        raise QueueNotFound(f"a queue's name is {NAME_RULE}")
    return text


def new_topic_name_of(text: str) -> str:
    """Read the name of a topic that may be new.

    Raises:
        Unprocessable: It is not a name.
    """
    return _new_name(text, "a topic")


def topic_name_of(text: str) -> str:
    """Read the name of a topic that exists.

    Raises:
        TopicNotFound: It is not a name, so no topic has it.
    """
    return _known_name(text, TopicNotFound, "topic")


def new_endpoint_name_of(text: str) -> str:
    """Read the name of an endpoint that may be new.

    Raises:
        Unprocessable: It is not a name.
    """
    return _new_name(text, "an endpoint")


def endpoint_name_of(text: str) -> str:
    """Read the name of an endpoint that exists.

    Raises:
        EndpointNotFound: It is not a name, so no endpoint has it.
    """
    return _known_name(text, EndpointNotFound, "endpoint")


def new_schedule_name_of(text: str) -> str:
    """Read the name of a schedule that may be new.

    Raises:
        Unprocessable: It is not a name.
    """
    return _new_name(text, "a schedule")


def schedule_name_of(text: str) -> str:
    """Read the name of a schedule that exists.

    Raises:
        ScheduleNotFound: It is not a name, so no schedule has it.
    """
    return _known_name(text, ScheduleNotFound, "schedule")


def new_heartbeat_name_of(text: str) -> str:
    """Read the name of a heartbeat that may be new.

    Raises:
        Unprocessable: It is not a name.
    """
    return _new_name(text, "a heartbeat")


def heartbeat_name_of(text: str) -> str:
    """Read the name of a heartbeat that exists.

    Raises:
        HeartbeatNotFound: It is not a name, so no heartbeat has it.
    """
    return _known_name(text, HeartbeatNotFound, "heartbeat")


def new_credential_name_of(text: str) -> str:
    """Read the name of a credential that may be new.

    Raises:
        Unprocessable: It is not a name.
    """
    return _new_name(text, "a credential")


def credential_name_of(text: str) -> str:
    """Read the name of a credential that exists.

    Raises:
        CredentialNotFound: It is not a name, so no credential has it.
    """
    return _known_name(text, CredentialNotFound, "credential")


def new_alert_name_of(text: str) -> str:
    """Read the name of an alert that may be new.

    Raises:
        Unprocessable: It is not a name.
    """
    return _new_name(text, "an alert")


def alert_name_of(text: str) -> str:
    """Read the name of an alert that exists.

    Raises:
        AlertNotFound: It is not a name, so no alert has it.
    """
    return _known_name(text, AlertNotFound, "alert")


def _new_name(text: str, owner: str) -> str:
    if not is_name(text):
        raise Unprocessable(f"the name of {owner} must be {NAME_RULE}")
    return text


def _known_name(text: str, error: type[RequestError], owner: str) -> str:
    if not is_name(text):
        raise error(f"there is no {owner} with this name; a name is {NAME_RULE}")
    return text
