"""Search: finds the tasks of a page in PostgreSQL.

One condition of the filter selects the index to scan, newest tasks first or oldest first; the other
conditions are tested on the scanned rows. The scan is limited in rows and in time, and the next
page continues where it stopped: so the cost of a page does not depend on the number of tasks, nor
on how few of them match.
"""

from __future__ import annotations

import datetime as dt
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from taskflow.model.filter import PageOrder, TaskFilter
from taskflow.model.masking import (
    MASKING,
    PARAMETER_MASK,
    USERINFO,
    USERINFO_AT_START,
    USERINFO_MASK,
    Masking,
)
from taskflow.model.task import DEFAULT_QUEUE
from taskflow.model.task_states import NOTHING_HELD, HeldLanes
from taskflow.store.base.listing import MAX_SCANNED
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.state_conditions import in_states, parameters_of_states

# Maximum number of rows that a statement scans. The first one scans a few times the page size,
# which is enough if most tasks match.
MAX_WINDOW: Final = 20_000
FIRST_WINDOW_SHARE: Final = 4
# Approximate size of the payloads that a statement decompresses to search their URLs.
WINDOW_BYTES: Final = 16 * 2**20
MAX_SCAN_SECONDS: Final = 0.5

_MIN_ID: Final = uuid.UUID(int=0)
_MAX_ID: Final = uuid.UUID(int=2**128 - 1)
_ID_DIGITS: Final = 32
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
# An id is made a moment after ``created_at``, the start of its statement, by less than this. The
# opposite happens only when the clock is set.
_SLACK_MILLISECONDS: Final = 60_000

# The plan must use the selected index, whatever the planner estimates: it plans before it knows the
# values, and would otherwise sort a million rows for a page, or compile the statement first.
SETTINGS: Final = """
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)
"""

# Ranges are row comparisons, in the order of the whole index: with an equality the order by id
# would be enough, which the primary key has as well.
_BY_ID: Final = """
    SELECT t.id, t.size_bytes, ({conditions}) AS fits FROM taskflow_tasks AS t
    WHERE t.id < %(before)s AND t.id >= %(min_id)s
    ORDER BY t.id DESC LIMIT %(window)s
"""
_BY_STATUS: Final = """
    SELECT t.id, t.size_bytes, ({conditions}) AS fits FROM taskflow_tasks AS t
    WHERE (t.status, t.id) < (%(status)s, %(before)s)
      AND (t.status, t.id) >= (%(status)s, %(min_id)s)
    ORDER BY t.status DESC, t.id DESC LIMIT %(window)s
"""
_BY_QUEUE: Final = """
    SELECT t.id, t.size_bytes, ({conditions}) AS fits FROM taskflow_tasks AS t
    WHERE t.queue <> 'default' AND (t.queue, t.id) < (%(queue)s, %(before)s)
      AND (t.queue, t.id) >= (%(queue)s, %(min_id)s)
    ORDER BY t.queue DESC, t.id DESC LIMIT %(window)s
"""
_BY_TAG: Final = """
    SELECT tagged.id, one.size_bytes, one.fits
    FROM (
        SELECT g.task_id AS id FROM taskflow_tags AS g
        WHERE (g.name, g.value, g.task_id) < (%(tag_name)s, %(tag_value)s, %(before)s)
          AND (g.name, g.value, g.task_id) >= (%(tag_name)s, %(tag_value)s, %(min_id)s)
        ORDER BY g.name DESC, g.value DESC, g.task_id DESC LIMIT %(window)s
    ) AS tagged CROSS JOIN LATERAL (
        SELECT t.size_bytes, ({conditions}) AS fits FROM taskflow_tasks AS t
        WHERE t.id = tagged.id OFFSET 0
    ) AS one
"""
# The same in the archive, where equalities let the partitions be read in order, and only those
# that are needed. It is read as far as its tasks are newer than the last one of a full window.
_ARCHIVED_BY_ID: Final = """
    SELECT t.id, t.size_bytes, ({conditions}) AS fits FROM taskflow_archive AS t
    WHERE t.id < %(before)s AND t.id >= %(min_id)s
      AND t.id {to_hot} ({end_of_hot})
    ORDER BY t.id DESC LIMIT %(window)s
"""
_ARCHIVED_BY_STATUS: Final = """
    SELECT t.id, t.size_bytes, ({conditions}) AS fits FROM taskflow_archive AS t
    WHERE t.status = %(status)s AND t.id < %(before)s AND t.id >= %(min_id)s
      AND t.id {to_hot} ({end_of_hot})
    ORDER BY t.id DESC LIMIT %(window)s
"""
_ARCHIVED_BY_QUEUE: Final = """
    SELECT t.id, t.size_bytes, ({conditions}) AS fits FROM taskflow_archive AS t
    WHERE t.queue <> 'default' AND t.queue = %(queue)s
      AND t.id < %(before)s AND t.id >= %(min_id)s
      AND t.id {to_hot} ({end_of_hot})
    ORDER BY t.id DESC LIMIT %(window)s
"""
_ARCHIVED_BY_TAG: Final = """
    SELECT tagged.id, one.size_bytes, one.fits
    FROM (
        SELECT g.task_id AS id FROM taskflow_archive_tags AS g
        WHERE g.name = %(tag_name)s AND g.value = %(tag_value)s
          AND g.task_id < %(before)s AND g.task_id >= %(min_id)s
          AND g.task_id {to_hot} ({end_of_hot})
        ORDER BY g.task_id DESC LIMIT %(window)s
    ) AS tagged CROSS JOIN LATERAL (
        SELECT t.size_bytes, ({conditions}) AS fits FROM taskflow_archive AS t
        WHERE t.id = tagged.id OFFSET 0
    ) AS one
"""
_END_OF_HOT: Final = """
    SELECT coalesce((SELECT id FROM hot ORDER BY id DESC OFFSET %(window)s - 1), {end})
"""
_BOTH: Final = """
    WITH hot AS MATERIALIZED ({hot}), cold AS ({cold})
    SELECT * FROM hot UNION ALL SELECT * FROM cold ORDER BY id DESC LIMIT %(window)s
"""

