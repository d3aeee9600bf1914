"""Key rotation: encrypts data again with the first key, if another key encrypts it.

It scans the tables in windows, in the order of their primary keys, and stores no progress: data
that the first key encrypts is skipped, so a rotation can be stopped and repeated at any time. After
each write it pauses for as long as the write took, to leave time of the database to others.
"""

from __future__ import annotations

import base64
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
import trio

from taskflow.model.alert_destinations import resealed as resealed_destination
from taskflow.model.alerts import AlertDefinition
from taskflow.model.encryption import Encryption
from taskflow.model.endpoint_secrets import reseal_secret
from taskflow.model.errors import KeyMissing, Undecryptable
from taskflow.model.key_generation import KeyGeneration, resealed
from taskflow.model.keyring import key_id_in
from taskflow.model.proxy import opened_proxy, sealed_proxy
from taskflow.model.sealed_credential import SealedCredential
from taskflow.model.sealed_document import is_sealed
from taskflow.store.postgres.database import Database
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import UNREADABLE, Execute, Row, settings_of
from taskflow.store.postgres.statements import Statements

WINDOW_ROWS: Final = 500
MAX_HELD_ROWS: Final = 100
MAX_HELD_BYTES: Final = 8 * 2**20
MAX_PASSES: Final = 10
_PASS_PAUSE_SECONDS: Final = 0.5
_FAILURES: Final = (KeyMissing, Undecryptable, KeyError, *UNREADABLE)


class Rotated(msgspec.Struct):
    """The progress of a rotation.

    Attributes:
        checked: Number of rows that the last pass has checked.
        rotated: Number of rows that were encrypted again, by table.
        left: Number of rows that still need a key other than the first, by the id of the key: the
            key is missing, the row was locked in each pass, or it cannot be decrypted.
    """

    checked: int = 0
    rotated: Counter[str] = msgspec.field(default_factory=Counter)
    left: Counter[str] = msgspec.field(default_factory=Counter)


class _Outdated(NamedTuple):
    """A row that needs a key other than the first: its primary key, its size, and the key ids."""

    key: object
    size_bytes: int
    key_ids: frozenset[str]


class _Held(NamedTuple):
    """The primary keys of the locked rows, and of the rows that were encrypted again."""

    locked: set[object]
    rotated: set[object]


class _Table(NamedTuple):
    """A table with encrypted data.

    Attributes:
        name: What it contains; its statements are named after it.
        first: A value before all primary keys.
        rotate: Encrypts the rows with these primary keys again.
    """

    name: str
    first: object
    rotate: Callable[[Execute, Sequence[object], Encryption], _Held]


class KeyRotation:
    """A rotation of the keys of a database.

    Args:
        database: The database.
        encryption: Has the keys.
        report: Called after each window.
    """

    def __init__(
        self, database: Database, encryption: Encryption, report: Callable[[Rotated], None]
    ) -> None:
        self._statements: Final = Statements(database)
        self._encryption: Final = encryption
        self._report: Final = report
        self._done: Final = Rotated()

    async def run(self) -> Rotated:
        """Rotate all tables; rows that are in use are tried again in further passes.

        Raises:
            StoreUnavailable: The database does not answer; rotated rows stay rotated.
        """
        for number in range(MAX_PASSES):
            await trio.sleep(_PASS_PAUSE_SECONDS * number)
            self._done.checked = 0
            self._done.left.clear()
            if not sum([await self._rotate_table(table) for table in _TABLES]):
                break
        return self._done

    async def _rotate_table(self, table: _Table) -> int:
        """Encrypt the rows of a table again, and return how many were in use."""
        after, in_use = table.first, 0
        while True:
            window = {"after": after, "limit": WINDOW_ROWS}
            rows = await self._statements.run(f"sealed_{table.name}", **window)
            for portion in _portions(_outdated(rows, self._encryption.keyring.key_ids[0])):
                in_use += await self._rotate(table, portion)
            self._done.checked += len(rows)
            self._report(self._done)
            if len(rows) < WINDOW_ROWS:
                return in_use
            after = rows[-1][0]

    async def _rotate(self, table: _Table, portion: Sequence[_Outdated]) -> int:
        """Encrypt some rows again in a transaction, and return how many were in use."""
        began = time.monotonic()
        keys = [one.key for one in portion]

        def work(connection: Connection) -> _Held:
            with connection.transaction():
                execute = self._statements.on(connection)
                return table.rotate(execute, keys, self._encryption)

        held = await self._statements.database.run(work)
        self._done.rotated[table.name] += len(held.rotated)
        for one in portion:
            if one.key not in held.rotated:
                self._done.left.update(one.key_ids)
        await trio.sleep(time.monotonic() - began)
        return len(portion) - len(held.locked)


