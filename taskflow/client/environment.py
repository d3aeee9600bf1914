"""Where the service is, by the environment.

The one place beside ``taskflow.settings`` that reads it: that one is the service's, and needs
packages that are not there where only the client is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from taskflow.model.errors import SettingsError


class Address(NamedTuple):
    """Where the service is, and the key to it, if it wants one."""

    url: str
    api_key: str | None


def address_of(environ: Mapping[str, str] | None = None) -> Address:
    """Read TASKFLOW_URL and TASKFLOW_API_KEY.

    Args:
        environ: The environment; the process's own if not given.

    Raises:
        SettingsError: TASKFLOW_URL is not set.
    """
    found = os.environ if environ is None else environ
    if not (url := found.get("TASKFLOW_URL", "").strip()):
        raise SettingsError("TASKFLOW_URL is not set: where is TaskFlow to be found?")
    return Address(url, found.get("TASKFLOW_API_KEY", "").strip() or None)