# By a table with the owners of tasks, wherever the tasks are; it has an index on both columns.
_BY_OWNER: Final = """
    SELECT owned.id, one.size_bytes, one.fits
    FROM (
        SELECT o.<task> AS id FROM <table> AS o
        WHERE (o.<owner>, o.<task>) < (%(<parameter>)s, %(before)s)
          AND (o.<owner>, o.<task>) >= (%(<parameter>)s, %(min_id)s)
        ORDER BY o.<owner> DESC, o.<task> DESC LIMIT %(window)s
    ) AS owned CROSS JOIN LATERAL (
        SELECT t.size_bytes, ({conditions}) AS fits FROM taskflow_all_tasks AS t
        WHERE t.id = owned.id OFFSET 0
    ) AS one
"""


def _by_owner(table: str, owner: str, parameter: str, task: str = "task_id") -> str:
    names = {"table": table, "owner": owner, "parameter": parameter, "task": task}
    return re.sub("<([a-z]+)>", lambda found: names[found[1]], _BY_OWNER)


_BY_ORDER_KEY: Final = _by_owner("taskflow_ordered", "order_key", "order_key")
_BY_GROUP: Final = _by_owner("taskflow_group_members", "group_id", "group")
_BY_ENDPOINT: Final = _by_owner("taskflow_deliveries", "endpoint_id", "endpoint")
_BY_PARENT: Final = _by_owner("taskflow_edges", "parent_id", "parent", task="child_id")
_BY_FAILURE: Final = _by_owner("taskflow_failed_tasks", "failure_id", "failure")

