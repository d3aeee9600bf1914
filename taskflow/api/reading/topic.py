"""What the routes under ``/topics`` accept, as topics, endpoints and events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from taskflow.api.reading.kept_credentials import is_masked, with_kept_credentials
from taskflow.model.endpoint_secrets import seal_secret, unseal_secret
from taskflow.model.errors import (
    FieldError,
    KeyMissing,
    RequestError,
    Undecryptable,
    Unprocessable,
)
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.keyring import Keyring
from taskflow.model.masking import Masking
from taskflow.model.request import RequestPayload
from taskflow.model.signature import SECRET_SHAPE, secret_of
from taskflow.model.task import DEFAULT_QUEUE, NewTask
from taskflow.model.topic_events import NewEvent
from taskflow.model.topics import (
    ALL_TYPES,
    MAX_ENDPOINT_BYTES,
    EndpointChange,
    EndpointDefinition,
    StoredEndpoint,
    Topic,
    TopicChange,
)
from taskflow.model.untrusted_text import is_too_deep
from taskflow.model.url import parse_target
from taskflow.schema.json_text import object_fields, refuse_depth
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.schema.new_task import new_task_of
from taskflow.schema.reader import Fields, Reader, check_name
from taskflow.schema.topics import (
    ENDPOINT_ONLY_SHOWN,
    TOPIC_ONLY_SHOWN,
    EndpointRequest,
    EventRequest,
    RecoverRequest,
    RotationRequest,
    TopicRequest,
)
from taskflow.schema.validation_errors import ValidationErrors

HOW_ENDPOINT: Final = 'send a JSON object such as {"url": "https://example.com/webhooks"}'
HOW_EVENT: Final = 'send a JSON object such as {"type": "invoice.paid", "data": {"invoice": 4711}}'
HOW_TOPIC: Final = 'send a JSON object such as {"queue": "webhooks"}, or {}'
HOW_ROTATION: Final = 'send a JSON object such as {"overlap_seconds": 86400}, or {}'
HOW_RECOVER: Final = 'send a JSON object such as {"since": "2026-11-24T06:57:50Z"}'
NO_KEYS_FOR_SECRETS: Final = (
    "signing_secret cannot be stored: there is no key to encrypt it with; set "
    "TASKFLOW_ENCRYPTION_KEYS on all nodes to what `taskflow secret new --encryption` prints"
)
_NO_SIGNER: Final = (
    "signing_secret is missing: there is no secret to sign with; send one, or set "
    "TASKFLOW_WEBHOOK_SECRETS to what `taskflow secret new` prints"
)
_NULL: Final = b"null"
RETRY_ON: Final = ("3xx", "4xx", "5xx")
"""Statuses after which a delivery is sent again, but for 410."""


def _secret_of(text: bytes, errors: ValidationErrors) -> bytes | None:
    """Return a signing secret. No error repeats it."""
    if text == _NULL:
        return None
    try:
        return secret_of(msgspec.json.decode(text, type=str))
    except ValueError:
        errors.add("/signing_secret", f"signing_secret must be {SECRET_SHAPE}")
        return None


_TOPICS: Final = Reader(TopicRequest, ignored=TOPIC_ONLY_SHOWN)
_ENDPOINTS: Final = Reader(
    EndpointRequest,
    ignored=ENDPOINT_ONLY_SHOWN,
    elsewhere=[(set(RequestPayload.__struct_fields__) - {"url"}, "{} is set by TaskFlow")],
    custom={"signing_secret": _secret_of},
)
_EVENTS: Final = Reader(EventRequest, custom={"data": lambda text, _: text})
_ROTATIONS: Final = Reader(RotationRequest, custom={"signing_secret": _secret_of})
_RECOVERIES: Final = Reader(RecoverRequest)
_OF_THE_REQUEST: Final = ("url", "headers", "timeout_seconds")
_OF_THE_TASK: Final = ("credential", "backoff", "max_attempts")
_WEBHOOK: Final = msgspec.Raw(b'"webhook"')


def topic_change_of(body: bytes, name: str) -> TopicChange:
    """Read a topic. Without a queue, an existing one keeps its queue.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    fields, errors = object_fields(body, how=HOW_TOPIC), ValidationErrors()
    given = _TOPICS.read(fields, errors)
    check_name(fields, name, errors)
    errors.raise_if_any()
    queue: str | None = given.get("queue")

    def change(before: Topic | None) -> str:
        return queue or (before.queue if before else DEFAULT_QUEUE)

    return change


def event_of(body: bytes, topic: str, trace: Mapping[str, str]) -> NewEvent:
    """Read an event.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    fields, errors = object_fields(body, how=HOW_EVENT), ValidationErrors()
    data = fields.get("data")
    if data is not None and is_too_deep(bytes(data)):
        refuse_depth()
    given = _EVENTS.read(fields, errors)
    for name in EventRequest.__struct_fields__:
        if name not in fields:
            errors.add(f"/{name}", f"{name} is missing; {HOW_EVENT}")
    errors.raise_if_any()
    assert data is not None
    return NewEvent(topic=topic, type=given["type"], data=data.copy(), trace=trace)


def rotation_of(body: bytes) -> tuple[bytes | None, float | None]:
    """Read the new secret of an endpoint, and how long the former one signs, too.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    errors = ValidationErrors()
    given = _ROTATIONS.read(object_fields(body or b"{}", how=HOW_ROTATION), errors)
    errors.raise_if_any()
    return given.get("signing_secret"), given.get("overlap_seconds")


