"""What the files for deployments set is what can be set."""

from __future__ import annotations

import re

import pytest

from taskflow.settings import catalogue
from tests.service.processes import REPOSITORY

FILES = [
    *(REPOSITORY / name for name in ("Dockerfile", "compose.yaml", "docs/deploy.md")),
    *sorted(file for file in (REPOSITORY / "docs" / "deploy").rglob("*") if file.is_file()),
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_name_is_a_setting(file):
    """So that none is misspelt, or left behind when a setting gets another name."""
    named = set(re.findall(r"\bTASKFLOW_[A-Z_]+\b", file.read_text("utf-8")))
    assert named - {setting.variable for setting in catalogue()} == set()
