"""The service that a command calls: its address, its options, its errors, and Ctrl+C."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
import trio

from taskflow.cli.exit_status import ExitStatus, Failure, complain
from taskflow.client import errors
from taskflow.client.asynchronous.client import DEFAULT_URL, Client
from taskflow.client.calls import shown_url
from taskflow.client.connecting import Address, address_of
from taskflow.model.errors import SettingsError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

TIMEOUT_SECONDS: Final = 5.0
"""Short, because a person is waiting for the answer."""

_STATUSES: Final[Mapping[type[errors.ClientError], ExitStatus]] = {
    errors.InvalidArgument: ExitStatus.USAGE,
    errors.InvalidEnvironment: ExitStatus.USAGE,
    errors.Unreachable: ExitStatus.UNREACHABLE,
    errors.UnexpectedResponse: ExitStatus.UNREACHABLE,
    errors.Unavailable: ExitStatus.UNREACHABLE,
    errors.NotFound: ExitStatus.NOT_FOUND,
    errors.Unauthorized: ExitStatus.NO_ACCESS,
    errors.Forbidden: ExitStatus.NO_ACCESS,
    errors.BadRequest: ExitStatus.USAGE,
    errors.Unprocessable: ExitStatus.USAGE,
    errors.TooLarge: ExitStatus.USAGE,
}


class RemoteService(NamedTuple):
    """The service that a command calls, as its options ``--url`` and ``--timeout`` describe it.

    Attributes:
        url: Its address; ``None`` to read TASKFLOW_URL.
        timeout_seconds: How long to retry while it does not answer.
    """

    url: str | None
    timeout_seconds: float

    def call(self, work: Callable[[Client], Awaitable[T]], address: Address | None = None) -> T:
        """Call ``work`` with a client of the service, and return its result.

        Args:
            work: The function to call.
            address: The address and the key to use. Default: those of the options.

        Raises:
            Failure: The call failed; the message says why.
            KeyboardInterrupt: Ctrl+C was pressed; everything in flight has been closed.
        """
        address = address or address_for(self.url)

        async def with_client() -> T:
            seconds = self.timeout_seconds
            async with Client(address.url, api_key=address.api_key, timeout_seconds=seconds) as c:
                return await work(c)

        try:
            return trio.run(interruptible, with_client)
        except BaseException as error:  # noqa: BLE001 - the last place: reported to the user, or raised
            raise _most_important(error, address) from None


def service_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add ``--url`` and ``--timeout``; the command receives them as ``service``.

    This must be the innermost decorator.
    """

    @click.option(
        "--url",
        "service_url",
        metavar="URL",
        help="Address of the service, instead of TASKFLOW_URL.",
    )
    @click.option(
        "--timeout",
        "timeout_seconds",
        type=click.FloatRange(0.1, 3600),
        default=TIMEOUT_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long to retry while the service does not answer.",
    )
    @functools.wraps(function)
    def command(*args: Any, service_url: str | None, timeout_seconds: float, **options: Any) -> T:
        return function(*args, service=RemoteService(service_url, timeout_seconds), **options)

    return command


def json_option(schema: str, *, when: str = "") -> Callable[[F], F]:
    """Return the decorator that adds ``--json``; the command receives it as ``as_json``.

    Args:
        schema: The name of the objects in the description of the API: a schema of
            /openapi.json.
        when: What is printed in other cases, for the help.
    """
    text = f"Print JSON, one {schema} object of the API per line{when}."
    return click.option("--json", "as_json", is_flag=True, help=text)


def failure_of(error: errors.ClientError, address: Address | None = None) -> Failure:
    """Return the message and the exit status for an error of the client."""
    status = next(
        (status for kind, status in _STATUSES.items() if isinstance(error, kind)),
        ExitStatus.FAILED,
    )
    message = " ".join(str(error).split())
    if address and status is ExitStatus.UNREACHABLE:
        message = f"{shown_url(address.url)}: {message}"
    if address and isinstance(error, errors.Unreachable):
        message += "; is `taskflow serve` running there? Set the address by TASKFLOW_URL or --url"
    if address and status is ExitStatus.NO_ACCESS:
        which = "the key in" if address.api_key else "no key in"
        message += f" ({which} TASKFLOW_API_KEY)"
    return Failure(message, status)


def _most_important(error: BaseException, address: Address) -> BaseException:
    """Return the error to report, out of a group that a nursery may have raised."""
    leaves = list(_leaves(error))
    for kind in (KeyboardInterrupt, BrokenPipeError, Failure, errors.ClientError, ValueError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return _as_failure(leaf, address)
    return leaves[0]


def _as_failure(error: BaseException, address: Address) -> BaseException:
    if isinstance(error, errors.ClientError):
        return failure_of(error, address)
    if isinstance(error, ValueError):  # the client's error for an invalid argument
        return Failure(str(error), ExitStatus.USAGE)
    return error


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]


def address_for(service_url: str | None) -> Address:
    """Return the address from the option, TASKFLOW_URL, .env or the default, in this order.

    Raises:
        Failure: .env cannot be read.
    """
    found = address_of(defaults={"TASKFLOW_URL": DEFAULT_URL, **_dotenv()})
    return found if service_url is None else found._replace(url=service_url)


def named_address(service_url: str | None) -> Address | None:
    """Return the same without the default: ``None`` if no address is configured.

    Raises:
        Failure: .env cannot be read.
    """
    if service_url is not None:
        return address_for(service_url)
    try:
        return address_of(defaults=_dotenv())
    except SettingsError:
        return None


def _dotenv() -> Mapping[str, str]:
    """Return the variables in .env of the working directory that are not empty."""
    path = Path(".env")
    if not os.path.lexists(path):
        return {}
    try:
        # An installation without the service has python-dotenv only if the user installed it.
        from taskflow.env_file import read_env_file  # noqa: PLC0415
    except ModuleNotFoundError:
        complain(".env is ignored: python-dotenv is not installed")
        return {}
    try:
        found = read_env_file(path)
    except SettingsError as error:
        raise Failure(str(error), ExitStatus.USAGE) from None
    return {name: value for name, value in found.items() if value}


async def interruptible(work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work``; the first Ctrl+C cancels it, the second one raises at once.

    Trio by itself raises ``KeyboardInterrupt`` wherever the program happens to be, also inside
    a library that is about to close a connection. That is left for the second Ctrl+C, which is
    needed for a write to a pipe that is not read: it never reaches a checkpoint.

    Raises:
        KeyboardInterrupt: ``work`` was cancelled.
    """
    token = trio.lowlevel.current_trio_token()
    scope = trio.CancelScope()

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        token.run_sync_soon(scope.cancel)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with scope:
            return await work()
    finally:
        signal.signal(signal.SIGINT, before)
    raise KeyboardInterrupt


@contextlib.contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Let the first Ctrl+C raise at once, while the command only waits for the user to type."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