def recovery_of(body: bytes) -> RecoverRequest:
    """Read which deliveries are to be sent again.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    fields, errors = object_fields(body, how=HOW_RECOVER), ValidationErrors()
    given = _RECOVERIES.read(fields, errors)
    if "since" not in fields:
        errors.add("/since", f"since is missing; {HOW_RECOVER}")
    errors.raise_if_any()
    return RecoverRequest(given["since"])


class EndpointReading(msgspec.Struct, frozen=True):
    """What an endpoint is read with.

    Attributes:
        topic: The name of the topic, from the path.
        name: The name of the endpoint, from the path.
        max_attempts: The number of attempts of tasks that do not say how many they get.
        has_shared_secrets: Whether there are secrets of the service to sign with.
        masking: What is masked where an endpoint is shown.
        credentials: The credentials that exist.
        keyring: Encrypts its signing secret.
    """

    topic: str
    name: str
    max_attempts: int
    has_shared_secrets: bool
    masking: Masking
    credentials: KnownCredentials
    keyring: Keyring

    def change_of(self, body: bytes) -> EndpointChange:
        """Read an endpoint.

        The change raises ``Unprocessable`` if there are masked values that it does not have.

        Raises:
            BadRequest: The body is not a JSON object.
            Unprocessable: Fields are invalid.
        """
        fields, errors = object_fields(body, how=HOW_ENDPOINT), ValidationErrors()
        given = _ENDPOINTS.read(fields, errors)
        check_name(fields, self.name, errors)
        _check_url(fields, given.get("url"), errors)
        secret: bytes | None = given.get("signing_secret")
        if secret is not None and not self.keyring:
            errors.add("/signing_secret", NO_KEYS_FOR_SECRETS)
        errors.raise_if_any()
        document = _document_of(fields)
        if len(document) > MAX_ENDPOINT_BYTES:
            what = f"url and headers must have at most {MAX_ENDPOINT_BYTES} bytes together"
            raise Unprocessable(what, errors=[FieldError("#/headers", what)])
        # Masked values can be read only with the stored ones; anything else before the store.
        known = None if is_masked(document) else self._template_of(document)

        def change(before: StoredEndpoint | None) -> EndpointDefinition:
            template = known or self._template_of(self._with_kept(document, before))
            sealed = self._sealed(secret, before)
            if sealed is None and not self.has_shared_secrets:
                raise Unprocessable(_NO_SIGNER)
            enabled = given.get("enabled")
            was_enabled = before is None or before.definition.is_enabled
            return EndpointDefinition(
                topic=self.topic,
                name=self.name,
                event_types=given.get("event_types") or (ALL_TYPES,),
                queue=given.get("queue"),
                template=template,
                is_enabled=was_enabled if enabled is None else enabled,
                secret=sealed,
            )

        return change

    def _template_of(self, document: bytes) -> NewTask:
        errors = ValidationErrors()
        try:
            task = new_task_of(document, max_attempts=self.max_attempts, can_sign=True)
        except RequestError as error:
            _add_of_task(error, errors)
            errors.raise_if_any()
            raise
        self.credentials.check(task.options.credential, errors)
        errors.raise_if_any()
        return task

    def _with_kept(self, document: bytes, before: StoredEndpoint | None) -> bytes:
        if before is None:
            return document
        stored = {"payload": before.definition.template.payload}
        kept = msgspec.Raw(msgspec.json.encode(stored))
        return bytes(with_kept_credentials(msgspec.Raw(document), kept, self.masking))

    def _sealed(self, secret: bytes | None, before: StoredEndpoint | None) -> bytes | None:
        """Return the secret as it is stored: as before, unless there is another one."""
        stored = None if before is None else before.definition.secret
        full_name = f"{self.topic}/{self.name}"
        if secret is None:
            return stored
        if stored is not None:
            try:
                if unseal_secret(stored, full_name, self.keyring) == secret:
                    return stored
            except (KeyMissing, Undecryptable):
                pass  # it is replaced
        return seal_secret(secret, full_name, self.keyring)


def _document_of(fields: Fields) -> bytes:
    """Return the template of the deliveries, as ``POST /tasks`` accepts a task."""
    given = {name: text for name, text in fields.items() if bytes(text) != _NULL}
    payload: dict[str, msgspec.Raw] = {
        name: given[name] for name in _OF_THE_REQUEST if name in given
    }
    payload |= {"method": msgspec.Raw(b'"POST"'), "follow_redirects": msgspec.Raw(b"false")}
    document: dict[str, Any] = {"payload": payload, "backoff": _WEBHOOK}
    document |= {name: given[name] for name in _OF_THE_TASK if name in given}
    return msgspec.json.encode(document | {"sign": True, "retry_on": RETRY_ON})


def _check_url(fields: Fields, url: str | None, errors: ValidationErrors) -> None:
    if bytes(fields.get("url", _NULL)) == _NULL:
        errors.add("/url", f"url is missing; {HOW_ENDPOINT}")
    if url is not None:
        try:
            parse_target(url)
        except InvalidUrl as error:
            why = str(error).removeprefix("invalid url: ")
            errors.add("/url", f"url is not valid: {why}")


def _add_of_task(error: RequestError, errors: ValidationErrors) -> None:
    """Add the errors of the template, with their places in the endpoint."""
    found = error.errors if isinstance(error, Unprocessable) else ()
    for one in found:
        pointer = one.pointer.removeprefix("#").removeprefix("/payload")
        errors.add(pointer, one.detail.replace("payload.", ""))
