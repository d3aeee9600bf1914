"""The version of TaskFlow, and the name of its distribution."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"

DISTRIBUTION: Final = "taskflow-http"
"""The name on PyPI, where ``taskflow`` is another project."""


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]' (in a checkout: pip install '.[{extra}]')"