# Queue by queue: then the cost of a page, its length and the id where it ends depend on no task of
# another queue. The index has all queues that a scope can have. Each queue gets an equal share of
# the window, and the result ends where the first queue has used its share.
_BY_SCOPE: Final = """
    WITH seen AS MATERIALIZED (
        SELECT unnest(%(scope_names)b::text[]) AS queue
        UNION SELECT c.queue FROM taskflow_counts AS c
        WHERE c.queue ^@ ANY (%(scope_prefixes)b::text[])
        UNION SELECT c.queue FROM taskflow_changes AS c
        WHERE c.queue ^@ ANY (%(scope_prefixes)b::text[])
    ), share AS MATERIALIZED (
        SELECT greatest(1, %(window)s / greatest(1, count(*))) AS rows FROM seen
    ), walked AS MATERIALIZED (
        SELECT one.id, one.size_bytes, one.fits,
               count(*) OVER (PARTITION BY seen.queue) >= (SELECT rows FROM share) AS is_cut,
               row_number() OVER (PARTITION BY seen.queue ORDER BY one.id ASC) = 1 AS is_last
        FROM seen CROSS JOIN LATERAL (
            SELECT * FROM (
                SELECT t.id, t.size_bytes, ({conditions}) AS fits FROM taskflow_tasks AS t
                WHERE t.queue <> 'default' AND (t.queue, t.id) < (seen.queue, %(before)s)
                  AND (t.queue, t.id) >= (seen.queue, %(min_id)s)
                ORDER BY t.queue DESC, t.id DESC LIMIT (SELECT rows FROM share)
            ) AS hot UNION ALL SELECT * FROM (
                SELECT t.id, t.size_bytes, ({conditions}) AS fits FROM taskflow_archive AS t
                WHERE t.queue <> 'default' AND t.queue = seen.queue
                  AND t.id < %(before)s AND t.id >= %(min_id)s
                ORDER BY t.id DESC LIMIT (SELECT rows FROM share)
            ) AS cold
            ORDER BY id DESC LIMIT (SELECT rows FROM share)
        ) AS one
    ), ends AS MATERIALIZED (
        SELECT id FROM walked WHERE is_cut AND is_last ORDER BY id DESC LIMIT 1
    )
    SELECT w.id, w.size_bytes, w.fits, EXISTS (SELECT FROM ends) AS is_cut FROM walked AS w
    WHERE w.id {to_hot} coalesce((SELECT id FROM ends), {end})
"""
_ARCHIVED: Final = {
    _BY_ID: _ARCHIVED_BY_ID,
    _BY_STATUS: _ARCHIVED_BY_STATUS,
    _BY_QUEUE: _ARCHIVED_BY_QUEUE,
    _BY_TAG: _ARCHIVED_BY_TAG,
}
_STATUSES: Final = "t.status = ANY (%(statuses)b::text[])"
_GROUP: Final = "t.group_id = %(group)s"
_ENDPOINT: Final = """EXISTS (
    SELECT FROM taskflow_deliveries AS d WHERE d.endpoint_id = %(endpoint)s AND d.task_id = t.id
)"""
_PARENT: Final = """EXISTS (
    SELECT FROM taskflow_edges AS e WHERE e.parent_id = %(parent)s AND e.child_id = t.id
)"""
# A task may have left its failure a moment ago.
_IS_FAILED: Final = "t.status = 'FAILED'"
_FAILURE: Final = """EXISTS (
    SELECT FROM taskflow_failed_tasks AS f WHERE f.failure_id = %(failure)s AND f.task_id = t.id
)"""
_ORDER_KEY: Final = "t.order_key = %(order_key)s"
_QUEUE: Final = "t.queue = %(queue)s"
_TAGS: Final = """NOT EXISTS (
    SELECT FROM unnest(%(tag_names)b::text[], %(tag_values)b::text[]) AS asked (name, value)
    WHERE NOT EXISTS (
        SELECT FROM taskflow_tags AS g
        WHERE g.name = asked.name AND g.value = asked.value AND g.task_id = t.id
    ) AND NOT EXISTS (
        SELECT FROM taskflow_archive_tags AS g
        WHERE g.name = asked.name AND g.value = asked.value AND g.task_id = t.id
    )
)"""
_PLAIN_CONDITIONS: Final = {
    "host": "t.host = %(host)s",
    "error_type": "t.error_type = %(error_type)s",
    "created_after": "t.created_at >= %(created_after)s",
    "created_before": "t.created_at < %(created_before)s",
    "finished_after": "t.finished_at >= %(finished_after)s",
    "finished_before": "t.finished_at < %(finished_before)s",
}

