"""Where the service is, by the environment.

The one place beside ``taskflow.settings`` that reads it: that one is the service's, and needs
packages that are not there where only the client is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from taskflow.client.errors import InvalidEnvironment


class Address(NamedTuple):
    """Where the service is, and the key to it, if it wants one."""

    url: str
    api_key: str | None


def variables() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ


def address_of(
    environ: Mapping[str, str] | None = None, defaults: Mapping[str, str | None] | None = None
) -> Address:
    """Read TASKFLOW_URL and TASKFLOW_API_KEY.

    Args:
        environ: The environment; the process's own if not given.
        defaults: What stands for what is not set there.

    Raises:
        InvalidEnvironment: TASKFLOW_URL is not set.
    """
    found = variables() if environ is None else environ

    def value_of(variable: str) -> str:
        return found.get(variable, "").strip() or ((defaults or {}).get(variable) or "").strip()

    if not (url := value_of("TASKFLOW_URL")):
        raise InvalidEnvironment("TASKFLOW_URL is not set: where is TaskFlow to be found?")
    return Address(url, value_of("TASKFLOW_API_KEY") or None)
