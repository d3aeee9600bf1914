"""Where the service is, and commands that ask it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import click
import trio

from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.address import address_for
from taskflow.cli.remote.interrupts import interruptible
from taskflow.client import errors
from taskflow.client.calls import shown_url
from taskflow.client.environment import Address
from taskflow.client.on_trio.client import Client

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# A person who waits for an answer would rather know soon that there is none.
TIMEOUT_SECONDS: Final = 5.0

_STATUSES: Final[Mapping[type[errors.ClientError], ExitStatus]] = {
    errors.InvalidArgument: ExitStatus.USAGE,
    errors.InvalidEnvironment: ExitStatus.USAGE,
    errors.Unreachable: ExitStatus.UNREACHABLE,
    errors.UnexpectedAnswer: ExitStatus.UNREACHABLE,
    errors.Unavailable: ExitStatus.UNREACHABLE,
    errors.NotFound: ExitStatus.NOT_FOUND,
    errors.Unauthorized: ExitStatus.NO_ACCESS,
    errors.Forbidden: ExitStatus.NO_ACCESS,
    errors.BadRequest: ExitStatus.USAGE,
    errors.Unprocessable: ExitStatus.USAGE,
    errors.TooLarge: ExitStatus.USAGE,
}


def service_options(function: F) -> F:
    """The options of every command that asks the service."""
    function = click.option(
        "--timeout",
        "timeout_seconds",
        type=click.FloatRange(0.1, 3600),
        default=TIMEOUT_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="For how long to try again while the service does not answer.",
    )(function)
    return click.option(
        "--url",
        "service_url",
        metavar="URL",
        help="Where the service is, instead of TASKFLOW_URL.",
    )(function)


def ask(
    service_url: str | None, timeout_seconds: float, work: Callable[[Client], Awaitable[T]]
) -> T:
    """Call ``work`` with a client of the service, and return what it returns.

    Raises:
        Failure: What was asked for did not come about; it says why.
        KeyboardInterrupt: By Ctrl+C; what was under way has ended.
    """
    address = address_for(service_url)

    async def with_client() -> T:
        client = Client(address.url, api_key=address.api_key, timeout_seconds=timeout_seconds)
        async with client:
            return await work(client)

    try:
        return trio.run(interruptible, with_client)
    except BaseException as error:  # noqa: BLE001 - the last place: told to a person, or raised
        raise _first_of(error, address) from None


def failure_of(error: errors.ClientError, address: Address | None = None) -> Failure:
    """What a person is told of an error, and the status that goes with it."""
    status = next(
        (status for kind, status in _STATUSES.items() if isinstance(error, kind)),
        ExitStatus.FAILED,
    )
    message = " ".join(str(error).split())
    if address and status is ExitStatus.UNREACHABLE:
        message = f"{shown_url(address.url)}: {message}"
    if address and isinstance(error, errors.Unreachable):
        message += "; is `taskflow serve` running there? (TASKFLOW_URL or --url says where)"
    if address and status is ExitStatus.NO_ACCESS:
        which = "the key in" if address.api_key else "no key in"
        message += f" ({which} TASKFLOW_API_KEY)"
    return Failure(message, status)


def _first_of(error: BaseException, address: Address) -> BaseException:
    """What counts of an error, which nurseries may have wrapped or put beside others."""
    leaves = list(_leaves(error))
    for kind in (KeyboardInterrupt, BrokenPipeError, Failure, errors.ClientError, ValueError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return _told(leaf, address)
    return leaves[0]


def _told(error: BaseException, address: Address) -> BaseException:
    if isinstance(error, errors.ClientError):
        return failure_of(error, address)
    if isinstance(error, ValueError):  # by which the client says that an argument cannot be
        return Failure(str(error), ExitStatus.USAGE)
    return error


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