def key_ids_in_use(execute: Execute, seconds: float) -> tuple[frozenset[str], bool]:
    """Return the ids of the keys that data is encrypted with, and whether all data was checked.

    The newest tasks are checked first, because all nodes need their keys.

    Args:
        execute: Executes the statements.
        seconds: Time after which the check ends.
    """
    found: set[str] = set()
    deadline = time.monotonic() + seconds
    newest = execute("last_task_before_newest", {"newest": WINDOW_ROWS})
    starts = [("tasks", task_id) for (task_id,) in newest]
    for name, first in [*starts, *((table.name, table.first) for table in _TABLES)]:
        after: object = first
        while rows := execute(f"sealed_{name}", {"after": after, "limit": WINDOW_ROWS}):
            found.update(*(_key_ids_of(heads) for _, _, heads in rows))
            if time.monotonic() > deadline:
                return frozenset(found), False
            after = rows[-1][0]
    return frozenset(found), True


def _key_ids_of(heads: Sequence[str]) -> set[str]:
    """Return the key ids in the heads of encrypted data that a statement returned."""
    return {key_id_in(base64.b64decode(head)) for head in heads}


def _outdated(rows: Sequence[Row], first: str) -> Iterator[_Outdated]:
    for key, size_bytes, heads in rows:
        if key_ids := _key_ids_of(heads) - {first}:
            yield _Outdated(key, size_bytes, frozenset(key_ids))


def _portions(outdated: Iterator[_Outdated]) -> Iterator[list[_Outdated]]:
    """Yield the rows of each transaction: limited in number and size."""
    portion: list[_Outdated] = []
    room_bytes = MAX_HELD_BYTES
    for one in outdated:
        if portion and (one.size_bytes > room_bytes or len(portion) == MAX_HELD_ROWS):
            yield portion
            portion, room_bytes = [], MAX_HELD_BYTES
        portion.append(one)
        room_bytes -= one.size_bytes
    if portion:
        yield portion


def _rotate_tasks(execute: Execute, keys: Sequence[object], encryption: Encryption) -> _Held:
    tasks = {
        row[0]: row
        for table in ("tasks", "archived")
        for row in execute(f"hold_sealed_{table}", {"keys": keys})
    }
    attempts: dict[object, list[Row]] = {task_id: [] for task_id in tasks}
    for row in execute("responses_of_attempts", {"keys": list(tasks)}):
        attempts[row[0]].append(row)
    new_tasks: list[Row] = []
    new_attempts: list[Row] = []
    for task_id, row in tasks.items():
        try:
            task = _resealed_task(row, encryption)
            responses = [
                (task_id, number, _resealed_response(response, task_id, encryption))
                for _, number, response in attempts[task_id]
            ]
        except _FAILURES:
            continue
        new_tasks.append(task)
        new_attempts += responses
    for name in ("replace_sealed_tasks", "replace_sealed_archived"):
        _replace(execute, name, ("ids", "payloads", "results", "responses"), new_tasks)
    for name in ("replace_responses_of_attempts", "replace_responses_of_archived_attempts"):
        _replace(execute, name, ("task_ids", "ids", "responses"), new_attempts)
    return _Held(set(tasks), {task_id for task_id, *_ in new_tasks})


def _resealed_task(row: Row, encryption: Encryption) -> Row:
    task_id, queue, callback_of, payload, result, response = row
    is_callback = callback_of is not None
    return (
        task_id,
        encryption.reseal_payload(payload.encode(), queue, is_callback=is_callback).decode(),
        _resealed_response(result, task_id, encryption),
        _resealed_response(response, task_id, encryption),
    )


def _resealed_response(
    response: str | None, task_id: uuid.UUID, encryption: Encryption
) -> str | None:
    if response is None:
        return None
    return encryption.reseal_response(response.encode(), task_id).decode()


def _rotate_rows(
    name: str,
    reseal: Callable[[Row, Encryption], object],
    execute: Execute,
    keys: Sequence[object],
    encryption: Encryption,
) -> _Held:
    """Encrypt rows that have one encrypted column; ``reseal`` returns its new value."""
    held = execute(f"hold_sealed_{name}", {"keys": keys})
    rotated: list[Row] = []
    for row in held:
        with contextlib.suppress(*_FAILURES):
            rotated.append((row[0], reseal(row, encryption)))
    _replace(execute, f"replace_sealed_{name}", ("keys", "values"), rotated)
    return _Held({row[0] for row in held}, {key for key, _ in rotated})


