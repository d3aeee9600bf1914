"""The table of moves."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from taskflow.model.errors import IllegalMove
from taskflow.model.lifecycle import (
    TRANSITIONS,
    Move,
    allows,
    check_deletable,
    check_skippable,
    diagram,
    sources_of,
    target_of,
)
from taskflow.model.task import TaskStatus

REPOSITORY = Path(__file__).parents[2]


def test_the_table_is_the_law():
    """Return all legal moves, written out again independently."""
    assert {tuple(map(str, row[:3])) for row in TRANSITIONS} == {
        ("PENDING", "claim", "RUNNING"),
        ("PENDING", "expire", "FAILED"),
        ("PENDING", "parent failed", "FAILED"),
        ("PENDING", "cancel", "CANCELED"),
        ("RUNNING", "complete", "COMPLETED"),
        ("RUNNING", "fail", "FAILED"),
        ("RUNNING", "retry", "PENDING"),
        ("RUNNING", "release", "PENDING"),
        ("RUNNING", "rescue", "PENDING"),
        ("RUNNING", "poison", "FAILED"),
        ("RUNNING", "cancel", "CANCELED"),
        ("FAILED", "manual retry", "PENDING"),
        ("FAILED", "cancel", "CANCELED"),
        ("CANCELED", "manual retry", "PENDING"),
    }


@pytest.mark.parametrize(("status", "move"), list(itertools.product(TaskStatus, Move)))
def test_every_pair_is_legal_or_rejected(status, move):
    """A legal move changes the status; any other raises an error with both names."""
    if allows(status, move):
        assert target_of(status, move) is not status
        assert status in sources_of(move)
    else:
        with pytest.raises(IllegalMove, match=f"cannot {move.verb} a task that is {status}"):
            target_of(status, move)
        assert status not in sources_of(move)


@pytest.mark.parametrize(("status", "move"), list(itertools.product(TaskStatus, Move)))
def test_holders_of_a_key_may_be_canceled(status, move):
    """A FAILED task that holds its order key has one move more than others."""
    is_special = (status, move) == (TaskStatus.FAILED, Move.CANCEL)
    assert allows(status, move, holds_key=True) == (allows(status, move) or is_special)
    if is_special:
        assert not allows(status, move)
        assert target_of(status, move, holds_key=True) is TaskStatus.CANCELED


@pytest.mark.parametrize("status", TaskStatus)
def test_skippable_tasks(status):
    """Only a task that holds its order key; the error says which tasks do."""
    check_skippable(status, holds_key=True)
    with pytest.raises(IllegalMove, match=r"^cannot skip .*; only a task that FAILED with"):
        check_skippable(status, holds_key=False)


def test_completed_is_for_ever():
    """No move leaves COMPLETED, and only a client moves a task with another final status."""
    away = {(row.source, row.move) for row in TRANSITIONS if row.source.is_final}
    assert {move for _, move in away} == {Move.MANUAL_RETRY, Move.CANCEL}
    assert TaskStatus.COMPLETED not in {source for source, _ in away}


def test_every_task_can_finish():
    """A final status can be reached from each other status."""
    for status in TaskStatus:
        assert status.is_final or any(
            row.target.is_final or row.target is TaskStatus.RUNNING
            for row in TRANSITIONS
            if row.source is status
        )


API_VERBS = {Move.CANCEL: "cancel", Move.MANUAL_RETRY: "retry"}
INTERNAL_WORDS = ("requeue", "manual", "release", "settle", "rescue", "_")


@pytest.mark.parametrize(("status", "move"), list(itertools.product(TaskStatus, API_VERBS)))
def test_errors_use_the_words_of_the_api(status, move):
    """A client that calls /retry is not told that its task cannot be "requeued"."""
    if allows(status, move):
        return
    with pytest.raises(IllegalMove, match=f"^cannot {API_VERBS[move]} a task that is ") as raised:
        target_of(status, move)
    assert not any(word in str(raised.value) for word in INTERNAL_WORDS)


@pytest.mark.parametrize("document", ["docs/api-by-example.md", "docs/design.md"])
def test_the_docs_show_the_table(document):
    """The diagram in the docs is the one that the table makes."""
    assert f"```mermaid\n{diagram()}\n```" in (REPOSITORY / document).read_text()


def test_the_database_knows_the_same_statuses():
    """The CHECKs of the schema name all statuses and the final ones, as the model does."""
    schema = REPOSITORY / "taskflow/store/postgres/migrations/0001_tasks.sql"
    lists = [
        set(re.findall(r"'(\w+)'", found))
        for found in re.findall(r"status IN \(([^)]*)\)", schema.read_text())
    ]
    assert lists == [set(TaskStatus), {status for status in TaskStatus if status.is_final}]


@pytest.mark.parametrize("status", TaskStatus)
def test_deletable_statuses(status):
    """Finished tasks can be deleted; the error for others says what to do first."""
    if status.is_final:
        check_deletable(status)
    else:
        with pytest.raises(IllegalMove, match=f"that is {status}; cancel it first"):
            check_deletable(status)
