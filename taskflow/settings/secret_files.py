"""Reads the files of keys and secrets that settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from taskflow.model.errors import SettingsError

_OTHERS_MAY_READ: Final = 0o004


class SecretFile(NamedTuple):
    """The entries of a file of keys or secrets.

    Attributes:
        entries: The place and the text of each line; empty lines and comments are skipped.
        is_open: Whether other users of the machine may read the file.
    """

    entries: list[tuple[str, str]]
    is_open: bool


def read_secret_file(path: Path, variable: str) -> SecretFile:
    """Read a file of keys or secrets, one per line.

    Args:
        path: The file.
        variable: The setting that names it, for errors.

    Raises:
        SettingsError: The file cannot be read, or is not UTF-8 text.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
        is_open = bool(path.stat().st_mode & _OTHERS_MAY_READ)
    except OSError as error:
        raise SettingsError(f"{variable}={str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}={str(path)!r} is not UTF-8 text") from None
    entries = [
        (f"{path}, line {number}", line.strip())
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return SecretFile(entries, is_open)
