"""Claims of tasks in cells.

The service runs an engine for each cell, on the store of that cell. These verbs are for one node
that works for all cells: each cell gets its turn, and each cell has an order of its own.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec
import trio

from taskflow.model.claim_selection import HostShares
from taskflow.model.task import Claim, ClaimKey
from taskflow.store.base.claims import (
    ClaimStore,
    IdleNode,
    Release,
    Reservation,
    Retry,
    Settlement,
)
from taskflow.store.base.store import TaskStore
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.first_wait import first_of
from taskflow.store.cells.node_ids import NodeIds


class CellClaims(ClaimStore):
    """Claims tasks of all cells, and writes their outcomes."""

    def __init__(self, cells: Cells, nodes: NodeIds) -> None:
        self._cells = cells
        self._nodes = nodes
        self._turns: Final = itertools.count()

    async def claim(
        self,
        node_id: uuid.UUID,
        *,
        limit: int,
        by_age: int = 0,
        token: uuid.UUID | None = None,
        shares: HostShares | None = None,
    ) -> list[Claim]:
        claims: list[Claim] = []
        cells = list(self._cells)
        begin = next(self._turns) % len(cells)
        for cell in (*cells[begin:], *cells[:begin]):
            if len(claims) < limit:
                claims += await self._claim(
                    cell,
                    node_id,
                    limit=limit - len(claims),
                    by_age=min(by_age, limit - len(claims)),
                    token=token,
                    shares=shares,
                )
        return claims

    async def _claim(
        self,
        cell: Cell,
        node_id: uuid.UUID,
        *,
        limit: int,
        by_age: int,
        token: uuid.UUID | None,
        shares: HostShares | None,
    ) -> list[Claim]:
        own_id = self._nodes.own_id(node_id, cell)
        return await cell.run(
            lambda store: store.claim(
                own_id, limit=limit, by_age=by_age, token=token, shares=shares
            )
        )

    async def settle(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        return await self._cells.write(settlements, lambda store, part: store.settle(part))

    async def schedule_retries(self, retries: Sequence[Retry]) -> set[uuid.UUID]:
        return await self._cells.write(retries, lambda store, part: store.schedule_retries(part))

    async def release(self, releases: Sequence[Release]) -> set[uuid.UUID]:
        return await self._cells.write(releases, lambda store, part: store.release(part))

    async def lost_claims(self, claims: Collection[ClaimKey]) -> set[ClaimKey]:
        found = await self._cells.each(lambda store: store.lost_claims(claims))
        return set(claims).intersection(*(one.result for one in found))

    async def wait_for_work(self, node: IdleNode | None = None) -> None:
        await first_of(
            [
                functools.partial(
                    cell.store.wait_for_work,
                    None if node is None else _NodeOfCell(node, self._nodes, cell),
                )
                for cell in self._cells
                if cell.store is not None
            ]
        )

    async def wait_for_cancellations(self, node_id: uuid.UUID) -> set[ClaimKey]:
        keys: set[ClaimKey] = set()
        async with trio.open_nursery() as nursery:

            async def wait(store: TaskStore, own_id: uuid.UUID) -> None:
                keys.update(await store.wait_for_cancellations(own_id))
                nursery.cancel_scope.cancel()

            for cell in self._cells:
                if cell.store is not None:
                    nursery.start_soon(wait, cell.store, self._nodes.own_id(node_id, cell))
        return keys


class _NodeOfCell(IdleNode):
    """A node as a cell knows it: by its id there."""

    def __init__(self, node: IdleNode, nodes: NodeIds, cell: Cell) -> None:
        self._node = node
        self._nodes = nodes
        self._cell = cell

    @contextlib.contextmanager
    def reserve(self, limit: int) -> Iterator[Reservation]:
        with self._node.reserve(limit) as reservation:
            own_id = self._nodes.own_id(reservation.node_id, self._cell)
            yield msgspec.structs.replace(reservation, node_id=own_id)
