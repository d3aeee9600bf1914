"""docs/reference/cli.md, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from taskflow.cli import main
from tests.reference.markdown import code, table
from tests.reference.markdown import page as page_of

NAME = "taskflow"
# Marks of a paragraph that click does not wrap.
MARKS = ("\b", "\\b")


def page() -> str:
    """The reference."""
    introduction = (
        "All commands with their arguments and options, as `--help` prints them. In a checkout, "
        "`taskflow` is `.venv/bin/python -m taskflow`."
    )
    parts = (_command(context) for context in _all_of(click.Context(main, info_name=NAME)))
    return page_of("The command line", "taskflow/cli", introduction, *parts)


def _all_of(context: click.Context) -> Iterator[click.Context]:
    """Yield the contexts of a command and its subcommands."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _all_of(click.Context(command, info_name=name, parent=context))


def _command(context: click.Context) -> str:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"## `{context.command_path}`", code(usage), _prose(command.help or "")]
    parameters = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    options = [one for one in parameters if isinstance(one, click.Option) and not _is_help(one)]
    if options:
        rows = (_option(context, one) for one in options)
        parts.append(table(["option", "default", "meaning"], rows))
    return "\n\n".join(parts)


def _option(context: click.Context, option: click.Option) -> tuple[str, str, str]:
    names = ", ".join(code(name) for name in [*option.opts, *option.secondary_opts])
    if not option.is_flag and not option.count:
        names += f" {code(option.make_metavar(context))}"
    default = option.get_default(context, call=False)
    is_shown = isinstance(default, str | int | float) and default not in (False, "")
    meaning = option.help or ""
    if option.envvar:
        variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar
        meaning += f" {' or '.join(code(one) for one in variables)} if not given."
    if option.multiple:
        meaning += " May be given several times."
    return names, code(str(default)) if is_shown else "", meaning


def _is_help(option: click.Option) -> bool:
    """Whether it is the option that every command has."""
    return "--help" in option.opts


def _prose(text: str) -> str:
    """Return a help text in Markdown; paragraphs that click does not wrap become blocks."""
    return "\n\n".join(_paragraph(one) for one in inspect.cleandoc(text).split("\n\n"))


def _paragraph(text: str) -> str:
    if not text.startswith(MARKS):
        return " ".join(text.split())
    lines = text.removeprefix(MARKS[0]).removeprefix(MARKS[1]).strip("\n")
    return f"<!-- not run: a part of the help text -->\n```text\n{lines}\n```"