_SCAN: Final = """
WITH scanned AS MATERIALIZED ({scanned}), near AS MATERIALIZED ({near})
SELECT (array_agg(id ORDER BY id DESC) FILTER (WHERE fits))[1:%(limit)s],
       (array_agg(size_bytes ORDER BY id DESC) FILTER (WHERE fits))[1:%(limit)s],
       (SELECT id FROM near ORDER BY id ASC LIMIT 1),
       count(*),
       count(*) < (SELECT count(*) FROM scanned) OR {has_more}
FROM near
"""
_WINDOW_IS_FULL: Final = "count(*) >= %(window)s"
_SHARE_IS_USED: Final = "EXISTS (SELECT FROM scanned WHERE is_cut)"
_ALL: Final = "SELECT id, size_bytes, fits FROM scanned"
# PostgreSQL's text has no NUL and no lone surrogate, and reading JSON that contains an escaped one
# is an error. They are replaced, as no URL in a search contains them. URLs are searched as they are
# shown, so that a search cannot find out what is masked.
_URL: Final = r"""
    SELECT id, size_bytes, CASE WHEN fits THEN (
        SELECT position(%(url)s IN CASE WHEN named.url ~ '[?@#;&%%]' THEN regexp_replace(
            regexp_replace(
                regexp_replace(named.url, %(userinfo)s, %(userinfo_mask)s, 'gi'),
                %(userinfo_at_start)s, %(userinfo_mask)s, 'i'
            ), %(parameters)s, %(parameter_mask)s, 'gi'
        ) ELSE named.url END) > 0
        FROM (
            SELECT CASE WHEN position('\u0000' IN t.payload::text) = 0
                         AND position('\ud' IN lower(t.payload::text)) = 0 THEN t.payload
                   ELSE regexp_replace(
                       t.payload::text, '(?<!\\)((?:\\\\)*)\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}'
                       '(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)'
                       '[dD][c-fC-F][0-9a-fA-F]{2})', '\1\\u0001', 'g'
                   )::json END AS payload
            FROM taskflow_all_tasks AS t WHERE t.id = measured.id OFFSET 0
        ) AS readable CROSS JOIN LATERAL (
            SELECT CASE json_typeof(readable.payload)
                   WHEN 'string' THEN readable.payload #>> '{}'
                   WHEN 'object' THEN CASE WHEN json_typeof(readable.payload -> 'url') = 'string'
                                      THEN readable.payload ->> 'url' END
                   END AS url OFFSET 0
        ) AS named
    ) END AS fits
    FROM (
        SELECT id, size_bytes, fits,
               sum(CASE WHEN fits THEN size_bytes ELSE 0 END) OVER (ORDER BY id DESC)
               - CASE WHEN fits THEN size_bytes ELSE 0 END AS bytes_before
        FROM scanned
    ) AS measured
    WHERE bytes_before < %(window_bytes)s
"""


# What differs between the orders, besides ASC and DESC: how far a page may go, as it scans.
_DIRECTIONS: Final[Mapping[PageOrder, Mapping[str, str]]] = {
    PageOrder.NEWEST: {"to_hot": ">=", "end": "%(min_id)s"},
    PageOrder.OLDEST: {"to_hot": "<=", "end": "%(before)s"},
}
_SORT: Final = re.compile(r"\b(?:ASC|DESC)\b")
_REVERSED: Final = {"ASC": "DESC", "DESC": "ASC"}


class Found(NamedTuple):
    """The ids of a page in its order, and the id after which the next one begins."""

    ids: list[uuid.UUID]
    next_before: uuid.UUID | None


class Search(msgspec.Struct, frozen=True):
    """Parameters of a page.

    Attributes:
        wanted: The filter.
        limit: Maximum number of tasks.
        before: Only ids less than this one; with the oldest task first, greater ones.
        budget_bytes: Maximum size of their documents, which the last one may exceed.
        masking: What is masked in their URLs.
        held: What is held, if the filter depends on that.
        order: The order of the tasks.
    """

    wanted: TaskFilter
    limit: int
    before: uuid.UUID | None
    budget_bytes: int
    masking: Masking = MASKING
    held: HeldLanes = NOTHING_HELD
    order: PageOrder = PageOrder.NEWEST


def find(connection: Connection, sql: Mapping[str, str], search: Search) -> Found:
    """Find the next tasks that match."""
    wanted = search.wanted
    is_newest_first = search.order is PageOrder.NEWEST
    if is_newest_first and wanted == TaskFilter(statuses=wanted.statuses[:1]):
        return _find_plain(connection, sql, search)
    with connection.transaction():
        connection.execute(SETTINGS)
        return _scan(connection, search)


