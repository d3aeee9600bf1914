"""Groups of commands in sections; each command is imported when it is called.

So ``taskflow --help`` imports no command, remote commands do not import the service, and local
ones do not import the client. Each module still has its imports at the top.
"""

from __future__ import annotations

import difflib
import importlib
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import click
from click.shell_completion import CompletionItem, get_completion_class

from taskflow.cli.exit_status import end_by, ensure_standard_streams

_VARIABLE = "_TASKFLOW_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")
# What commands are called elsewhere.
_MEANT = {
    **dict.fromkeys(("add", "enqueue", "push", "create", "new"), "submit"),
    **dict.fromkeys(("ls", "tasks", "search"), "list"),
    **dict.fromkeys(("get", "describe", "status", "inspect"), "show"),
    **dict.fromkeys(("rm", "remove"), "delete"),
    **dict.fromkeys(("watch", "tail", "follow", "logs"), "events"),
    **dict.fromkeys(("ui", "dashboard", "web"), "open"),
    **dict.fromkeys(("server", "start", "up"), "serve"),
    **dict.fromkeys(("set", "update"), "put"),
    **dict.fromkeys(("cron", "crons"), "schedules"),
    **dict.fromkeys(("apply", "plan", "validate"), "config"),
    "trigger": "run",
    "check": "doctor",
}


class Entry(NamedTuple):
    """A command that is imported when it is called.

    Attributes:
        module: The module that defines it, as the name of the command with ``_command``.
        summary: The first line of its help.
    """

    module: str
    summary: str


class _Passed(Exception):
    """Carries an error past click, which would handle it differently."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Commands(click.Group):
    """A group that suggests similar commands for one that it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the arguments."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}.{self._advice(ctx, name)}")
        return super().resolve_command(ctx, args)

    def _advice(self, ctx: click.Context, name: str) -> str:
        names = self.list_commands(ctx)
        meant = _MEANT.get(name)
        similar = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
        found = list(dict.fromkeys([*([meant] if meant in names else []), *similar]))
        return f" Did you mean {' or '.join(found)}?" if found else ""


class ListCommands(Commands):
    """A group that lists its resources without a subcommand, also with options of ``list``.

    Args:
        options: The arguments of ``click.Group``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(subcommand_metavar="[COMMAND] [ARGS]...", **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert ``list`` before options, except those of the group and while a shell completes."""
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ctx.help_option_names
        if is_option or not (args or ctx.resilient_parsing):
            args = ["list", *args]
        return super().parse_args(ctx, args)


class Sections(Commands):
    """A group whose help lists its commands by section.

    Args:
        sections: The commands of each section, by name.
        options: The arguments of ``click.Group``.
    """

    def __init__(self, sections: Mapping[str, Mapping[str, Entry]], **options: Any) -> None:
        super().__init__(**options)
        self.sections = sections
        self.entries = {name: entry for one in sections.values() for name, entry in one.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the sections."""
        del ctx
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if (entry := self.entries.get(cmd_name)) is None:
            return None
        command: click.Command = getattr(
            importlib.import_module(entry.module), f"{cmd_name}_command"
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        del ctx
        width = max(map(len, self.entries))
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), entry.summary) for name, entry in commands.items()]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin with a text, without importing them."""
        names = [
            CompletionItem(name, help=entry.summary)
            for name, entry in self.entries.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command and flush its output."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except (KeyboardInterrupt, OSError) as error:
            raise _Passed(error) from None
        return status

    def main(  # type: ignore[override]  # it never returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command and end the process; an error is reported in one line.

        Args:
            args: The arguments; ``None`` for the arguments of the process.
            prog_name: The name of the program.
            extra: Other arguments of ``click.Group.main``.

        Raises:
            SystemExit: Always.
        """
        ensure_standard_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # for terminals that are not UTF-8
                stream.reconfigure(errors="backslashreplace")
        arguments = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            status = super().main(arguments, prog_name, standalone_mode=False, **extra)
        except (click.ClickException, click.Abort, OSError) as error:
            end_by(error)
        except _Passed as passed:
            end_by(passed.error)
        raise SystemExit(status if isinstance(status, int) else 0)


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print a completion script for a shell.

    Load it from the start-up file of the shell:

    \b
      taskflow completion bash >> ~/.bashrc
      taskflow completion zsh >> ~/.zshrc
      taskflow completion fish > ~/.config/fish/completions/taskflow.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "taskflow", _VARIABLE).source())
