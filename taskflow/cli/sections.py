"""A group of commands in sections, each imported when it is called for.

So ``taskflow --help`` imports no command, those over HTTP nothing of the service, and those of the
service no client; and each imports at its top what it needs.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import click
from click.shell_completion import CompletionItem

from taskflow.cli.exit_status import end_by
from taskflow.cli.standard_streams import ensure_standard_streams


class Entry(NamedTuple):
    """A command that is not imported yet.

    Attributes:
        home: The module that it is in; its name there is that of the command, with ``_command``.
        summary: The first line of its help.
    """

    home: str
    summary: str


class _Ended(Exception):
    """A command ended by what click would deal with in ways of its own.

    Args:
        error: That.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Sections(click.Group):
    """Commands by section, in their order.

    Args:
        sections: The commands of each section, by name.
        options: What any group takes.
    """

    def __init__(self, sections: Mapping[str, Mapping[str, Entry]], **options: Any) -> None:
        super().__init__(**options)
        self.sections = sections
        self.entries = {name: entry for one in sections.values() for name, entry in one.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, as the sections have them."""
        del ctx
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one of them."""
        del ctx
        if (entry := self.entries.get(cmd_name)) is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.home), f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the help."""
        del ctx
        width = max(map(len, self.entries))
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), entry.summary) for name, entry in commands.items()]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands without importing them."""
        names = [
            CompletionItem(name, help=entry.summary)
            for name, entry in self.entries.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and let what it printed be seen."""
        try:
            ended = super().invoke(ctx)
            sys.stdout.flush()
        except (KeyboardInterrupt, OSError) as error:
            raise _Ended(error) from None
        return ended

    def main(  # type: ignore[override]  # it never returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command and end the process; whatever is the matter is one line.

        Args:
            args: What the command line says; that of the process if not given.
            prog_name: What this program is called.
            extra: What click takes besides.

        Raises:
            SystemExit: Always.
        """
        ensure_standard_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # whatever the terminal's coding is
                stream.reconfigure(errors="backslashreplace")
        said = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            ended = super().main(said, prog_name, standalone_mode=False, **extra)
        except (click.ClickException, click.Abort, OSError) as error:
            end_by(error)
        except _Ended as ended_by:
            end_by(ended_by.error)
        raise SystemExit(ended if isinstance(ended, int) else 0)
