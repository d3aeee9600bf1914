"""What is held against a scenario once all is quiet: nothing lost, nothing contradicted."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import NamedTuple

from tests.chaos.audit import Step, steps_of, unlawful
from tests.chaos.counting import CountingTarget
from tests.chaos.load import ENDPOINTS, Load
from tests.chaos.reporting import Reporter
from tests.service.database import Tasks

ROWS = (
    "SELECT id::text, coalesce(payload ->> 'url', payload #>> '{}'), status, error_type, rescues, "
    "order_key, unique_key, group_id::text, options ->> 'completion_of', "
    "attempt, result -> 'result' ->> 'token' FROM taskflow_all_tasks "
    "WHERE options -> 'delivery' IS NULL"
)
GROUPS = "SELECT id::text, status, completions FROM taskflow_groups"
DELIVERIES = """
    SELECT options -> 'delivery' ->> 'event_id', options -> 'delivery' ->> 'endpoint', id::text,
           status
    FROM taskflow_all_tasks WHERE options -> 'delivery' IS NOT NULL
"""
EVENTS = "SELECT id::text, task_ids::text[] FROM taskflow_topic_events"

OPEN = """
    SELECT jsonb_strip_nulls(to_jsonb(t) - 'payload') || jsonb_build_object('parents', (
        SELECT jsonb_agg(to_jsonb(e) || jsonb_build_object('status', p.status))
        FROM taskflow_edges AS e LEFT JOIN taskflow_all_tasks AS p ON p.id = e.parent_id
        WHERE e.child_id = t.id
    ))
    FROM taskflow_tasks AS t WHERE status IN ('PENDING', 'RUNNING') LIMIT 10
