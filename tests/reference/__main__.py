"""Writes the pages: ``python -m tests.reference``."""

from __future__ import annotations

from tests.reference import write

print("".join(f"wrote {path}\n" for path in write()) or "all are as they should be\n", end="")
