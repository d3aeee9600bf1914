"""The pages of docs/reference are what the code makes."""

from __future__ import annotations

import pytest

from taskflow.model.outcome import ErrorType
from tests.reference import PAGES, errors, written


@pytest.mark.parametrize("path", PAGES)
def test_the_reference_is_up_to_date(path):
    """After a change of the code, ``python -m tests.reference`` must be run and committed."""
    assert written(path) == PAGES[path](), "run `python -m tests.reference`"


def test_each_error_type_is_explained():
    """It has a meaning and an action."""
    assert list(errors.meanings()) == list(ErrorType)
    assert all(output.meaning and output.remedy for output in errors.meanings().values())
