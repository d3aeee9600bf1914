"""The list of parts in the design is that of the package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "taskflow"


def test_the_parts_are_there():
    """What the design lists is in the package, at its place."""
    assert [part for part in parts() if not (REPOSITORY / part).exists()] == []


def test_every_module_has_its_line():
    """A package has all of its modules listed, or none, where its own line says enough."""
    listed = {part for part in parts() if part.endswith(".py")}
    told = {str(Path(part).parent) for part in listed}
    modules = (path.relative_to(REPOSITORY).as_posix() for path in PACKAGE.rglob("*.py"))
    unlisted = {
        module
        for module in modules
        if not module.endswith("/__init__.py") and str(Path(module).parent) in told
    }
    assert unlisted - listed == set()


def parts() -> Iterator[str]:
    """Each file and folder of the list, by its path; a folder ends with a slash."""
    [block] = re.findall(
        r"^```\n(taskflow/\n.*?)^```$",
        (REPOSITORY / "docs" / "design.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    folders: list[str] = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        above = "".join(folders[:depth])
        names = re.match(r"\s*((?:[\w.]+(?:\.py|/) ?)+)", line)
        for name in names[1].split() if names else ():
            yield above + name
            if name.endswith("/"):
                folders[depth:] = [name]
