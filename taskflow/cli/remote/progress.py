"""A progress bar for commands that take long; it is shown on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from taskflow.cli import output


class Meter:
    """A progress bar with a text, or nothing.

    Args:
        progress: The display; ``None`` to show nothing.
        bar: The bar in it.
    """

    def __init__(self, progress: Progress | None, bar: TaskID | None) -> None:
        self._progress = progress
        self._bar = bar

    def show(self, text: str, done: float | None = None) -> None:
        """Update the text, and the amount that is done if it is known."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=done, text=text)


@contextmanager
def meter(total: float | None, *, is_wanted: bool = True) -> Iterator[Meter]:
    """Show a progress bar on standard error, if that is a terminal.

    Args:
        total: The amount to do, if it is known.
        is_wanted: Whether the work is large enough to show progress.
    """
    if not (is_wanted and sys.stderr.isatty()):
        yield Meter(None, None)
        return
    progress = Progress(
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
        console=output.console(is_error=True),
        transient=True,
        # If both are on the terminal, printed lines appear above the bar.
        redirect_stdout=output.is_terminal(),
        redirect_stderr=True,
    )
    with progress:
        yield Meter(progress, progress.add_task("", total=total, text=""))
