"""Checks of TASKFLOW_PUBLIC_URL, under which targets find the keys that verify ID tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import trio

from taskflow.api.identity_documents import CONFIGURATION_PATH
from taskflow.cli.local.checks import Finding, failed, ok, warning
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.fetch.interface import FetchRequest
from taskflow.model.credential import is_private
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.outcome import Failed, Fetched, Outcome
from taskflow.model.url import Target, parse_target
from taskflow.settings import Settings

_TIMEOUT_SECONDS: Final = 5.0
_CHECK: Final = "public url"
_SETTING: Final = "TASKFLOW_PUBLIC_URL"
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_ALL_PORTS: Final = ("1-65535",)


class _Configuration(msgspec.Struct):
    issuer: str


def missing_url_findings(credential: str | None, settings: Settings) -> Iterator[Finding]:
    """Check that there is a URL if a credential needs one.

    Args:
        credential: The name of a credential of the kind ``oidc``, if there is one.
        settings: The settings.
    """
    if credential is not None and not settings.public_url:
        yield failed(
            _CHECK,
            f"the credential {credential} issues ID tokens, and {_SETTING} is not set",
            f"set it on all nodes to the URL under which targets reach {CONFIGURATION_PATH}",
        )


async def public_url_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the URL uses https, and that this service answers at it."""
    url = settings.public_url
    if not url:
        return iter(())
    try:
        target = parse_target(url + CONFIGURATION_PATH)
    except InvalidUrl as error:
        return iter([failed(_CHECK, str(error), f"correct {_SETTING}")])
    found = [_answer_of(await _fetch(target, settings), url)]
    if not is_private(target):
        advice = "offer the API over https, and set the https URL on all nodes"
        found.append(warning(_CHECK, f"{url}: targets accept issuers over https only", advice))
    return iter(found)


async def _fetch(target: Target, settings: Settings) -> Outcome | None:
    """Fetch the metadata of the issuer, wherever the operator has it."""
    open_settings = msgspec.structs.replace(
        settings,
        allow_hosts=(target.host,),
        allow_networks=_LOOPBACK if target.address is None else (str(target.address),),
        allow_ports=_ALL_PORTS,
        deny_hosts=(),
    )
    with trio.move_on_after(_TIMEOUT_SECONDS):
        async with open_fetcher(open_settings) as fetcher:
            return await fetcher.fetch(FetchRequest(target.url))
    return None


def _answer_of(outcome: Outcome | None, url: str) -> Finding:
    advice = (
        f"check that a node runs, that its proxy passes {CONFIGURATION_PATH} on, and {_SETTING}"
    )
    if isinstance(outcome, Failed) and outcome.status_code is not None:
        return failed(_CHECK, f"{url}: {outcome.error}", advice)
    if not isinstance(outcome, Fetched):
        reason = getattr(outcome, "error", f"no response in {_TIMEOUT_SECONDS:g} s")
        return warning(_CHECK, f"{url}: {reason}", advice)
    try:
        result = outcome.response.result
        data = bytes(result) if isinstance(result, msgspec.Raw) else b""
        issuer = msgspec.json.decode(data, type=_Configuration).issuer
    except msgspec.DecodeError:
        return failed(_CHECK, f"{url}{CONFIGURATION_PATH} is no metadata of an issuer", advice)
    if issuer != url:
        advice = f"set the same {_SETTING} on all nodes, and here"
        return failed(_CHECK, f"{url}: the issuer there is {issuer}", advice)
    return ok(_CHECK, f"{url} answers as the issuer of ID tokens")
