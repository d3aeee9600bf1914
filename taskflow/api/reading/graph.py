"""The parents of tasks of one request, as far as they can be checked without the store."""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.checkpoints import Checkpoints
from taskflow.model.graphs import faults_of
from taskflow.model.task import NewTask
from taskflow.schema.validation_errors import ValidationErrors, token


async def check_graph(
    tasks: Sequence[NewTask], errors: ValidationErrors, *, under: str = ""
) -> None:
    """Add an error for each name or parent that is wrong because of other tasks.

    Args:
        tasks: The tasks of the request, each of them valid.
        errors: Where errors are added.
        under: The place of the array in the request.
    """
    if not any(task.after or task.options.name for task in tasks):
        return
    checkpoints = Checkpoints()
    for fault in faults_of(tasks):
        if fault is not None:
            errors.add(f"{under}{token(fault.index)}{fault.pointer}", fault.detail)
        if errors.is_full:
            break
        await checkpoints.after(0)
