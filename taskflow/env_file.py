"""Parses ``.env``, and rejects lines that python-dotenv would silently drop.

A dropped setting is worse than an error: tasks would go to another database. Errors name the file
and the line, and never quote the content, which may be a secret.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import dotenv
from dotenv.parser import Binding, parse_stream

from taskflow.model.errors import SettingsError

MAX_BYTES: Final = 2**20

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_env_file(path: Path) -> Mapping[str, str]:
    """Return the variables of a file; none if the file does not exist.

    If a name occurs twice, the last one counts.

    Raises:
        SettingsError: The file cannot be read, or a line is not a setting.
    """
    text = _text_of(path)
    for binding in parse_stream(io.StringIO(text)):
        if (binding.key is None and not binding.error) or _is_setting(binding):
            _check_spelling(path, binding)
            continue
        raise SettingsError(f"{path}, line {_line_of(binding)}: not a setting; write NAME=value")
    found = dotenv.dotenv_values(stream=io.StringIO(text))
    return {name: value or "" for name, value in found.items()}


def _check_spelling(path: Path, binding: Binding) -> None:
    """Reject a name of ours in lower case or with hyphens, which would be ignored.

    Raises:
        SettingsError: The name is misspelled.
    """
    name = binding.key or ""
    right = name.upper().replace("-", "_").replace(".", "_")
    is_ours = right == "DATABASE_URL" or right.startswith("TASKFLOW_")
    if is_ours and right != name:
        raise SettingsError(
            f"{path}, line {_line_of(binding)}: {name} is not a setting; write {right}"
        )


def _is_setting(binding: Binding) -> bool:
    is_named = binding.key is not None and _NAME.fullmatch(binding.key) is not None
    return is_named and binding.value is not None and not binding.error


def _line_of(binding: Binding) -> int:
    """Return the line number of a setting; its text includes the blank lines before it."""
    text = binding.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(_LINE_END.findall(blank))


def _text_of(path: Path) -> str:
    data = _bytes_of(path).removeprefix(codecs.BOM_UTF8)
    if data.startswith(_UTF16_MARKS):
        raise SettingsError(f"{path} is UTF-16: save it as UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = _line_at(data[: error.start].decode())
        raise SettingsError(f"{path}, line {line}: not UTF-8; save it as UTF-8") from None
    if "\0" in text:
        line = _line_at(text.partition("\0")[0])
        raise SettingsError(f"{path}, line {line}: a NUL character; save it as UTF-8 text")
    return text


def _line_at(before: str) -> int:
    return 1 + len(_LINE_END.findall(before))


def _bytes_of(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise SettingsError(f"{path} is {_kind_of(mode)}: it must be a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise SettingsError(f"{path} is a link to a file that does not exist") from None
        return b""
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise SettingsError(f"{path} is larger than 1 MiB: it must be a settings file")
    return data


def _kind_of(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a named pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