"""
PARKED = "SELECT task_id::text FROM taskflow_parked"
EDGES = "SELECT parent_id::text, child_id::text FROM taskflow_edges"


class Record(NamedTuple):
    """A task as its row says at the end."""

    task_id: str
    url: str
    status: str
    error_type: str | None
    rescues: int
    order_key: str | None
    unique_key: str | None
    group: str | None
    completion_of: str | None
    attempt: int
    token: str | None

    @property
    def key(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def is_deferred(self) -> bool:
        return "/later/" in self.url


class Sent(NamedTuple):
    """A delivery as its row says at the end."""

    event_id: str
    endpoint: str
    task_id: str
    status: str


class Verdict:
    """All that is known at the end, put together."""

    def __init__(
        self, tasks: Tasks, load: Load, target: CountingTarget, reporter: Reporter
    ) -> None:
        self.records = [Record(*row) for row in tasks.execute(ROWS)]
        self.deliveries = [Sent(*row) for row in tasks.execute(DELIVERIES)]
        self.events: dict[str, list[str]] = dict(tasks.execute(EVENTS).fetchall())
        self.groups = tasks.execute(GROUPS).fetchall()
        self.steps = steps_of(tasks)
        self.edges = [(parent, child) for parent, child in tasks.execute(EDGES)]
        self.open_rows = [row for (row,) in tasks.execute(OPEN)]
        self.left_parked = [task_id for (task_id,) in tasks.execute(PARKED)]
        self.load, self.target, self.reporter = load, target, reporter
        self.ends = sorted(s.at for steps in self.steps.values() for s in steps if s.is_end)

    def lost(self) -> list[str]:
        """Tasks that were promised with a 201 and are not there, or were never fetched."""
        ids = {record.task_id for record in self.records}
        return [
            f"{key} {task_id}"
            for key, task_id in self.load.posted.items()
            if task_id not in ids or not self.target.asked.get(key)
        ] + [
            f"{key} of group {group_id}"
            for group_id, keys in self.load.groups.items()
            for key in keys
            if not self.target.asked.get(key)
        ]

    def contradictions(self) -> list[str]:
        """What cannot be so."""
        found = [f"{status} x{times} from a POST" for status, times in self.load.odd.items()]
        found += [f"such as {body!r}" for body in self.load.odd_bodies]
        keys = Counter(record.key for record in self.records)
        found += [f"{key}: {times} tasks" for key, times in keys.items() if times > 1]
        for record in self.records:
            why = unlawful(self.steps[record.task_id]) or self._unexplained(record)
            if why:
                found.append(f"{why}: {record}, {self.steps[record.task_id]}")
        found += self.disorder() + self.duplicates() + self.premature() + self.misreported()
        return found + self.wrong_deliveries() + self.miscompleted()

    def wrong_deliveries(self) -> list[str]:
        """Return what contradicts that each event has one delivery for each endpoint."""
        found = [f"event lost: {one}" for one in self.load.published - self.events.keys()]
        by_event: defaultdict[str, list[Sent]] = defaultdict(list)
        for one in self.deliveries:
            by_event[one.event_id].append(one)
            why = unlawful(self.steps[one.task_id])
            if why or one.status != "COMPLETED":
                found.append(f"{why or 'not delivered'}: {one}, {self.steps[one.task_id]}")
        for event_id in self.events.keys() | by_event.keys():
            sent = by_event[event_id]
            is_whole = sorted(one.endpoint for one in sent) == sorted(ENDPOINTS)
            if not is_whole or {one.task_id for one in sent} != set(self.events.get(event_id, ())):
                found.append(f"event {event_id}: {self.events.get(event_id)}, {sent}")
        return found

    def miscompleted(self) -> list[str]:
        """Return what contradicts the groups: each one has a single completion task.

        It was created when the last member had finished.
        """
        found = [
            f"{status}, {times} completions: group {group_id}"
            for group_id, status, times in self.groups
            if (status, times) != ("COMPLETED", 1)
        ]
        created = [one.completion_of for one in self.records if one.completion_of is not None]
        ids = [group_id for group_id, *_ in self.groups]
        if sorted(created) != sorted(ids):
            found.append(f"completion tasks {Counter(created)} of groups {ids}")
        last: dict[str | None, int] = {}
        for record in self.records:
            end = self.steps[record.task_id][-1].number
            last[record.group] = max(end, last.get(record.group, 0))
        return found + [
            f"before a task of its group finished: {record}"
            for record in self.records
            if record.completion_of is not None
            and self.steps[record.task_id][0].number < last[record.completion_of]
        ]

    def misreported(self) -> list[str]:
        """Return what contradicts the reports: none for an attempt that was over is accepted."""
        found = [f"accepted, although its attempt was over: {self.reporter.accepted_late}"]
        found = found if self.reporter.accepted_late else []
        odd = self.reporter.statuses.keys() - {0, 200, 410, 503}
        found += [f"{status} from a report" for status in odd]
        return found + [f"left parked: {task_id}" for task_id in self.left_parked]

    def deferred(self) -> int:
        """Return the number of tasks whose outcome was reported."""
        return sum(record.is_deferred for record in self.records)

    def duplicates(self) -> list[str]:
        """Return the unique keys that more than one task has, or was said to have."""
        ids = defaultdict(set, {key: set(named) for key, named in self.load.named.items()})
        for record in self.records:
            if record.unique_key is not None:
                ids[record.unique_key].add(record.task_id)
        return [f"{key}: tasks {found}" for key, found in ids.items() if len(found) > 1]

    def disorder(self) -> list[str]:
        """Return what contradicts the order keys.

        A task of a key starts when the one that started before it has finished; and it does not
        start before another one that was accepted before its request was sent.
        """
        found: list[str] = []
        by_key: defaultdict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            has_started = any(step.target == "RUNNING" for step in self.steps[record.task_id])
            if record.order_key is not None and has_started:
                by_key[record.order_key].append(record)
        for records in by_key.values():
            records.sort(key=lambda record: self._first_claim(record).number)
            for one, following in itertools.pairwise(records):
                if self.steps[one.task_id][-1].number > self._first_claim(following).number:
                    found.append(f"at the same time: {one}, {following}")
            last_sent = 0.0
            for record in records:
                if self.load.answered.get(record.key, float("inf")) < last_sent:
                    found.append(f"too late: {record}")
                last_sent = max(last_sent, self.load.sent[record.key])
        return found

    def premature(self) -> list[str]:
        """Return the children that started before a parent had finished."""
        found = []
        for parent, child in self.edges:
            claims = [step for step in self.steps[child] if step.target == "RUNNING"]
            if claims and claims[0].number < self.steps[parent][-1].number:
                found.append(f"too early: {child}, whose parent is {parent}")
        return found

    def ordered(self) -> int:
        """Return the number of tasks with an order key."""
        return sum(record.order_key is not None for record in self.records)

    def _first_claim(self, record: Record) -> Step:
        return next(step for step in self.steps[record.task_id] if step.target == "RUNNING")

    def open(self) -> int:
        """Return the number of tasks that are not finished."""
        return sum(record.status in ("PENDING", "RUNNING") for record in self.records)

    def twice(self) -> list[str]:
        """Keys that the target was asked for more often than there were attempts that count."""
        attempts = {record.key: record.attempt for record in self.records}
        return [
            key
            for key, times in self.target.asked.items()
            if len(times) > attempts.get(key, 1) and key not in ENDPOINTS
        ]

    def longest_gap(self) -> float:
        """Return the longest time without a finished task while tasks were submitted."""
        began, ended = self.load.began, self.load.ended
        until = next((at for at in self.ends if at > ended), ended)
        marks = [began, *(at for at in self.ends if began < at < until), until]
        return max(b - a for a, b in itertools.pairwise(marks))

    def first_end_after(self, at: float) -> float:
        """Return the time from that moment until the next task finished."""
        return next((end - at for end in self.ends if end > at), float("inf"))

    def taken_over(self, dead: str, held: list[str], at: float) -> float:
        """How long after a node's death the last of its tasks was fetched by another."""
        key_of = {record.task_id: record.key for record in self.records}
        waits = [
            self._next_fetch(key_of[task_id], claim.at) - at
            for task_id in held
            if task_id in key_of and (claim := _next_claim(self.steps[task_id], dead, at))
        ]
        return max(waits, default=0.0)

    def _next_fetch(self, key: str, at: float) -> float:
        return min((seen for seen in self.target.asked[key] if seen > at), default=float("inf"))

    def _unexplained(self, record: Record) -> str | None:
        if record.is_deferred:
            return self._without_a_report(record) or self._too_often(record)
        answers = self.target.answered.get(record.key, set())
        ended = {"COMPLETED": {200}, "FAILED": {404}}.get(record.status)
        if answers != ended or record.error_type not in (None, "http_status"):
            return f"an end that does not follow from the answers {answers}"
        return self._too_often(record)

    def _without_a_report(self, record: Record) -> str | None:
        completed = self.reporter.completed[record.key]
        if (record.status, record.error_type) != ("COMPLETED", None) or len(completed) > 1:
            return f"not one outcome, but {completed}"
        # The answer may have been lost.
        known = set(completed) or self.reporter.reported[record.key]
        return None if record.token in known else f"not an outcome of {known}"

    def _too_often(self, record: Record) -> str | None:
        returns = [step.is_return for step in self.steps[record.task_id]].count(True)
        if len(self.target.asked[record.key]) > 1 + returns or record.rescues > returns:
            return "more fetches than claims"
        return None


def _next_claim(steps: list[Step], dead: str, at: float) -> Step | None:
    claims = (s for s in steps if s.at > at and s.target == "RUNNING" and s.node_id != dead)
    return next(claims, None)
