"""What pages name: settings, tests, files of the repository."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.pages import REPOSITORY

SETTING = re.compile(r"\bTASKFLOW_[A-Z_]*[A-Z]\b")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"(test_\w+?)(?:\.\.\.)?")
FILE = re.compile(r"(?:\./)?((?:[a-z][\w.-]*/)*[a-z0-9][\w-]*\.(?:py|sql|tsv|md|sh|yaml|lock))")
OF_READERS = {"taskflow.yaml"}  # files that a reader writes
FOLDER = re.compile(r"((?:tests|taskflow|docs|benchmarks)/(?:[\w.-]+/)*)")


def unknown_names(page: Path) -> list[str]:
    """Return the names of things that do not exist, or not any more."""
    return sorted(set(_unknown(page.read_text("utf-8"))))


def _unknown(text: str) -> Iterator[str]:
    yield from (one for one in SETTING.findall(text) if one not in _code())
    for name in CODE.findall(BLOCK.sub("", text)):
        if (test := TEST.fullmatch(name)) and f"def {test[1]}" not in _code():
            yield name
        file = FILE.fullmatch(name) or FOLDER.fullmatch(name)
        if file and "NNNN" not in name and name not in OF_READERS and not _is_there(file[1]):
            yield name


def _is_there(name: str) -> bool:
    """Whether a path ends like this, or leads through this folder."""
    return f"/{name}" in _paths() if name.endswith("/") else f"/{name}\n" in _paths()


@functools.cache
def _files() -> list[Path]:
    """All that is kept here, or was made of it; nothing in folders that are hidden."""
    found = (path.relative_to(REPOSITORY) for path in REPOSITORY.rglob("*") if path.is_file())
    return [path for path in found if not any(part.startswith(".") for part in path.parts[:-1])]


@functools.cache
def _code() -> str:
    wanted = (path for path in _files() if path.suffix in {".py", ".sh"} or path.name[0] == ".")
    return "\n".join((REPOSITORY / path).read_text("utf-8", "replace") for path in wanted)


@functools.cache
def _paths() -> str:
    """Every file with a slash before each part of it, so that any end of its path is found."""
    return "".join(f"/{path.as_posix()}\n" for path in _files())
