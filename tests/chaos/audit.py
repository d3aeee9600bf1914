"""A record of every move of every task, written by the database itself."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from taskflow.model.lifecycle import INITIAL_STATUSES, TRANSITIONS
from taskflow.model.task import TaskStatus
from tests.service.database import Tasks

INSTALL = """
CREATE TABLE chaos_moves (
    number bigint GENERATED ALWAYS AS IDENTITY,
    task_id uuid NOT NULL, source text, target text NOT NULL, node_id uuid, at float8 NOT NULL
);
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Archived tasks move back for new children.
    IF current_setting('taskflow.is_archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        -- Statements that promote children write the status also of those that start.
        IF OLD.status = NEW.status THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO chaos_moves (task_id, source, target, node_id, at) VALUES (
        NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.node_id,
        extract(epoch FROM clock_timestamp())
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER chaos_note AFTER INSERT OR UPDATE OF status ON taskflow_tasks
    FOR EACH ROW EXECUTE FUNCTION chaos_note();
"""
LEGAL = {
    *((None, status) for status in INITIAL_STATUSES),
    *((row.source, row.target) for row in TRANSITIONS),
}
FINAL = {status for status in TaskStatus if status.is_final}


class Step(NamedTuple):
    """One recorded move of a task; of all moves, later ones have greater numbers."""

    number: int
    task_id: str
    source: str | None
    target: str
    node_id: str | None
    at: float

    @property
    def is_end(self) -> bool:
        return self.target in FINAL

    @property
    def is_return(self) -> bool:
        """Whether it was taken back from a node, so that it may be fetched once more."""
        return (self.source, self.target) == (TaskStatus.RUNNING, TaskStatus.PENDING)


def install(tasks: Tasks) -> None:
    """Have every move recorded from now on."""
    tasks.execute(INSTALL)


def steps_of(tasks: Tasks) -> dict[str, list[Step]]:
    """What every task went through, in order."""
    found: defaultdict[str, list[Step]] = defaultdict(list)
    query = (
        "SELECT number, task_id::text, source, target, node_id::text, at FROM chaos_moves "
        "ORDER BY number"
    )
    for row in tasks.execute(query):
        found[row[1]].append(Step(*row))
    return found


def unlawful(steps: list[Step]) -> str | None:
    """Return what is wrong with the history of a finished task, if anything."""
    sources = [step.source for step in steps]
    if sources != [None, *(step.target for step in steps[:-1])]:
        return "moves that do not follow each other"
    if any((step.source, step.target) not in LEGAL for step in steps):
        return "a move that the table does not have"
    if [step.is_end for step in steps].count(True) != 1 or not steps[-1].is_end:
        return "not one end"
    return None
