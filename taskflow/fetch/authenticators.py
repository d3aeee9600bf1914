"""Makes the authenticators of all kinds of credentials; they share the access tokens of a node."""

from __future__ import annotations

import base64

import trio

from taskflow.fetch.access_tokens import AccessTokenAuthenticator, AccessTokens
from taskflow.fetch.authentication import Authenticator, Fixed
from taskflow.fetch.aws_signature import AwsAuthenticator
from taskflow.fetch.client_tls import CertificateAuthenticator, Identification
from taskflow.fetch.id_tokens import GetIssuer, IdTokenAuthenticator
from taskflow.fetch.interface import Fetcher
from taskflow.metrics import Metrics
from taskflow.model.credential import (
    AwsSigV4,
    Basic,
    Bearer,
    Credential,
    Header,
    Mtls,
    OAuth2,
    Oidc,
)


class Authenticators:
    """Makes authenticators.

    Args:
        fetcher: Sends token requests.
        issuer: Returns the issuer of ID tokens.
        metrics: Counts token requests.
    """

    def __init__(self, fetcher: Fetcher, issuer: GetIssuer, metrics: Metrics | None = None) -> None:
        self._tokens = AccessTokens(fetcher, metrics)
        self._issuer = issuer

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run token requests until cancelled. Must be started before an authenticator is used."""
        await self._tokens.run(task_status=task_status)

    def of(self, credential: Credential) -> Authenticator:
        """Return the authenticator of a credential.

        Raises:
            SettingsError: A pattern of its hosts is invalid.
        """
        match credential:
            case Bearer() | Basic() | Header():
                return Fixed(credential.hosts, _header_of(credential))
            case OAuth2():
                return AccessTokenAuthenticator(credential, self._tokens)
            case Oidc():
                return IdTokenAuthenticator(credential, self._issuer)
            case AwsSigV4():
                return AwsAuthenticator(credential)
            case Mtls(certificate=certificate, private_key=key, ca_bundle=ca_bundle):
                identification = Identification(certificate, key, ca_bundle)
                return CertificateAuthenticator(credential.hosts, identification)


def _header_of(credential: Bearer | Basic | Header) -> tuple[str, str]:
    match credential:
        case Bearer(token=token):
            return "Authorization", f"Bearer {token}"
        case Basic(username=username, password=password):
            pair = base64.b64encode(f"{username}:{password}".encode()).decode()
            return "Authorization", f"Basic {pair}"
        case Header(name=name, value=value):
            return name, value