def statement_for(wanted: TaskFilter, order: PageOrder = PageOrder.NEWEST) -> str:
    """Return the statement that scans a window of the index for this filter."""
    wanted = _with_statuses(wanted)
    conditions = [
        condition
        for name, condition in _PLAIN_CONDITIONS.items()
        if getattr(wanted, name) is not None
    ]
    is_by_scope = wanted.scope is not None
    is_by_group = wanted.group is not None and not is_by_scope
    is_by_endpoint = wanted.endpoint is not None and not is_by_scope | is_by_group
    is_chosen = is_by_scope or is_by_group or is_by_endpoint
    is_by_parent = wanted.parent is not None and not is_chosen
    is_chosen |= is_by_parent
    is_by_failure = wanted.failure is not None and not is_chosen
    is_chosen |= is_by_failure
    is_by_key = wanted.order_key is not None and not is_chosen
    is_chosen |= is_by_key
    is_by_tag = bool(wanted.tags) and not is_chosen
    is_chosen |= is_by_tag
    is_by_status = len(wanted.statuses) == 1 and not is_chosen
    is_by_queue = wanted.queue not in (None, DEFAULT_QUEUE) and not is_chosen | is_by_status
    if wanted.statuses and not is_by_status:
        conditions.append(_STATUSES)
    if wanted.states:
        conditions.append(in_states(wanted.states))
    if wanted.group is not None and not is_by_group:
        conditions.append(_GROUP)
    if wanted.endpoint is not None and not is_by_endpoint:
        conditions.append(_ENDPOINT)
    if wanted.parent is not None and not is_by_parent:
        conditions.append(_PARENT)
    conditions += _conditions_of_failure(wanted, is_by_failure=is_by_failure)
    if wanted.order_key is not None and not is_by_key:
        conditions.append(_ORDER_KEY)
    if wanted.queue is not None and not is_by_queue:
        conditions.append(_QUEUE)
    if len(wanted.tags) > is_by_tag:
        conditions.append(_TAGS)
    paths = {
        _BY_SCOPE: is_by_scope,
        _BY_GROUP: is_by_group,
        _BY_ENDPOINT: is_by_endpoint,
        _BY_PARENT: is_by_parent,
        _BY_FAILURE: is_by_failure,
        _BY_ORDER_KEY: is_by_key,
        _BY_TAG: is_by_tag,
    }
    paths |= {_BY_STATUS: is_by_status, _BY_QUEUE: is_by_queue, _BY_ID: True}
    path = next(path for path, is_it in paths.items() if is_it)
    tested = " AND ".join(conditions) or "true"
    statement = _SCAN.format(
        scanned=_scan_of(path, tested, _DIRECTIONS[order]),
        near=_ALL if wanted.url_contains is None else _URL,
        has_more=_SHARE_IS_USED if is_by_scope else _WINDOW_IS_FULL,
    )
    if order is PageOrder.NEWEST:
        return statement
    return _SORT.sub(lambda sort: _REVERSED[sort[0]], statement)


def _scan_of(path: str, conditions: str, direction: Mapping[str, str]) -> str:
    """Return the scan of an index, and of the same index of the archive if there is one."""
    scan = path.format(conditions=conditions, **direction)
    if path not in _ARCHIVED:
        return scan
    end_of_hot = _END_OF_HOT.format(**direction)
    archived = _ARCHIVED[path].format(conditions=conditions, end_of_hot=end_of_hot, **direction)
    return _BOTH.format(hot=scan, cold=archived)


def _conditions_of_failure(wanted: TaskFilter, *, is_by_failure: bool) -> list[str]:
    if wanted.failure is None:
        return []
    return [_IS_FAILED] if is_by_failure else [_IS_FAILED, _FAILURE]


def parameters_for(search: Search) -> dict[str, Any]:
    """Return the parameters of that statement that are the same for each window."""
    wanted = _with_statuses(search.wanted)
    first_tag = wanted.tags[0] if wanted.tags else (None, None)
    return {
        **{name: getattr(wanted, name) for name in _PLAIN_CONDITIONS},
        **_within(wanted.id_prefix, _bounds_of(search)),
        "statuses": [status.value for status in wanted.statuses],
        "status": wanted.statuses[0].value if wanted.statuses else None,
        "queue": wanted.queue,
        "order_key": wanted.order_key,
        "group": wanted.group,
        "endpoint": wanted.endpoint,
        "parent": wanted.parent,
        "failure": wanted.failure,
        "tag_name": first_tag[0],
        "tag_value": first_tag[1],
        "tag_names": [name for name, _ in wanted.tags],
        "tag_values": [value for _, value in wanted.tags],
        "error_type": wanted.error_type and wanted.error_type.value,
        "url": wanted.url_contains,
        "window_bytes": WINDOW_BYTES,
        **(wanted.scope.parameters() if wanted.scope else {}),
        **parameters_of_states(search.held),
        "userinfo": USERINFO,
        "userinfo_at_start": USERINFO_AT_START,
        "userinfo_mask": USERINFO_MASK,
        "parameters": search.masking.parameters,
        "parameter_mask": PARAMETER_MASK,
    }


