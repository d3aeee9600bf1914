"""``enqueue``: tasks that exist if, and only if, the transaction of the caller commits."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Unpack, overload

from taskflow.client.errors import Conflict, Gone, Unprocessable
from taskflow.client.options import Options, document_of, document_of_item
from taskflow.client.task import Task, shown
from taskflow.model import task as kept
from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.errors import FieldError, GroupClosed, NotUnique, RequestError, TaskGone
from taskflow.model.errors import Unprocessable as InvalidRequest
from taskflow.model.graphs import refuse_faults, refuse_names
from taskflow.model.keyring import Keyring, key_of
from taskflow.model.task import MAX_KEY_CHARACTERS, IdempotencyKey, NewTask
from taskflow.schema.new_task import new_task_of
from taskflow.schema.tasks import MAX_TASKS
from taskflow.schema.validation_errors import ValidationErrors, token

if TYPE_CHECKING:
    import psycopg

IDEMPOTENCY_SECONDS: Final = 86_400.0
MAX_ATTEMPTS: Final = 1


@overload
def enqueue(
    connection: psycopg.Connection[Any],
    payload: Any,
    *,
    idempotency_key: str | None = None,
    encryption_key: str | None = None,
    **options: Unpack[Options],
) -> Task: ...


@overload
def enqueue(
    connection: psycopg.AsyncConnection[Any],
    payload: Any,
    *,
    idempotency_key: str | None = None,
    encryption_key: str | None = None,
    **options: Unpack[Options],
) -> Awaitable[Task]: ...


def enqueue(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
    payload: Any,
    *,
    idempotency_key: str | None = None,
    encryption_key: str | None = None,
    **options: Unpack[Options],
) -> Task | Awaitable[Task]:
    """Submit a task as part of the transaction of a connection.

    The task exists, and runs, if and only if the transaction commits; with ``autocommit`` at once.
    With an ``AsyncConnection`` the result must be awaited.

    Args:
        connection: A connection to the service's database; its role may write TaskFlow's tables.
        payload: The URL to fetch, or a whole request as an object.
        idempotency_key: Calls with the same key enqueue one task, for a day. Concurrent calls with
            it wait for the end of this transaction. Keys of the API are separate.
        encryption_key: A key of the service, as ``taskflow secret new --encryption`` prints it, by
            which the payload is encrypted. Without one it is stored as it is, whatever
            ``TASKFLOW_ENCRYPT`` of the service says, which is not known here.
        options: The options of the task. Calls and submissions with its ``unique`` or ``debounce``
            key wait for the end of this transaction; the service waits for three seconds at most.
            ``max_attempts`` is 1 by default: the setting of the service is not known here. If its
            nodes have no secrets to sign with, ``callback_url`` and ``sign`` are accepted, and the
            callback or the task fails. A ``credential`` that does not exist is accepted, too: the
            task fails as ``credential_missing``, unless it is created while the task has attempts
            left.

    Returns:
        The task, PENDING, and not visible to others before the commit; if the key is known, the
        task of the first call in its current state. A task that existed and has the ``unique`` or
        ``debounce`` key has ``existing``.

    Raises:
        Unprocessable: The task is invalid; ``errors`` has all reasons. The transaction is
            unchanged.
        Gone: The key is known, and its task has been deleted.
        Conflict: Another task has the unique key, and ``on_conflict`` is ``reject``; or the group
            takes no more tasks. The transaction is unchanged.
        StoreUnusable: The tables are missing or too old, or the role or a setting of the connection
            (an encoding other than UTF8, read-only, replica, search_path) is unsuitable; the
            message says what to do. If a statement failed, so has the transaction.
        StoreUnavailable: With autocommit only: the task is stored here, and it is unknown whether a
            synchronous standby has it.
        psycopg.Error: Any other error of a statement.
    """
    document = document_of(payload, options)
    with _client_errors():
        task = new_task_of(document, max_attempts=MAX_ATTEMPTS, can_sign=True)
        refuse_names(task)
    key, encryption = _key_of(idempotency_key, document), _encryption_of(encryption_key)
    added = _add(connection, [task], key, encryption)
    return added[0] if isinstance(added, list) else _first(added)


@overload
def enqueue_many(
    connection: psycopg.Connection[Any],
    items: Iterable[Any],
    *,
    idempotency_key: str | None = None,
    encryption_key: str | None = None,
) -> list[Task]: ...


@overload
def enqueue_many(
    connection: psycopg.AsyncConnection[Any],
    items: Iterable[Any],
    *,
    idempotency_key: str | None = None,
    encryption_key: str | None = None,
) -> Awaitable[list[Task]]: ...


def enqueue_many(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
    items: Iterable[Any],
    *,
    idempotency_key: str | None = None,
    encryption_key: str | None = None,
) -> list[Task] | Awaitable[list[Task]]:
    """Submit several tasks like ``enqueue``, all or none.

    Args:
        connection: As for ``enqueue``.
        items: Payloads; a ``Submission`` for a task with options. With a key, at most 10,000.
        idempotency_key: As for ``enqueue``, for all tasks together.
        encryption_key: As for ``enqueue``.

    Raises:
        Unprocessable: Some tasks are invalid; ``errors`` has all reasons.
        Gone: The key is known, and some of its tasks have been deleted.
        Conflict: As for ``enqueue``; no task is stored.
        StoreUnusable: As for ``enqueue``.
        StoreUnavailable: As for ``enqueue``.
        psycopg.Error: As for ``enqueue``.
    """
    documents = [document_of_item(item) for item in items]
    key = _key_of(idempotency_key, b"[%b]" % b",".join(documents))
    if key and len(documents) > MAX_TASKS:
        raise _unprocessable(f"with a key up to {MAX_TASKS} tasks are taken, not {len(documents)}")
    with _client_errors():
        tasks = _read_all(documents)
        refuse_faults(tasks)
    return _add(connection, tasks, key, _encryption_of(encryption_key))


def _add(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
    tasks: Sequence[NewTask],
    key: IdempotencyKey | None,
    encryption: Encryption,
) -> list[Task] | Awaitable[list[Task]]:
    # A caller with a connection has psycopg; importing this module does not need it.
    from taskflow.store.postgres import caller_transaction  # noqa: PLC0415

    with _client_errors():
        stored = [encryption.seal_task(task) for task in tasks]
        added = caller_transaction.add(connection, stored, key)
    return _shown(added, encryption) if isinstance(added, list) else _awaited(added, encryption)


async def _awaited(added: Awaitable[list[kept.Task]], encryption: Encryption) -> list[Task]:
    with _client_errors():
        return _shown(await added, encryption)


def _shown(added: Iterable[kept.Task], encryption: Encryption) -> list[Task]:
    return [shown(encryption.opened_task(task)) for task in added]


def _encryption_of(key: str | None) -> Encryption:
    if key is None:
        return NO_ENCRYPTION
    try:
        return Encryption(Keyring([key_of(key)]), ["payloads"])
    except ValueError as error:
        raise _unprocessable(f"encryption_key {error}") from None


async def _first(tasks: Awaitable[list[Task]]) -> Task:
    return (await tasks)[0]


def _read_all(documents: Sequence[bytes]) -> list[NewTask]:
    tasks: list[NewTask] = []
    errors = ValidationErrors()
    for index, document in enumerate(documents):
        try:
            tasks.append(new_task_of(document, max_attempts=MAX_ATTEMPTS, can_sign=True))
        except RequestError as error:
            errors.add_part(token(index), f"[{index}]", error)
        if errors.is_full:
            break
    errors.raise_if_any()
    return tasks


def _key_of(text: str | None, document: bytes) -> IdempotencyKey | None:
    """Return a key that no client of the API can have.

    A submission with a key that is being stored waits for the end of that transaction, and so
    would all submissions of the service that share a statement with it.
    """
    if text is None:
        return None
    if not (1 <= len(text) <= MAX_KEY_CHARACTERS and text.isascii() and text.isprintable()):
        raise _unprocessable(
            f"idempotency_key must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters"
        )
    return IdempotencyKey(f"\n\n{text}", hashlib.sha256(document).digest(), IDEMPOTENCY_SECONDS)


@contextlib.contextmanager
def _client_errors() -> Iterator[None]:
    """Turn errors of the service into errors of the client."""
    try:
        yield
    except TaskGone as error:
        raise Gone(str(error), status_code=HTTPStatus.GONE) from None
    except (GroupClosed, NotUnique) as error:
        raise Conflict(
            str(error),
            kind=error.problem.type,
            status_code=HTTPStatus.CONFLICT,
            errors=error.errors,
        ) from None
    except InvalidRequest as error:
        raise _unprocessable(str(error), error.errors) from None
    except RequestError as error:
        raise _unprocessable(str(error)) from None


def _unprocessable(detail: str, errors: Sequence[FieldError] = ()) -> Unprocessable:
    return Unprocessable(detail, status_code=HTTPStatus.UNPROCESSABLE_ENTITY, errors=errors)
