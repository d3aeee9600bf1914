"""Checks of the egress proxies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import trio

from taskflow.cli.local.checks import Finding, failed, ok, warning
from taskflow.engine.configured_secrets import read_keyring
from taskflow.fetch.dialing import default_ssl_context
from taskflow.fetch.egress import egress_of
from taskflow.fetch.resolver import SystemResolver
from taskflow.fetch.tunnel import Refused, Unreachable, connect_to, open_tunnel
from taskflow.model.errors import KeyMissing, SettingsError, Undecryptable
from taskflow.model.invalid_url import FetchError
from taskflow.model.proxy import DIRECT, Proxy, opened_proxy, parse_proxy
from taskflow.model.url import parse_target
from taskflow.settings import Settings

MAX_QUEUE_PROXIES: Final = 20
"""Number of proxies of queues that are checked, all at the same time."""

_TIMEOUT_SECONDS: Final = 5.0
_NOWHERE: Final = "https://doctor.taskflow.invalid/"
"""A target that does not exist (RFC 2606): a proxy that answers does not connect to it."""


def egress_findings(settings: Settings) -> Iterator[Finding]:
    """Check the settings of the egress proxy."""
    try:
        egress = egress_of(settings)
    except SettingsError as error:
        yield failed("egress proxy", str(error), "correct it in the environment or in .env")
        return
    if egress is None and settings.egress_no_proxy:
        yield warning(
            "egress proxy",
            "TASKFLOW_EGRESS_NO_PROXY is set, but there is no proxy",
            "set TASKFLOW_EGRESS_PROXY, or unset it",
        )


async def proxy_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the egress proxy answers, and accepts its credentials."""
    try:
        egress = egress_of(settings)
    except SettingsError:
        return iter(())  # egress_findings reports it
    if egress is None:
        return iter(())
    return iter([await _examined("egress proxy", egress.proxy, "TASKFLOW_EGRESS_PROXY")])


async def queue_proxy_findings(proxies: Mapping[str, str], settings: Settings) -> list[Finding]:
    """Check the egress proxies of queues, each once.

    Args:
        proxies: Their URLs by the name of the queue.
        settings: The settings, whose own proxy has a check of its own.
    """
    queues: dict[str, list[str]] = {}
    found: list[Finding] = []
    try:
        keyring = read_keyring(settings)
    except SettingsError:  # reported with the settings
        return []
    for name, stored in proxies.items():
        try:
            url = opened_proxy(stored, name, keyring)
        except (KeyMissing, Undecryptable) as error:
            advice = "set the same TASKFLOW_ENCRYPTION_KEYS on all nodes"
            found.append(failed("queue proxy", f"queue {name}: {error}", advice))
        else:
            queues.setdefault(url, []).append(name)
    for known in (DIRECT, settings.egress_proxy):
        queues.pop(known, None)
    async with trio.open_nursery() as nursery:
        for url, names in itertools.islice(queues.items(), MAX_QUEUE_PROXIES):
            nursery.start_soon(_examine_queue_proxy, url, sorted(names), found)
    return sorted(found, key=lambda finding: finding.detail)


async def _examine_queue_proxy(url: str, names: Sequence[str], found: list[Finding]) -> None:
    what = f"queue {names[0]}" if len(names) == 1 else f"{len(names)} queues, such as {names[0]}"
    check, of_queue = "queue proxy", "egress_proxy of the queue"
    try:
        proxy = parse_proxy(url)
    except ValueError as error:
        found.append(failed(check, f"{what}: egress_proxy {error}", f"correct {of_queue}"))
        return
    finding = await _examined(check, proxy, of_queue)
    found.append(msgspec.structs.replace(finding, detail=f"{what}: {finding.detail}"))


async def _examined(check: str, proxy: Proxy, setting: str) -> Finding:
    advice = f"check {setting}, and that the proxy runs and this machine can reach it"
    resolver = SystemResolver(1, relative_names=(proxy.target.host,))
    try:
        with trio.move_on_after(_TIMEOUT_SECONDS):
            stream = await connect_to(proxy, resolver, default_ssl_context())
            await open_tunnel(stream, proxy, parse_target(_NOWHERE))
            await trio.aclose_forcefully(stream)
    except (Refused, Unreachable):
        pass  # as it should
    except FetchError as error:
        return failed(check, f"{proxy.target.origin}: {error}", advice)
    return ok(check, f"{proxy.target.origin} answers")
