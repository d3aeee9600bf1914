"""How a command ends: its exit status, and the one line that says why."""

from __future__ import annotations

import enum
import errno
import os
import select
import sys
from typing import NoReturn

import click

from taskflow.cli.text import safe


class ExitStatus(enum.IntEnum):
    """What a command ends with; ``docs/cli.md`` and the help have the same."""

    OK = 0
    FAILED = 1
    """Something failed or was refused: a task, a line, a check."""
    USAGE = 2
    """An argument or a setting cannot be used."""
    UNREACHABLE = 3
    """The service or its database does not answer."""
    NOT_FOUND = 4
    """There is no such task, queue or schedule."""
    NO_ACCESS = 5
    """A key is needed, or another one."""
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    """Whoever read the output has left; as a shell tells it of SIGPIPE."""


class Failure(click.ClickException):
    """A command that cannot go on.

    Args:
        message: Why, in one line.
        status: What to end with.
    """

    def __init__(self, message: str, status: ExitStatus = ExitStatus.FAILED) -> None:
        super().__init__(message)
        self.status = status


def complain(message: str) -> None:
    """Say a line on standard error, whatever is in it."""
    click.echo(f"taskflow: {safe(message)}", err=True)


def end_by(error: BaseException) -> NoReturn:
    """End the process as this error says, with a line about it.

    Raises:
        SystemExit: Always.
    """
    if isinstance(error, BrokenPipeError):
        leave_output()
        raise SystemExit(ExitStatus.PIPE_CLOSED) from None
    if isinstance(error, KeyboardInterrupt) and not select.select([], [sys.stdout], [], 0)[1]:
        leave_output()  # nobody reads, and who pressed Ctrl+C does not want to wait for it
    try:
        sys.stdout.flush()
    except OSError:
        leave_output()  # Python would try again at its end
    if isinstance(error, click.UsageError):
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        complain(f"{' '.join(error.format_message().split())}{hint}")
        raise SystemExit(ExitStatus.USAGE) from None
    if isinstance(error, click.ClickException):
        complain(error.format_message())
        status = error.status if isinstance(error, Failure) else error.exit_code
        raise SystemExit(status) from None
    if isinstance(error, OSError):
        leave_output()
        where = f": {error.filename}" if error.filename else ""
        is_closed = error.errno == errno.EBADF and not error.filename
        complain("standard output is closed" if is_closed else f"{error.strerror or error}{where}")
        raise SystemExit(ExitStatus.FAILED) from None
    raise SystemExit(ExitStatus.INTERRUPTED) from None


def leave_output() -> None:
    """Write no more: Python would flush what is left at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
