"""The user that PostgreSQL runs as: this one, or another one if this is root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from taskflow.model.errors import StoreUnusable

SYSTEM_USER: Final = "taskflow"
_USERADD_SECONDS: Final = 30.0
_USERADD_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"


class Account(msgspec.Struct, frozen=True):
    """The user that PostgreSQL runs as."""

    name: str
    uid: int
    gid: int

    @property
    def is_another(self) -> bool:
        """True if it is not the user of this process."""
        return self.uid != os.geteuid()

    def process_arguments(self) -> dict[str, Any]:
        """Return the arguments with which ``subprocess`` runs a program as this user."""
        if not self.is_another:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def owns(self, status: os.stat_result) -> bool:
        """Return whether a file of this status belongs to the user."""
        return status.st_uid == self.uid


def account_for(pgdata: Path) -> Account:
    """Return the user to run PostgreSQL as for this data.

    Raises:
        StoreUnusable: Root has no other user for it, and cannot create one.
    """
    if os.geteuid() != 0:
        return Account(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid())
    # PostgreSQL must run as the owner of existing data.
    if pgdata.exists() and (status := pgdata.stat()).st_uid != 0:
        return Account(name=str(status.st_uid), uid=status.st_uid, gid=status.st_gid)
    return _system_user() or _new_system_user()


def own_private_folder(path: Path, account: Account) -> None:
    """Create a folder that only ``account`` may enter, or check that it is one.

    The owner is changed only if the folder belongs to the user of this process, and through an
    open file, which no link can redirect.

    Raises:
        StoreUnusable: The folder belongs to another user, or is no folder.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(folder)
        if not account.owns(status) and status.st_uid != os.geteuid():
            raise StoreUnusable(f"{path} belongs to another user; PostgreSQL cannot use it")
        if not account.owns(status):
            os.fchown(folder, account.uid, account.gid)
        if stat.S_IMODE(status.st_mode) != 0o700:  # noqa: PLR2004 - the owner's alone
            os.fchmod(folder, 0o700)
    finally:
        os.close(folder)


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents; existing ones are not changed."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    # Folders of root are for a server that runs as another user, whatever the umask.
    mode = 0o755 if os.geteuid() == 0 else 0o700
    for folder in reversed(missing):
        try:
            folder.mkdir(mode)
        except FileExistsError:  # another process was faster, and sets the mode
            continue
        folder.chmod(mode)


def first_unreachable(account: Account, paths: Iterable[Path]) -> Path | None:
    """Return the first of ``paths``, or of their parents, that ``account`` cannot use.

    Folders and programs must be executable for it, other files readable. This is tested as that
    user, so that access lists count as well as modes.
    """
    if not account.is_another:
        return None
    answer = subprocess.run(  # noqa: S603 - a fixed script
        ["/bin/sh", "-c", _FIND_UNREACHABLE, "sh", *_with_parents(paths)],
        check=False,
        capture_output=True,
        cwd="/",
        env={},
        **account.process_arguments(),
    )
    return Path(os.fsdecode(answer.stdout)) if answer.stdout else None


_FIND_UNREACHABLE: Final = """
for path; do
    test -x "$path" || { test -f "$path" && test -r "$path"; } || { printf %s "$path"; exit; }
done
"""


def _with_parents(paths: Iterable[Path]) -> Iterator[str]:
    """Yield each path once, after its parents."""
    seen: dict[Path, None] = {}
    for path in paths:
        seen |= dict.fromkeys((*reversed(path.parents), path))
    yield from map(str, seen)


def _system_user() -> Account | None:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def _new_system_user() -> Account:
    complaint = _add_user()
    # Looked up even after an error: another process may have created it meanwhile.
    if account := _system_user():
        return account
    raise StoreUnusable(
        f"PostgreSQL does not run as root and the system user {SYSTEM_USER!r} cannot be made "
        f"({complaint}); run TaskFlow as another user, or make that one"
    )


def _add_user() -> str:
    program = shutil.which("useradd", path=_USERADD_PATH)
    if program is None:
        return "there is no useradd"
    nologin = shutil.which("nologin", path=_USERADD_PATH) or "/bin/false"
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program
            [program, *options, "--shell", nologin, SYSTEM_USER],
            check=False,
            capture_output=True,
            timeout=_USERADD_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.decode(errors="replace").strip().replace("\n", "; ")
