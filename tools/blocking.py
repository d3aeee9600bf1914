"""Writes the blocking client from the asynchronous one: ``python -m tools.blocking``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "taskflow" / "client"
SOURCE, WRITTEN = CLIENT / "asynchronous", CLIENT / "blocking"
MODULES = (
    "transport.py",
    "streams.py",
    "task_actions.py",
    "queues.py",
    "groups.py",
    "topics.py",
    "schedules.py",
    "heartbeats.py",
    "configuration.py",
    "credentials.py",
    "alerts.py",
    "client.py",
)
NOTE = "# Written by `python -m tools.blocking` from client/asynchronous/{}: change that.\n\n"

# In this order; each is a regular expression and its replacement.
WORDS = (
    (r"async (def|with|for)\b", r"\1"),
    (r"\bawait anext\(", "next("),
    (r"\bawait ", ""),
    (r"Awaitable\[(\w+)\]", r"\1"),
    (r", Awaitable\b|\bAwaitable, ", ""),
    (r"Iterable\[Any\] \| AsyncIterable\[Any\]", "Iterable[Any]"),
    (r"\bAsyncIterable, |, AsyncIterable\b", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\ba(close|read|iter_raw)\b", r"\1"),
    (r"\bhttpx\.AsyncClient\b", "httpx.HTTPX_CLIENT"),
    (r"\bClient\b", "BlockingClient"),
    (r"\bHTTPX_CLIENT\b", "Client"),
    (r"\bAsyncBaseTransport\b", "BaseTransport"),
    (r"\basynchronous\b", "blocking"),
    (r"TaskFlow's client on asyncio and Trio", "TaskFlow's client that blocks"),
    (r"tasks of asyncio or Trio", "threads"),
)


def written(name: str) -> str:
    """Return the blocking counterpart of a module."""
    text = (SOURCE / name).read_text("utf-8")
    for words, others in WORDS:
        text = re.sub(words, others, text, flags=re.MULTILINE)
    text = _ruff(NOTE.format(name) + text, "check", "--fix", "--quiet", "--select=I")
    return _ruff(text, "format")


def _ruff(text: str, *command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "ruff", *command, f"--stdin-filename={WRITTEN / 'x.py'}", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=CLIENT.parents[1],
    ).stdout


if __name__ == "__main__":
    for module in MODULES:
        (WRITTEN / module).write_text(written(module), "utf-8")
