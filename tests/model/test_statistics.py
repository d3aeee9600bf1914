"""Which part of a minute counts."""

from __future__ import annotations

import pytest

from taskflow.model.queues import shares


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, (1, 1, 1)),
        (60, (1, 1, 1)),
        (90, (0.5, 1, 1)),
        (120, (0, 1, 1)),
        (345, (0, 0.25, 1)),
        (3615, (0, 0, 0.75)),
        (3660, (0, 0, 0)),
        (9999, (0, 0, 0)),
    ],
)
def test_shares(age, expected):
    """A minute counts as a whole until it leaves a window, and then by the share still in it."""
    assert shares(age) == expected
