"""The command line.

From the bottom up::

    text, output    escaping; tables, and what is printed
    exit_status     how a process begins and ends
    sections        groups of commands, each imported when it is called; completion
    remote/         commands that call a service over HTTP, with the client
    local/          commands that run or inspect the service: serve, doctor ...

This module only lists the commands, so that ``taskflow --help`` imports none of them.
"""

from __future__ import annotations

from typing import Final

import click

from taskflow.cli.sections import Entry, Sections
from taskflow.version import __version__

_LOCAL: Final = "taskflow.cli.local"
_REMOTE: Final = "taskflow.cli.remote"

_HELP: Final = """A self-hosted HTTP task queue on PostgreSQL.

Start with `taskflow serve`, and in another terminal:

\b
  taskflow submit https://example.com/ --wait
  taskflow list --status FAILED --since 1h
  taskflow stats --watch

Commands on tasks, groups, topics, queues, schedules, heartbeats, alerts and credentials call the
service at TASKFLOW_URL (default: http://127.0.0.1:8080), and send it the key in TASKFLOW_API_KEY.
Settings are read from the environment and from .env in the working directory. Every command has
--help with examples.
"""

_STATUSES: Final = """
\b
Exit status:
  0    success
  1    something failed or was rejected: a task, a line, a check
  2    an argument or a setting is invalid
  3    the service or its database does not answer
  4    the task, group, topic, queue, schedule or credential does not exist
  5    the API key is missing, unknown or lacks the role
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
            "skip": Entry(
                f"{_REMOTE}.task_actions", "Skip FAILED tasks that hold their order key."
            ),
            "delete": Entry(f"{_REMOTE}.task_actions", "Delete finished tasks."),
            "export": Entry(f"{_REMOTE}.listing", "Write all matching tasks as NDJSON."),
            "events": Entry(f"{_REMOTE}.events", "Follow the changes of tasks."),
            "open": Entry(f"{_REMOTE}.open_dashboard", "Open the dashboard in a browser."),
        },
        "Operate": {
            "groups": Entry(f"{_REMOTE}.groups", "Create, show, close, cancel and retry groups."),
            "queues": Entry(f"{_REMOTE}.queues", "Show, limit, pause and purge queues."),
            "topics": Entry(
                f"{_REMOTE}.topics", "Create, show and delete topics, and publish events."
            ),
            "endpoints": Entry(
                f"{_REMOTE}.endpoints",
                "Create, show, test, recover and delete the endpoints of a topic.",
            ),
            "schedules": Entry(
                f"{_REMOTE}.schedules", "Create, show, pause, run and delete schedules."
            ),
            "heartbeats": Entry(f"{_REMOTE}.heartbeats", "Watch jobs that run elsewhere."),
            "alerts": Entry(f"{_REMOTE}.alerts", "Create, test, silence and delete alerts."),
            "credentials": Entry(f"{_REMOTE}.credentials", "Create, show and delete credentials."),
            "config": Entry(
                f"{_REMOTE}.configuration.commands",
                "Manage queues, schedules, heartbeats, topics, credentials and alerts as a file.",
            ),
            "stats": Entry(f"{_REMOTE}.monitoring", "Count tasks by queue and status."),
            "nodes": Entry(f"{_REMOTE}.monitoring", "List the processes that run tasks."),
            "hosts": Entry(f"{_REMOTE}.monitoring", "Show the state of the hosts that tasks call."),
            "failures": Entry(f"{_REMOTE}.grouped_failures", "List what fails, grouped by cause."),
            "audit": Entry(f"{_REMOTE}.audit", "Show who did what, newest first."),
            "mcp": Entry(
                f"{_REMOTE}.mcp", "Serve tools for agents, by the Model Context Protocol."
            ),
            "bench": Entry(f"{_REMOTE}.bench", "Measure submission and processing throughput."),
        },
        "Set up": {
            "doctor": Entry(f"{_LOCAL}.doctor", "Check the installation and report problems."),
            "cells": Entry(f"{_LOCAL}.cells", "Divide the tasks among several databases."),
            "key": Entry(f"{_LOCAL}.keys", "Create API keys, rotate encryption keys."),
            "secret": Entry(f"{_LOCAL}.keys", "Create signing secrets and encryption keys."),
            "completion": Entry("taskflow.cli.sections", "Print a completion script for a shell."),
        },
    },
)
main = click.version_option(__version__, prog_name="taskflow")(main)
