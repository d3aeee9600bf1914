"""How far a command is that takes its time: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from taskflow.cli import output


class Meter:
    """What is told while something goes on.

    Args:
        progress: What draws it, if anything does.
        bar: Its bar.
    """

    def __init__(self, progress: Progress | None, bar: TaskID | None) -> None:
        self._progress = progress
        self._bar = bar

    def show(self, text: str, done: float | None = None) -> None:
        """Say this, and how much is done if that is known."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=done, said=text)


@contextmanager
def meter(total: float | None, *, is_wanted: bool = True) -> Iterator[Meter]:
    """A meter on standard error, if that is a terminal.

    Args:
        total: How much there is to do, if that is known.
        is_wanted: Whether there is enough to do for it.
    """
    if not (is_wanted and sys.stderr.isatty()):
        yield Meter(None, None)
        return
    progress = Progress(
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        TimeElapsedColumn(),
        console=output.console(is_error=True),
        transient=True,
        # What is printed meanwhile stands above the bar, if both are on the terminal.
        redirect_stdout=output.is_terminal(),
        redirect_stderr=True,
    )
    with progress:
        yield Meter(progress, progress.add_task("", total=total, said=""))
