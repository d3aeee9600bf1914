"""``taskflow completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_TASKFLOW_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")


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
