"""The pages of docs/reference are what the code makes."""

from __future__ import annotations

import pytest

from taskflow.model.outcome import ErrorType
from tests.reference import PAGES, errors, written


@pytest.mark.parametrize("path", PAGES)
def test_it_is_written_anew(path):
    """After a change of the code, ``python -m tests.reference`` must be run and committed."""
    assert written(path) == PAGES[path](), "run `python -m tests.reference`"


def test_each_error_type_says_what_it_means():
    """And what to do about it."""
    assert list(errors.meanings()) == list(ErrorType)
    assert all(said.meaning and said.remedy for said in errors.meanings().values())
