"""The command line.

From the bottom up::

    text, output         what strangers wrote made fit to be shown; lines, JSON and tables
    ending               exit statuses, and the one line that says why
    sections             commands in sections, imported when they are called for
    remote/              what is asked of a service over HTTP, on the client alone
    local/               what runs or looks at the service itself: serve, worker, doctor ...

Here is nothing but the list of commands, so that ``taskflow --help`` costs nothing.
"""

from __future__ import annotations

from typing import Final

import click

from taskflow.cli.sections import Entry, Sections
from taskflow.version import __version__

_LOCAL: Final = "taskflow.cli.local"
_REMOTE: Final = "taskflow.cli.remote"

_HELP: Final = """A self-hosted HTTP task queue on PostgreSQL.

Start with `taskflow serve`, and from another terminal:

\b
  taskflow submit https://example.com/ --wait
  taskflow list --status FAILED --since 1h
  taskflow stats --watch

The commands on tasks and queues talk to the service at TASKFLOW_URL (http://127.0.0.1:8080 if it is
not set) with the key in TASKFLOW_API_KEY, and to nothing else. Settings are read from the
environment and from .env in the working directory. Every command has --help with an example.
"""

_STATUSES: Final = """
\b
Exit status:
  0    all went well
  1    something failed or was refused: a task, a line, a check
  2    an argument or a setting cannot be used
  3    the service or its database does not answer
  4    there is no such task, queue or schedule
  5    a key is needed, or another one
  130  interrupted by Ctrl+C
"""

main = Sections(
    name="taskflow",
    help=_HELP,
    epilog=_STATUSES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    sections={
        "Service": {
            "serve": Entry(f"{_LOCAL}.serve", "Serve the HTTP API and run tasks."),
            "worker": Entry(f"{_LOCAL}.serve", "Run tasks without serving the HTTP API."),
            "migrate": Entry(f"{_LOCAL}.serve", "Bring the database up to date."),
        },
        "Tasks": {
            "submit": Entry(f"{_REMOTE}.submit", "Submit URLs, or the lines of a file or a pipe."),
            "list": Entry(f"{_REMOTE}.listing", "List tasks, newest first."),
            "show": Entry(f"{_REMOTE}.show", "Show a task, its attempts or its result."),
            "cancel": Entry(f"{_REMOTE}.task_actions", "Cancel tasks."),
            "retry": Entry(f"{_REMOTE}.task_actions", "Retry FAILED and CANCELED tasks."),
            "delete": Entry(f"{_REMOTE}.task_actions", "Delete finished tasks."),
            "export": Entry(f"{_REMOTE}.listing", "Write all tasks that match as NDJSON."),
        },
        "Operate": {
            "queues": Entry(f"{_REMOTE}.queues", "Show, limit, pause and purge queues."),
            "schedules": Entry(f"{_REMOTE}.schedules", "Make, show, run and delete schedules."),
            "stats": Entry(f"{_REMOTE}.stats", "Count tasks by queue and status."),
            "nodes": Entry(f"{_REMOTE}.nodes", "List the processes that run tasks."),
            "hosts": Entry(f"{_REMOTE}.nodes", "Show how the hosts that tasks call are doing."),
            "bench": Entry(f"{_REMOTE}.bench", "Measure how fast tasks are taken and worked off."),
        },
        "Set up": {
            "doctor": Entry(f"{_LOCAL}.doctor", "Check the set-up, and say what to do."),
            "key": Entry(f"{_LOCAL}.keys", "Make API keys."),
            "secret": Entry(f"{_LOCAL}.keys", "Make secrets for callbacks."),
            "completion": Entry("taskflow.cli.completion", "Print a script for completion."),
        },
    },
)
main = click.version_option(__version__, prog_name="taskflow")(main)
