"""How payloads and results are encrypted, and what is shown of those that cannot be decrypted."""

from __future__ import annotations

import datetime as dt
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.errors import KeyMissing, Undecryptable
from taskflow.model.keyring import Keyring
from taskflow.model.outcome import KeptResponse, StoredResponse, response_of
from taskflow.model.schedule import ScheduleDefinition, Timing
from taskflow.model.sealed_document import check_opened, is_sealed
from taskflow.model.task import AttemptRecord, AttemptStatus, Claim, NewTask, Task, TaskStatus

ONE = Encryption(Keyring([b"1" * 32]), ("payloads", "results"))
TWO = Encryption(Keyring([b"2" * 32]), ("payloads", "results"))
BOTH = Encryption(Keyring([b"2" * 32, b"1" * 32]))
NOW = dt.datetime.now(dt.UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def raw(value) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def stored(payload, queue="mail", result=None, **fields) -> Task:
    task_id = uuid.uuid4()
    new = ONE.seal_task(NewTask(raw(payload), queue=queue))
    task = new.as_task(task_id, created_at=NOW, run_at=NOW)
    if result is not None:
        sealed = msgspec.Raw(ONE.seal_result(msgspec.json.encode(result), task_id))
        fields |= {"result": sealed, "status": TaskStatus.COMPLETED}
    return msgspec.structs.replace(task, **fields)


def response(body) -> dict:
    return {
        "message": "fetched",
        "result": body,
        "status": "200 OK",
        "status_code": 200,
        "headers": {"x-secret": "hunter2"},
        "content_type": "application/json",
        "encoding": "json",
        "url": "https://example.com/?token=hunter2",
        "elapsed_seconds": 0.25,
        "size": 7,
    }


@given(payload=JSON, body=JSON)
def test_what_is_stored_is_shown_as_it_was(payload, body):
    """Payloads and results of any JSON, byte for byte; both keys of a rotation decrypt."""
    task = stored(payload, result=response(body))
    for encryption in (ONE, BOTH):
        opened = encryption.opened_task(task)
        assert bytes(opened.payload) == msgspec.json.encode(payload)
        assert bytes(opened.result) == msgspec.json.encode(response(body))


def test_what_stays_readable():
    """Of a response its status, its time and its size; of a payload nothing."""
    task = stored({"url": "https://hunter2.example/"}, result=response("hunter2"))
    assert b"hunter2" not in bytes(task.payload) + bytes(task.result)
    kept = msgspec.json.decode(task.result, type=StoredResponse)
    assert (kept.status_code, kept.elapsed_seconds, kept.size) == (200, 0.25, 7)
    assert (kept.headers, kept.url, kept.content_type) == ({}, "", None)


def test_without_the_key():
    """It is shown encrypted, which a reader of the result can tell; nothing fails."""
    task = stored(1, result=response("x"))
    for encryption in (TWO, NO_ENCRYPTION):
        assert encryption.shown_task(task) is task
        with pytest.raises(KeyMissing, match=ONE.keyring.key_ids[0]):
            encryption.open_claim(claim_of(task))
    with pytest.raises(KeyMissing, match=ONE.keyring.key_ids[0]):
        check_opened(task.result)
    check_opened(ONE.shown_task(task).result)


def claim_of(task: Task) -> Claim:
    return Claim(task.id, uuid.uuid4(), task.payload, 1, 1, queue=task.queue)


def test_a_payload_belongs_to_its_queue():
    """Copied to a task of another queue, it is not decrypted."""
    moved = msgspec.structs.replace(stored(1), queue="other")
    assert ONE.shown_task(moved) is moved
    with pytest.raises(Undecryptable):
        ONE.open_claim(claim_of(moved))


def test_a_result_belongs_to_its_task():
    """Copied to another task, it is not decrypted."""
    task = stored(1, result=response("x"))
    moved = msgspec.structs.replace(stored(1), result=task.result)
    assert ONE.opened_task(moved).result is task.result


def test_what_a_target_sends_is_not_taken_for_encrypted():
    """A response body of that form has a URL, so it is the target's own."""
    sealed = msgspec.json.decode(bytes(stored(1).payload))
    result = msgspec.json.encode(response(sealed))
    plain = Encryption(ONE.keyring)
    task_id = uuid.uuid4()
    assert plain.seal_result(result, task_id) == result
    assert bytes(plain.opened_result(msgspec.Raw(result), task_id)) == result
    check_opened(msgspec.Raw(result))


def test_parts():
    """Each part is encrypted only if it is named."""
    result, task_id = msgspec.json.encode(response(1)), uuid.uuid4()
    new = NewTask(raw(1))
    payloads, results = (Encryption(ONE.keyring, [part]) for part in ("payloads", "results"))
    assert is_sealed(bytes(payloads.seal_task(new).payload))
    assert payloads.seal_result(result, task_id) == result
    assert results.seal_task(new) is new
    assert results.seal_result(result, task_id) != result


def test_the_response_of_an_attempt():
    """It keeps its shape, and is decrypted as a whole."""
    task_id = uuid.uuid4()
    kept = KeptResponse(
        status="799 " + "\x85" * 500,  # a reason phrase as long as its target likes
        status_code=799,
        headers={"a": "hunter2"},
        content_type="text/plain",
        body=raw("hunter2"),
        encoding="text",
        url="http://hunter2/",
        size=7,
        truncated=False,
    )
    sealed = ONE.seal_response(msgspec.json.encode(kept), task_id)
    assert b"hunter2" not in sealed
    attempt = AttemptRecord(
        number=1,
        status=AttemptStatus.FAILED,
        node="n",
        started_at=NOW,
        response=response_of(sealed),
    )
    assert attempt.response.status == "799"
    assert ONE.shown_attempt(attempt, task_id).response == kept
    assert ONE.reseal_response(sealed, task_id) == sealed  # it is recognized in the database
    rotated = Encryption(BOTH.keyring).reseal_response(sealed, task_id)
    assert rotated != sealed
    assert (
        BOTH.shown_attempt(
            msgspec.structs.replace(attempt, response=response_of(rotated)), task_id
        ).response
        == kept
    )
    assert TWO.shown_attempt(attempt, task_id) is attempt
    assert ONE.shown_attempt(attempt, uuid.uuid4()) is attempt


def definition(payload=1, queue="mail") -> ScheduleDefinition:
    return ScheduleDefinition(
        name="nightly",
        timing=Timing(cron="0 6 * * *"),
        task=raw({"payload": payload, "queue": queue}),
        template=NewTask(raw(payload), queue=queue),
        conditional=True,
    )


def test_a_schedule():
    """Its template is encrypted like a payload, so that its tasks are made without any key."""
    kept = ONE.seal_schedule(definition("hunter2"), None)
    assert b"hunter2" not in msgspec.json.encode(kept)
    assert ONE.open_schedule(kept) == definition("hunter2")
    task = kept.make_task(NOW, None).as_task(uuid.uuid4(), created_at=NOW, run_at=NOW)
    assert bytes(ONE.opened_task(task).payload) == b'"hunter2"'
    with pytest.raises(KeyMissing):
        TWO.open_schedule(kept)


def test_a_schedule_that_is_put_again():
    """The same payload stays as it is stored; another one, queue or key does not."""
    kept = ONE.seal_schedule(definition(1), None)
    sealed = kept.template.payload
    assert ONE.seal_schedule(definition(1), kept) == kept
    for new in (definition(2), definition(1, queue="other")):
        assert ONE.seal_schedule(new, kept).template.payload != sealed
    rotated = Encryption(BOTH.keyring, ("payloads",))
    assert rotated.seal_schedule(definition(1), kept).template.payload != sealed
