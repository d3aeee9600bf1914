"""How a command begins and ends: standard streams, exit status, one line that explains an error."""

from __future__ import annotations

import enum
import errno
import os
import select
import sys
from typing import Final, NoReturn

import click

from taskflow.cli.text import safe

_STREAMS: Final = (
    ("stdin", "r", os.O_WRONLY),  # the wrong direction, so that reading fails
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_WRONLY),
)


class ExitStatus(enum.IntEnum):
    """The exit statuses; ``docs/cli.md`` and the help of ``taskflow`` list them, too."""

    OK = 0
    FAILED = 1
    """Something failed or was rejected: a task, a line, a check."""
    USAGE = 2
    """An argument or a setting is invalid."""
    UNREACHABLE = 3
    """The service or its database does not answer."""
    NOT_FOUND = 4
    """The task, queue or schedule does not exist."""
    NO_ACCESS = 5
    """The API key is missing, unknown or lacks the role."""
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    """The reader of the output has closed the pipe; the status that shells report for SIGPIPE."""


class Failure(click.ClickException):
    """An error that ends the command.

    Args:
        message: The reason, in one line.
        status: The exit status.
    """

    def __init__(self, message: str, status: ExitStatus = ExitStatus.FAILED) -> None:
        super().__init__(message)
        self.status = status


def complain(message: str) -> None:
    """Print one line on standard error, escaped."""
    click.echo(f"taskflow: {safe(message)}", err=True)


def end_by(error: BaseException) -> NoReturn:
    """End the process with the message and the exit status for an error.

    Raises:
        SystemExit: Always.
    """
    if isinstance(error, BrokenPipeError):
        discard_output()
        raise SystemExit(ExitStatus.PIPE_CLOSED) from None
    if isinstance(error, KeyboardInterrupt) and not select.select([], [sys.stdout], [], 0)[1]:
        discard_output()  # the pipe is full, and a flush would wait for its reader
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()  # Python would flush again when it exits
    if isinstance(error, click.ClickException):
        _end_by_click(error)
    if isinstance(error, OSError):
        _end_by_system(error)
    raise SystemExit(ExitStatus.INTERRUPTED) from None


def _end_by_click(error: click.ClickException) -> NoReturn:
    if isinstance(error, click.UsageError):
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        complain(f"{' '.join(error.format_message().split())}{hint}")
        raise SystemExit(ExitStatus.USAGE) from None
    complain(error.format_message())
    status = error.status if isinstance(error, Failure) else error.exit_code
    raise SystemExit(status) from None


def _end_by_system(error: OSError) -> NoReturn:
    discard_output()
    where = f": {error.filename}" if error.filename else ""
    is_closed = error.errno == errno.EBADF and not error.filename
    complain("standard output is closed" if is_closed else f"{error.strerror or error}{where}")
    raise SystemExit(ExitStatus.FAILED) from None


def ensure_standard_streams() -> None:
    """Open the standard streams that are closed.

    Otherwise the first files or sockets that the process opens get their descriptors, while
    Python has ``None`` as the stream. Reading and writing still fail as with any closed file,
    except that messages for a closed standard error are dropped.
    """
    for number, (name, mode, flags) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - a number; it stays open
        setattr(sys, name, stream)


def discard_output() -> None:
    """Discard all further output, since Python would fail to flush it when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
