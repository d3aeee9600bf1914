"""The options of a task and its JSON; the filters of tasks and their queries."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Self, TypedDict, Unpack

import msgspec
from msgspec import UNSET

from taskflow.client.arguments import checked_arguments, json_of, shown, text, texts_of
from taskflow.client.errors import InvalidArgument
from taskflow.model.completion import Completion
from taskflow.model.filter import tag_text
from taskflow.model.options import Backoff
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import TagValue
from taskflow.model.uniqueness import Debounce, Unique
from taskflow.model.untrusted_text import BYTE_ORDER_MARK, foreign_format_of
from taskflow.schema.filters import FILTERS
from taskflow.schema.tasks import TaskRequest


class Options(TypedDict, total=False):
    """The options of a task: the fields beside ``payload`` in ``POST /tasks``.

    docs/reference/api.md describes them ("TaskRequest"). ``None`` counts as not given; a
    ``datetime`` needs a time zone.
    """

    queue: str | None
    priority: int | None
    run_at: dt.datetime | None
    delay_seconds: float | None
    expires_at: dt.datetime | None
    max_attempts: int | None
    backoff: Backoff | Sequence[float] | Literal["webhook"] | None
    retry_on: Sequence[int | str] | None
    success_on: Sequence[int | str] | None
    sign: bool | None
    credential: str | None
    unique: Unique | Mapping[str, Any] | None
    debounce: Debounce | Mapping[str, Any] | None
    tags: Mapping[str, TagValue] | None
    completion: Completion | Mapping[str, Any] | None
    callback_url: str | None
    retention_seconds: float | None
    order_key: str | None
    on_failure: str | None
    group: uuid.UUID | str | None
    name: str | None
    after: Sequence[uuid.UUID | str] | None
    on_parent_failure: str | None


KNOWN: Final = frozenset(TaskRequest.__struct_fields__) - {"payload"}
_NAMES: Final = Vocabulary(sorted(KNOWN))
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Submission:
    """A task among several that are submitted together.

    Args:
        payload: A URL, or a whole request as an object. Any JSON except null is accepted.
        options: The options of the task.

    Raises:
        InvalidArgument: There is no such option, or the payload cannot be written as JSON.
    """

    def __init__(self, payload: Any, **options: Unpack[Options]) -> None:
        self.document = document_of(payload, options)

    @classmethod
    @checked_arguments()
    def from_json(cls, document: bytes | str, **options: Unpack[Options]) -> Self:
        """Return a task from JSON, as ``POST /tasks`` accepts it.

        Args:
            document: A JSON object with a payload.
            options: Options that the document does not set.

        Raises:
            InvalidArgument: It is not a JSON object, or there is no such option.
        """
        text = _without_mark(document)
        try:
            fields = _OBJECT.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            kind = foreign_format_of(text)
            what = f"this is {kind.name}" if kind else f"this is not a JSON object: {error}"
            raise ValueError(what) from None
        one = cls.__new__(cls)
        defaults = _OBJECT.decode(document_of(None, options))
        del defaults["payload"]
        one.document = json_of({**defaults, **fields})
        return one


def _without_mark(document: bytes | str) -> bytes:
    data = document.encode() if isinstance(document, str) else bytes(document)
    return data.removeprefix(BYTE_ORDER_MARK)


@checked_arguments()
def document_of(payload: Any, options: Options) -> bytes:
    """Return the JSON of a task.

    Raises:
        InvalidArgument: There is no such option, or a value cannot be written as JSON.
    """
    if unknown := options.keys() - KNOWN:
        name = min(unknown)
        raise TypeError(f"there is no option {name!r}; {_NAMES.advice(name)}")
    given = {name: value for name, value in options.items() if value is not None}
    return json_of({"payload": payload, **given})


def document_of_item(item: Any) -> bytes:
    """Return the JSON of a ``Submission``, or of a payload alone."""
    return item.document if isinstance(item, Submission) else document_of(item, {})


@checked_arguments()
def change_of(item: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch of a task.

    Args:
        item: A ``Submission``, or a payload alone; ``UNSET`` if neither changes.
        options: Changes of its options; ``None`` removes one.
    """
    fields = (
        {}
        if item is UNSET
        else msgspec.json.decode(document_of_item(item), type=dict[str, msgspec.Raw])
    )
    return {**fields, **options}


class Filters(TypedDict, total=False):
    """The filters of tasks; a task must match all of them.

    docs/reference/api.md describes them ("BulkRequest"). A ``datetime`` needs a time zone.
    """

    status: str | Sequence[str]
    state: str | Sequence[str]
    queue: str
    tags: Mapping[str, TagValue]
    host: str
    error_type: str
    created_after: dt.datetime
    created_before: dt.datetime
    finished_after: dt.datetime
    finished_before: dt.datetime
    url_contains: str
    id_prefix: str
    order_key: str
    group: uuid.UUID | str
    parent: uuid.UUID | str
    failure: uuid.UUID | str


@checked_arguments()
def query_of(filters: Filters) -> list[tuple[str, str]]:
    """Return the parameters of a query for filters.

    Raises:
        InvalidArgument: There is no such filter, or a value of one cannot be used.
    """
    if unknown := filters.keys() - set(FILTERS):
        raise TypeError(
            f"there is no filter {min(unknown)!r}; known are {', '.join(sorted(FILTERS))}"
        )
    return list(_parameters(filters))


@checked_arguments()
def tag_query(tags: Mapping[str, TagValue]) -> list[tuple[str, str]]:
    """Return the parameters of a query for tags.

    Raises:
        InvalidArgument: They are not tags.
    """
    if not isinstance(tags, Mapping):
        raise InvalidArgument(f"tags must be a mapping, not {shown(tags)}")
    return [("tag", f"{name}:{tag_text(value)}") for name, value in tags.items()]


def moment_text(moment: dt.datetime) -> str:
    """Return a time as text of a query."""
    return msgspec.json.decode(msgspec.json.encode(moment), type=str)


def _parameters(filters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in filters.items():
        if name == "tags":
            yield from tag_query(value)
        elif isinstance(value, str):
            yield name, text(name, value)
        elif isinstance(value, uuid.UUID):
            yield name, str(value)
        elif isinstance(value, dt.datetime):
            yield name, moment_text(value)
        else:
            yield name, ",".join(texts_of(name, value))
