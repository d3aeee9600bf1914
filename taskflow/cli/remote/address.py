"""Where the service is: by an option, the environment, .env, or by itself on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from taskflow.cli.exit_status import ExitStatus, Failure, complain
from taskflow.client.environment import Address, address_of
from taskflow.client.on_trio.client import DEFAULT_URL
from taskflow.model.errors import SettingsError


def address_for(service_url: str | None) -> Address:
    """Where the service is: as it was said, as TASKFLOW_URL says, or where it is by itself.

    Raises:
        Failure: What .env says cannot be read.
    """
    found = address_of(defaults={"TASKFLOW_URL": DEFAULT_URL, **_dotenv()})
    return found if service_url is None else found._replace(url=service_url)


def named_address(service_url: str | None) -> Address | None:
    """The same, but ``None`` if nobody said where it is.

    Raises:
        Failure: What .env says cannot be read.
    """
    if service_url is not None:
        return address_for(service_url)
    try:
        return address_of(defaults=_dotenv())
    except SettingsError:
        return None


def _dotenv() -> Mapping[str, str]:
    """What .env in the working directory says, as far as it concerns a client."""
    path = Path(".env")
    if not os.path.lexists(path):
        return {}
    try:
        # Where there is no .env, python-dotenv need not be there either.
        from taskflow.env_file import read_env_file  # noqa: PLC0415
    except ModuleNotFoundError:
        complain(".env is not read: there is no python-dotenv")
        return {}
    try:
        found = read_env_file(path)
    except SettingsError as error:
        raise Failure(str(error), ExitStatus.USAGE) from None
    return {name: value for name, value in found.items() if value}
