"""Encryption of payloads and results at rest: what is encrypted, and how it is stored and read.

An encrypted document (``model/sealed_document.py``) is bound to its place: a payload to its queue,
a response to its task. A copy in another place is not decrypted. So a client with an API key for
some queues, who can also write to the database, cannot use the API to read payloads of others.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Mapping
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.model.errors import KeyMissing, Undecryptable
from taskflow.model.groups import Group, NewGroup
from taskflow.model.keyring import NO_KEYS, Keyring
from taskflow.model.masking import MASKING, Masking
from taskflow.model.outcome import KeptResponse, Response, reason_phrase, response_of
from taskflow.model.schedule import Schedule, ScheduleDefinition
from taskflow.model.sealed_document import (
    SEALED_START,
    body_beside,
    data_of,
    is_sealed,
    sealed_of,
    sealed_part_of,
    with_body,
)
from taskflow.model.task import AttemptRecord, Claim, NewTask, Task
from taskflow.model.topics import EndpointDefinition, StoredEndpoint

Part: TypeAlias = Literal["payloads", "results"]

_CANNOT: Final = (KeyMissing, Undecryptable)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Readable(msgspec.Struct, frozen=True):
    """The fields of a response that are not encrypted."""

    status_code: int = 0
    elapsed_seconds: float = 0.0
    size: int = 0
    not_modified: Literal[True] | UnsetType = UNSET


_READABLE: Final = msgspec.json.Decoder(_Readable)
_DEFINITION: Final = msgspec.json.Decoder(ScheduleDefinition)
_IDENTITY: Final = msgspec.json.Decoder(tuple[str, uuid.UUID])


class Encryption:
    """Encrypts what a store keeps, and decrypts what it returns.

    Args:
        keyring: The keys.
        parts: The parts of new tasks to encrypt. All data with a known key is decrypted.
        masking: Masks credentials in tasks that are shown or sent.
    """

    def __init__(
        self, keyring: Keyring, parts: Collection[Part] = (), masking: Masking = MASKING
    ) -> None:
        self.keyring: Final = keyring
        self.has_payloads: Final = "payloads" in parts
        self.has_results: Final = "results" in parts
        self._masking: Final = masking

    # What is stored

    def seal_task(self, task: NewTask) -> NewTask:
        """Return a new task as it is stored."""
        if not self.has_payloads:
            return task
        sealed = self._sealed(bytes(task.payload), _payload_place(task.queue))
        return msgspec.structs.replace(task, payload=msgspec.Raw(sealed))

    def seal_result(self, result: bytes | None, task_id: uuid.UUID) -> bytes | None:
        """Return the result of a task (JSON of a ``Response``) as it is stored."""
        if result is None or not self.has_results:
            return result
        readable = _READABLE.decode(result)
        return msgspec.json.encode(
            Response(
                message="fetched",
                status=_status_text(readable.status_code),
                result=msgspec.Raw(self._sealed(result, _response_place(task_id))),
                headers={},
                content_type=None,
                encoding="json",
                url="",
                **msgspec.structs.asdict(readable),
            )
        )

    def seal_response(self, response: bytes | None, task_id: uuid.UUID) -> bytes | None:
        """Return the response of a failed attempt (JSON of a ``KeptResponse``) as it is stored."""
        kept = response_of(response)
        if response is None or isinstance(kept, UnsetType) or not self.has_results:
            return response
        sealed = msgspec.structs.replace(
            kept,
            status=_status_text(kept.status_code),
            headers={},
            content_type=None,
            body=msgspec.Raw(self._sealed(response, _response_place(task_id))),
            encoding="json",
            url="",
        )
        return msgspec.json.encode(sealed)

    def seal_schedule(
        self, after: ScheduleDefinition, before: ScheduleDefinition | None
    ) -> ScheduleDefinition:
        """Return a definition as it is stored.

        Unchanged parts keep their ciphertext: the next fetch is then still compared with the last
        one, and no change of the template is recorded.

        Args:
            after: The definition.
            before: The definition that is stored, if there is one.
        """
        if not self.has_payloads:
            return after
        template = after.template
        payload = self._sealed_again(
            None if before is None else before.template.payload,
            template.payload,
            _payload_place(template.queue),
        )
        task = self._sealed_again(
            None if before is None else before.task, after.task, _schedule_place(after.name)
        )
        template = msgspec.structs.replace(template, payload=payload)
        return msgspec.structs.replace(after, task=task, template=template)

    def seal_group(self, group: NewGroup) -> NewGroup:
        """Return a new group as it is stored: its completion task is encrypted."""
        if not self.has_payloads or group.on_complete is None or group.completion is None:
            return group
        sealed = self._sealed(bytes(group.on_complete), _group_place(group.queue))
        completion = self.seal_task(group.completion)
        return msgspec.structs.replace(
            group, on_complete=msgspec.Raw(sealed), completion=completion
        )

    def seal_endpoint(self, definition: EndpointDefinition) -> EndpointDefinition:
        """Return an endpoint as it is stored: its template is encrypted."""
        template = definition.template
        if not self.has_payloads or is_sealed(bytes(template.payload)):
            return definition
        sealed = self._sealed(bytes(template.payload), _endpoint_place(definition.full_name))
        template = msgspec.structs.replace(template, payload=msgspec.Raw(sealed))
        return msgspec.structs.replace(definition, template=template)

    def seal_poll_url(self, url: str | None, task_id: uuid.UUID) -> str | None:
        """Return the URL that a parked attempt of a task is polled at, as it is stored."""
        if url is None or not self.has_payloads:
            return url
        return self._sealed(url.encode(), _poll_url_place(task_id)).decode()

    # What is shown; it stays encrypted if the key is missing or the data was changed

    def seal_note(self, note: bytes | None) -> bytes | None:
        """Return the body of a ping as it is stored."""
        if note is None or not self.has_results:
            return note
        return self._sealed(note, _NOTE_PLACE)

    def opened_note(self, note: bytes | None) -> bytes | None:
        """Return a stored body of a ping decrypted; ``None`` if that is not possible."""
        if note is None or not is_sealed(note):
            return note
        try:
            return bytes(self._opened(msgspec.Raw(note), _NOTE_PLACE))
        except _CANNOT:
            return None

    def opened_task(self, task: Task) -> Task:
        """Return a task with its payload and its result decrypted; not masked."""
        payload, result = task.payload, task.result
        with contextlib.suppress(*_CANNOT):
            payload = self._open_payload(payload, task.queue, callback_of=task.callback_of)
        if result is not None:
            result = self.opened_result(result, task.id)
        if payload is task.payload and result is task.result:
            return task
        return msgspec.structs.replace(task, payload=payload, result=result)

    def shown_task(self, task: Task) -> Task:
        """Return a task with its payload and its result decrypted and masked."""
        opened = self.opened_task(task)
        return task if opened is task else self._masking.task(opened)

    def opened_result(self, result: msgspec.Raw, task_id: uuid.UUID) -> msgspec.Raw:
        """Return the decrypted result of a task."""
        sealed = sealed_part_of(result)
        try:
            return result if sealed is None else self._opened(sealed, _response_place(task_id))
        except _CANNOT:
            return result

    def shown_attempt(self, attempt: AttemptRecord, task_id: uuid.UUID) -> AttemptRecord:
        """Return an attempt with its response decrypted."""
        kept = attempt.response
        if not isinstance(kept, KeptResponse) or kept.url or not is_sealed(bytes(kept.body)):
            return attempt
        try:
            opened = response_of(self._opened(kept.body, _response_place(task_id)))
        except _CANNOT:
            return attempt
        return msgspec.structs.replace(attempt, response=opened)

    def shown_schedule(self, schedule: Schedule) -> Schedule:
        """Return a schedule with its task decrypted and masked."""
        if not is_sealed(bytes(schedule.task)):
            return schedule
        try:
            task = self._opened(schedule.task, _schedule_place(schedule.name))
        except _CANNOT:
            return schedule
        return self._masking.schedule(msgspec.structs.replace(schedule, task=task))

    def shown_group(self, group: Group) -> Group:
        """Return a group with its completion task decrypted and masked."""
        if not is_sealed(bytes(group.on_complete)):
            return group
        try:
            task = self._opened(group.on_complete, _group_place(group.queue))
        except _CANNOT:
            return group
        return self._masking.group(msgspec.structs.replace(group, on_complete=task))

    def opened_endpoint(self, endpoint: StoredEndpoint) -> StoredEndpoint:
        """Return an endpoint with its template decrypted; not masked."""
        payload, name = endpoint.definition.template.payload, endpoint.definition.full_name
        if not is_sealed(bytes(payload)):
            return endpoint
        try:
            return endpoint.with_payload(self._opened(payload, _endpoint_place(name)))
        except _CANNOT:
            return endpoint

    # What is needed to act on it

    def open_schedule(self, definition: ScheduleDefinition) -> ScheduleDefinition:
        """Return a stored definition decrypted.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        if not is_sealed(bytes(definition.task)):
            return definition
        task = self._opened(definition.task, _schedule_place(definition.name))
        template = definition.template
        payload = self._open_payload(template.payload, template.queue)
        template = msgspec.structs.replace(template, payload=payload)
        return msgspec.structs.replace(definition, task=task, template=template)

    def open_claim(self, claim: Claim) -> Claim:
        """Return a claim with its payload decrypted; for a callback, the task in its body.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        callback_of = claim.options.callback_of
        # Fast path for nearly all claims.
        if callback_of is None and not bytes(claim.payload).startswith(SEALED_START):
            return claim
        payload = self._open_payload(claim.payload, claim.queue, callback_of=callback_of)
        if payload is claim.payload:
            return claim
        return self._masking.claim(msgspec.structs.replace(claim, payload=payload))

    def open_result(self, result: bytes, task_id: uuid.UUID) -> bytes:
        """Return the stored result of a task decrypted.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        sealed = sealed_part_of(msgspec.Raw(result))
        return result if sealed is None else bytes(self._opened(sealed, _response_place(task_id)))

    def open_poll_url(self, stored: str | None, task_id: uuid.UUID) -> str | None:
        """Return the stored URL of a parked attempt decrypted.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        if stored is None or not is_sealed(stored.encode()):
            return stored
        return bytes(self._opened(msgspec.Raw(stored.encode()), _poll_url_place(task_id))).decode()

    # What is encrypted again with the first key

    def reseal_payload(self, payload: bytes, queue: str, *, is_callback: bool) -> bytes:
        """Return a payload encrypted with the first key; for a callback, the task in its body.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        if is_sealed(payload):
            sealed, body = body_beside(payload)
            return with_body(self._resealed(sealed, _payload_place(queue)), body)
        if not is_callback or SEALED_START not in payload:
            return payload
        task = _OBJECT.decode(_OBJECT.decode(payload)["body"])
        queue, task_id = _identity_of(task)
        inner, result = bytes(task["payload"]), bytes(task["result"])
        payload = payload.replace(inner, self.reseal_payload(inner, queue, is_callback=False))
        return payload.replace(result, self.reseal_response(result, task_id))

    def reseal_response(self, response: bytes, task_id: uuid.UUID) -> bytes:
        """Return a stored result, or the response of an attempt, encrypted with the first key.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        if (sealed := sealed_part_of(response)) is None:
            return response
        again = self._resealed(bytes(sealed), _response_place(task_id))
        return response.replace(bytes(sealed), again)

    def reseal_schedule(self, definition: bytes) -> bytes:
        """Return a stored definition (JSON) encrypted with the first key.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        known = _DEFINITION.decode(definition)
        task, template = bytes(known.task), known.template
        if not is_sealed(task):
            return definition
        payload = bytes(template.payload)
        again = self.reseal_payload(payload, template.queue, is_callback=False)
        definition = definition.replace(payload, again)
        return definition.replace(task, self._resealed(task, _schedule_place(known.name)))

    def reseal_group(self, on_complete: bytes, queue: str) -> bytes:
        """Return the stored completion task of a group encrypted with the first key.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        return self._resealed(on_complete, _group_place(queue))

    def reseal_poll_url(self, stored: str, task_id: uuid.UUID) -> str:
        """Return the stored URL of a parked attempt encrypted with the first key.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        return self._resealed(stored.encode(), _poll_url_place(task_id)).decode()

    def reseal_endpoint(self, payload: bytes, full_name: str) -> bytes:
        """Return the stored payload of the template of an endpoint encrypted with the first key.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        return self._resealed(payload, _endpoint_place(full_name))

    def reseal_note(self, note: bytes) -> bytes:
        """Return the stored body of a ping encrypted with the first key.

        Raises:
            KeyMissing: It is encrypted with another key.
            Undecryptable: It was changed.
        """
        return self._resealed(note, _NOTE_PLACE)

    def _resealed(self, sealed: bytes, place: bytes) -> bytes:
        data = data_of(sealed)
        if self.keyring.is_current(data):
            return sealed
        return sealed_of(self.keyring.reencrypt(data, place))

    def _open_payload(
        self, payload: msgspec.Raw, queue: str, *, callback_of: uuid.UUID | None = None
    ) -> msgspec.Raw:
        text = bytes(payload)
        if is_sealed(text):
            sealed, body = body_beside(text)
            opened = self._opened(msgspec.Raw(sealed), _payload_place(queue))
            return msgspec.Raw(with_body(bytes(opened), body)) if body else opened
        if callback_of is not None and SEALED_START in text:
            return self._open_callback(payload)
        return payload

    def _open_callback(self, callback: msgspec.Raw) -> msgspec.Raw:
        """Return the payload of a callback with the task in its body decrypted."""
        try:
            request = _OBJECT.decode(callback)
            task = _OBJECT.decode(request["body"])
            queue, task_id = _identity_of(task)
            payload, result = task["payload"], task["result"]
        except (msgspec.DecodeError, KeyError):  # from no version of TaskFlow
            return callback
        task["payload"] = self._open_payload(payload, queue)
        if (sealed := sealed_part_of(result)) is not None:
            task["result"] = self._opened(sealed, _response_place(task_id))
        body = msgspec.Raw(msgspec.json.encode(task))
        return msgspec.Raw(msgspec.json.encode({**request, "body": body}))

    def _sealed_again(
        self, stored: msgspec.Raw | None, new: msgspec.Raw, place: bytes
    ) -> msgspec.Raw:
        """Return the stored document if its content and key are current, otherwise a new one."""
        if stored is not None and is_sealed(bytes(stored)):
            with contextlib.suppress(*_CANNOT):
                is_current = self.keyring.is_current(data_of(bytes(stored)))
                if is_current and self._opened(stored, place) == new:
                    return stored
        return msgspec.Raw(self._sealed(bytes(new), place))

    def _sealed(self, text: bytes, place: bytes) -> bytes:
        return sealed_of(self.keyring.encrypt(text, place))

    def _opened(self, sealed: msgspec.Raw, place: bytes) -> msgspec.Raw:
        return msgspec.Raw(self.keyring.decrypt(data_of(bytes(sealed)), place))


NO_ENCRYPTION: Final = Encryption(NO_KEYS)
_NOTE_PLACE: Final = b"note of a ping"


def _status_text(code: int) -> str:
    """Return a status without the reason phrase of the target, which may be long."""
    return f"{code} {reason_phrase(code)}".rstrip()


def _identity_of(task: Mapping[str, msgspec.Raw]) -> tuple[str, uuid.UUID]:
    """Return the queue and the id of the task in a callback."""
    return _IDENTITY.decode(b"[%b,%b]" % (bytes(task["queue"]), bytes(task["id"])))


def _payload_place(queue: str) -> bytes:
    return b"payload\n" + queue.encode()


def _response_place(task_id: uuid.UUID) -> bytes:
    return b"response\n" + task_id.bytes


def _poll_url_place(task_id: uuid.UUID) -> bytes:
    return b"poll URL\n" + task_id.bytes


def _group_place(queue: str) -> bytes:
    return b"group\n" + queue.encode()


def _endpoint_place(full_name: str) -> bytes:
    return b"endpoint\n" + full_name.encode()


def _schedule_place(name: str) -> bytes:
    return b"schedule\n" + name.encode()
