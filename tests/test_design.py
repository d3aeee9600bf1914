"""The list of packages in the design matches the source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "taskflow"


def test_the_packages_are_listed():
    """Each package and each module at the top has its line, and no line is about anything else."""
    packages = {path.parent for path in PACKAGE.rglob("__init__.py")} - {PACKAGE}
    sql = {path.parent for path in PACKAGE.rglob("*.sql")}
    modules = set(PACKAGE.glob("*.py")) - {PACKAGE / "__init__.py"}
    there = {path.relative_to(REPOSITORY).as_posix() for path in packages | sql | modules}
    assert set(listed()) == there


def listed() -> Iterator[str]:
    """The paths in the list: folders without their slash."""
    [block] = re.findall(
        r"^```\n(taskflow/\n.*?)^```$",
        (REPOSITORY / "docs" / "design.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    folders: list[str] = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders[depth:] = [name.rstrip("/")]
        if depth:
            yield "/".join(folders)
