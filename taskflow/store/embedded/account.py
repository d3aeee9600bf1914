"""As whom PostgreSQL runs: as ourselves, or, since it refuses root, as another user."""

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
        """Whether it is somebody else than this process's own user."""
        return self.uid != os.geteuid()

    def process_arguments(self) -> dict[str, Any]:
        """What makes ``subprocess`` run a program as this user."""
        if not self.is_another:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def owns(self, status: os.stat_result) -> bool:
        """Whether a file of this status is the user's."""
        return status.st_uid == self.uid


def account_for(pgdata: Path) -> Account:
    """Whom to run PostgreSQL as for this data.

    Raises:
        StoreUnusable: Root has no other user for it, and cannot make one.
    """
    if os.geteuid() != 0:
        return Account(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid())
    # Data that another user made before is run as that user: PostgreSQL insists on it.
    if pgdata.exists() and (status := pgdata.stat()).st_uid != 0:
        return Account(name=str(status.st_uid), uid=status.st_uid, gid=status.st_gid)
    return _system_user() or _new_system_user()


def own_private_folder(path: Path, account: Account) -> None:
    """Make a folder that only ``account`` may enter, or check that it is one.

    Only a folder that this process's user made is handed over, and through an open file
    that no link can redirect.

    Raises:
        StoreUnusable: The folder is somebody else's, or no folder.
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
    """Make a folder and those above it that are missing; those that exist stay as they are."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    # Root's are for a server that runs as another user, whatever the umask says.
    mode = 0o755 if os.geteuid() == 0 else 0o700
    for folder in reversed(missing):
        try:
            folder.mkdir(mode)
        except FileExistsError:  # another process was faster, and sets the mode
            continue
        folder.chmod(mode)


def first_unreachable(account: Account, paths: Iterable[Path]) -> Path | None:
    """The first of ``paths``, or folder above one, that ``account`` cannot use.

    Folders and programs must be executable for it, other files readable. The kernel is
    asked as that user, so that access lists count as well as modes.
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
    """Each path once, after the folders above it."""
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
    # Looked up whatever was said: another process may have made it in the meantime.
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