def _with_statuses(wanted: TaskFilter) -> TaskFilter:
    """Return the filter with the statuses of its states, by which an index is selected."""
    if not wanted.states or wanted.statuses:
        return wanted
    statuses = tuple(dict.fromkeys(state.status for state in wanted.states))
    return msgspec.structs.replace(wanted, statuses=statuses)


def _bounds_of(search: Search) -> dict[str, uuid.UUID]:
    wanted, is_oldest_first = search.wanted, search.order is PageOrder.OLDEST
    bounds = id_range(
        None if is_oldest_first else search.before,
        wanted.created_after,
        wanted.created_before,
        wanted.finished_before,
    )
    if is_oldest_first and search.before is not None:
        bounds["min_id"] = max(bounds["min_id"], _after(search.before))
    return bounds


def _after(task_id: uuid.UUID) -> uuid.UUID:
    return uuid.UUID(int=min(task_id.int + 1, _MAX_ID.int))


def id_range(
    before: uuid.UUID | None, after_at: dt.datetime | None, *before_at: dt.datetime | None
) -> dict[str, uuid.UUID]:
    """Return the bounds of the ids (UUIDv7) that a page can have, as parameters.

    Args:
        before: Only ids less than this one.
        after_at: Only rows of this time or later.
        before_at: Only rows of before these times.
    """
    limits = [_min_id(moment, _SLACK_MILLISECONDS) for moment in before_at if moment is not None]
    min_id = _MIN_ID if after_at is None else _min_id(after_at, -_SLACK_MILLISECONDS)
    return {"before": min(before or _MAX_ID, *limits, _MAX_ID), "min_id": min_id}


def _within(prefix: str | None, bounds: dict[str, uuid.UUID]) -> dict[str, uuid.UUID]:
    """Narrow the bounds of the ids to ids that begin with these hexadecimal digits."""
    if prefix is None:
        return bounds
    size = 16 ** (_ID_DIGITS - len(prefix))
    first = int(prefix, 16) * size
    last = min(first + size, _MAX_ID.int)
    return {
        "before": min(bounds["before"], uuid.UUID(int=last)),
        "min_id": max(bounds["min_id"], uuid.UUID(int=first)),
    }


def _find_plain(connection: Connection, sql: Mapping[str, str], search: Search) -> Found:
    """Find all tasks or those with one status: every row of the index matches."""
    statuses = search.wanted.statuses
    parameters = {
        "limit": search.limit,
        "before": search.before or _MAX_ID,
        "status": statuses[0].value if statuses else None,
        "budget_bytes": search.budget_bytes,
    }
    name = "page_by_status" if statuses else "page"
    ids: Any
    [(ids, has_more, is_complete)] = connection.execute(sql[name], parameters)
    if not is_complete:
        [(ids, has_more)] = connection.execute(sql[f"{name}_anywhere"], parameters)
    return Found(ids or [], ids[-1] if has_more else None)


def _scan(connection: Connection, search: Search) -> Found:
    statement = statement_for(search.wanted, search.order)
    parameters = parameters_for(search)
    deadline = time.monotonic() + MAX_SCAN_SECONDS
    window = min(FIRST_WINDOW_SHARE * search.limit, MAX_WINDOW)
    ids: list[uuid.UUID] = []
    size_bytes = scanned = 0
    while True:
        now = {"window": window, "limit": search.limit + 1 - len(ids)}
        row: Any
        [row] = connection.execute(statement, parameters | now)
        found, sizes, last, count, has_more = row
        for task_id, size in zip(found or (), sizes or (), strict=True):
            if len(ids) == search.limit or size_bytes >= search.budget_bytes:
                return Found(ids, ids[-1])
            ids.append(task_id)
            size_bytes += size
        if not has_more:
            return Found(ids, None)
        scanned += count
        is_full = len(ids) == search.limit or size_bytes >= search.budget_bytes
        if is_full or scanned >= MAX_SCANNED or time.monotonic() >= deadline:
            return Found(ids, last)
        if search.order is PageOrder.NEWEST:
            parameters["before"] = last
        else:
            parameters["min_id"] = _after(last)
        window = min(2 * window, MAX_WINDOW)


def _min_id(moment: dt.datetime, more_milliseconds: int) -> uuid.UUID:
    """Return the minimum id of this time (UUIDv7), like ``taskflow_least_id`` in the database."""
    milliseconds = (moment - _EPOCH) // _MILLISECOND + more_milliseconds
    bounded = min(max(milliseconds, 0), 2**48 - 1)
    return uuid.UUID(int=bounded << 80 | 7 << 76 | 2 << 62)