def _rotate_groups(execute: Execute, keys: Sequence[object], encryption: Encryption) -> _Held:
    held = execute("hold_sealed_groups", {"keys": keys})
    rotated: list[Row] = []
    for group_id, queue, on_complete, completion in held:
        with contextlib.suppress(*_FAILURES):
            columns = msgspec.json.decode(completion)
            payload, queue_of_task = columns["payload"].encode(), columns["queue"]
            again = encryption.reseal_payload(payload, queue_of_task, is_callback=False)
            columns["payload"] = again.decode()
            shown = encryption.reseal_group(on_complete.encode(), queue).decode()
            rotated.append((group_id, shown, msgspec.json.encode(columns).decode()))
    _replace(execute, "replace_sealed_groups", ("ids", "shown", "completions"), rotated)
    return _Held({row[0] for row in held}, {row[0] for row in rotated})


def _rotate_endpoints(execute: Execute, keys: Sequence[object], encryption: Encryption) -> _Held:
    held = execute("hold_sealed_endpoints", {"keys": keys})
    rotated: list[Row] = []
    for endpoint_id, full_name, template, *secrets in held:
        with contextlib.suppress(*_FAILURES):
            columns = msgspec.json.decode(template, type=dict[str, msgspec.Raw])
            payload = bytes(columns["payload"])
            if is_sealed(payload):
                again = encryption.reseal_endpoint(payload, full_name)
                columns["payload"] = msgspec.Raw(again)
            resealed = [
                None if one is None else reseal_secret(bytes(one), full_name, encryption.keyring)
                for one in secrets
            ]
            rotated.append((endpoint_id, msgspec.json.encode(columns).decode(), *resealed))
    names = ("ids", "templates", "secrets", "former_secrets")
    _replace(execute, "replace_sealed_endpoints", names, rotated)
    return _Held({row[0] for row in held}, {row[0] for row in rotated})


def _resealed_schedule(row: Row, encryption: Encryption) -> str:
    _, definition = row
    return encryption.reseal_schedule(definition.encode()).decode()


def _resealed_poll_url(row: Row, encryption: Encryption) -> str:
    task_id, poll_url = row
    return encryption.reseal_poll_url(poll_url, task_id)


def _resealed_note(row: Row, encryption: Encryption) -> bytes:
    _, note = row
    return encryption.reseal_note(bytes(note))


def _resealed_queue(row: Row, encryption: Encryption) -> str:
    name, settings = row
    stored = settings_of(settings).egress_proxy or ""
    url = opened_proxy(stored, name, encryption.keyring)
    resealed: str = settings.replace(stored, sealed_proxy(url, name, encryption.keyring))
    return resealed


def _resealed_alert(row: Row, encryption: Encryption) -> str:
    name, text = row
    definition = msgspec.json.decode(text, type=AlertDefinition)
    to = tuple(resealed_destination(one, name, encryption.keyring) for one in definition.to)
    return msgspec.json.encode(msgspec.structs.replace(definition, to=to)).decode()


def _resealed_credential(row: Row, encryption: Encryption) -> bytes:
    name, kind, sealed = row
    credential = SealedCredential(name, kind, (), bytes(sealed))
    return encryption.keyring.reencrypt(credential.sealed, credential.associated)


def _resealed_signing_keys(row: Row, encryption: Encryption) -> bytes:
    number, public, sealed = row
    return resealed(KeyGeneration(number, public, bytes(sealed)), encryption.keyring)


def _replace(execute: Execute, name: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Execute a statement with an array for each column, if there are rows."""
    if rows:
        arrays: Mapping[str, object] = {
            column: list(values)
            for column, values in zip(columns, zip(*rows, strict=True), strict=True)
        }
        execute(name, arrays)


_TABLES: Final = (
    *(
        _Table(name, first, partial(_rotate_rows, name, reseal))
        for name, first, reseal in (
            ("credentials", "", _resealed_credential),
            ("queues", "", _resealed_queue),
            ("alerts", "", _resealed_alert),
            ("signing_keys", 0, _resealed_signing_keys),
            ("schedules", "", _resealed_schedule),
            ("parked", uuid.UUID(int=0), _resealed_poll_url),
            ("heartbeat_pings", uuid.UUID(int=0), _resealed_note),
        )
    ),
    _Table("groups", uuid.UUID(int=0), _rotate_groups),
    _Table("endpoints", uuid.UUID(int=0), _rotate_endpoints),
    _Table("tasks", uuid.UUID(int=0), _rotate_tasks),
)
