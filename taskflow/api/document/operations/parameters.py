"""What more than one group of operations takes or answers with."""

from __future__ import annotations

import uuid
from typing import Final

from taskflow.api.document.examples import TASK_ID
from taskflow.api.document.operations.parts import Parameter

ID_IN_PATH: Final = Parameter("id", "The task's id, as its POST gave it.", uuid.UUID, TASK_ID)
PREFER: Final = Parameter(
    "Prefer",
    "`wait=N` waits for the end of the task for up to N seconds, 60 at most; of a stream, "
    "`return=minimal` tells only of lines that made no task, at its end (RFC 7240).",
    str,
    "wait=10",
)
