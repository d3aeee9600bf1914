"""Measures what a group with many members costs, compared with as many plain tasks."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

import msgspec
import trio

from benchmarks.database import Database
from benchmarks.scale import LEASE_SECONDS
from benchmarks.scene import Scene
from benchmarks.table import Figure
from taskflow.model.groups import NewGroup
from taskflow.model.task import Claim, NewTask, TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Settlement
from taskflow.store.base.store import TaskStore
from taskflow.store.postgres.store import open_postgres

AT_ONCE = 50
WRITERS = 3
RESULT = b'{"ok": true}'
COMPLETION_QUEUE = "completions"

Times = dict[str, list[float]]


def groups(scene: Scene) -> Iterator[Figure]:
    """Compare a group, from its creation to its completion, with plain tasks."""
    members = scene.pick(quick=2_000, full=10_000)
    rounds = scene.pick(quick=3, full=7)
    with scene.database() as database:
        times = trio.run(partial(_rounds, database, scene.target, members, rounds))
    portion = f", {AT_ONCE} at a time"
    for verb, how, at_most in (
        ("submit", "", 2.0),
        ("claim", portion, 2.0),
        ("settle", portion, 3.0),
    ):
        in_group, plain = (
            statistics.median(times[f"{verb} {kind}"]) for kind in ("group", "plain")
        )
        yield Figure(
            what=f"{verb} {members:,} members of a group{how}",
            value=in_group,
            unit="ms",
            beside="plain tasks",
            reference=plain,
            at_most=at_most,
        )


async def _rounds(database: Database, target: str, members: int, rounds: int) -> Times:
    """Return the durations in milliseconds, of interleaved rounds."""
    times: Times = defaultdict(list)
    template = NewTask(
        msgspec.Raw(b'{"url":%b,"method":"POST"}' % msgspec.json.encode(target)),
        queue=COMPLETION_QUEUE,
        delay_seconds=LEASE_SECONDS,
    )
    async with open_postgres(database.url, Settings()) as store:
        for _ in range(rounds):
            tasks = [NewTask(msgspec.Raw(msgspec.json.encode(target))) for _ in range(members)]
            new = NewGroup(on_complete=msgspec.Raw(b"{}"), completion=template, is_open=False)
            await _round(store, times, "plain", partial(store.add, tasks))
            await _round(store, times, "group", partial(store.groups.add, new, tasks))
        page = await store.groups.page(limit=rounds + 1)
        assert [group.completions for group in page.groups] == [1] * rounds
    return times


async def _round(
    store: TaskStore, times: Times, kind: str, submit: Callable[[], Awaitable[object]]
) -> None:
    began = time.perf_counter()
    await submit()
    submitted = time.perf_counter()
    node = await store.register("benchmarks", LEASE_SECONDS)
    claims: list[Claim] = []
    while some := await store.claim(node, limit=AT_ONCE):
        claims += some
    claimed = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for writer in range(WRITERS):
            nursery.start_soon(_settle, store, claims[writer::WRITERS])
    settled = time.perf_counter()
    times[f"submit {kind}"].append(1000 * (submitted - began))
    times[f"claim {kind}"].append(1000 * (claimed - submitted))
    times[f"settle {kind}"].append(1000 * (settled - claimed))


async def _settle(store: TaskStore, claims: Sequence[Claim]) -> None:
    for begin in range(0, len(claims), AT_ONCE):
        await store.settle(
            [
                Settlement(one.task_id, one.token, TaskStatus.COMPLETED, RESULT)
                for one in claims[begin : begin + AT_ONCE]
            ]
        )
