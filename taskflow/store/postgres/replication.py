"""How the server replicates commits: whether an acknowledged task survives the loss of it."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.monitoring import ReplicationMode

# With these values of synchronous_commit, no commit waits for a standby.
_LOCAL: Final = frozenset({"off", "local"})


class Replication(msgspec.Struct, frozen=True):
    """Settings and standbys of a primary.

    Attributes:
        synchronous_commit: The setting, as it is in sessions of TaskFlow.
        synchronous_standby_names: The setting; empty if no commit waits for a standby.
        standbys: Number of connected standbys.
        synchronous_standbys: Names of the standbys that commits wait for; ``None`` if the role may
            not see them.
    """

    synchronous_commit: str = "on"
    synchronous_standby_names: str = ""
    standbys: int = 0
    synchronous_standbys: list[str] | None = None

    @property
    def mode(self) -> ReplicationMode:
        """How commits are replicated.

        The settings decide: while no standby of the names is connected, commits wait for one.
        """
        if self.synchronous_standby_names.strip() and self.synchronous_commit not in _LOCAL:
            return ReplicationMode.SYNCHRONOUS
        return ReplicationMode.ASYNCHRONOUS if self.standbys else ReplicationMode.NONE
