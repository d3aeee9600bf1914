"""Credentials: what TaskFlow adds to requests so that their targets accept them."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from taskflow.model.host_patterns import Hosts
from taskflow.model.url import Target, is_loopback


class _Credential(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all kinds have in common.

    Attributes:
        hosts: The hosts that it may be sent to; patterns as in ``TASKFLOW_ALLOW_HOSTS``.
    """

    hosts: tuple[str, ...]

    def __repr__(self) -> str:
        """Return the kind only: values must not appear in logs and tracebacks."""
        return f"<Credential: {kind_of(self)}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return no value, either."""
        return []


class Bearer(_Credential, frozen=True, kw_only=True, tag="bearer"):
    """A token (RFC 6750)."""

    token: str


class Basic(_Credential, frozen=True, kw_only=True, tag="basic"):
    """A user name and a password (RFC 7617)."""

    username: str
    password: str


class Header(_Credential, frozen=True, kw_only=True, tag="header"):
    """A header of any name, such as an API key."""

    name: str
    value: str


class OAuth2(_Credential, frozen=True, kw_only=True, tag="oauth2_client_credentials"):
    """The client credentials grant of OAuth 2.0 (RFC 6749 section 4.4).

    Attributes:
        token_url: The token endpoint.
        client_id: The client.
        auth: How the client authenticates itself at the token endpoint.
        client_secret: Its secret, for ``client_secret_basic`` and ``client_secret_post``.
        scope: The scope to ask for, separated by spaces.
        audience: The service that the token is for, as a parameter of the token request.
        private_key: The key that signs for ``private_key_jwt`` (RFC 7523), in PEM.
        key_id: Its name at the authorization server.
        certificate: A client certificate for the token endpoint and the targets (RFC 8705), in PEM.
        certificate_key: Its private key, in PEM.
        ca_bundle: The certificate authorities to trust instead of the system's, in PEM.
    """

    token_url: str
    client_id: str
    auth: Literal[
        "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"
    ] = "client_secret_basic"
    client_secret: str | None = None
    scope: str | None = None
    audience: str | None = None
    private_key: str | None = None
    key_id: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None
    ca_bundle: str | None = None


class Oidc(_Credential, frozen=True, kw_only=True, tag="oidc"):
    """An ID token that TaskFlow signs itself (OpenID Connect Core 1.0 section 2).

    Attributes:
        audience: Its ``aud``; ``None`` for the origin of the target.
        subject: Its ``sub``; ``None`` for ``taskflow``.
        algorithm: The algorithm of its signature.
    """

    audience: str | None = None
    subject: str | None = None
    algorithm: Literal["RS256", "ES256"] = "RS256"


class AwsSigV4(_Credential, frozen=True, kw_only=True, tag="aws_sigv4"):
    """A key pair that signs requests to AWS (Signature Version 4).

    Attributes:
        region: Such as ``eu-central-1``.
        service: Such as ``execute-api``, ``lambda``, ``sqs`` or ``s3``.
        access_key_id: The id of the key pair.
        secret_access_key: Its secret.
        session_token: Given with temporary key pairs.
    """

    region: str
    service: str
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


class Mtls(_Credential, frozen=True, kw_only=True, tag="mtls"):
    """A client certificate.

    Attributes:
        certificate: The certificate, followed by its intermediate certificates if any, in PEM.
        private_key: Its private key, in PEM.
        ca_bundle: The certificate authorities to trust instead of the system's, in PEM.
    """

    certificate: str
    private_key: str
    ca_bundle: str | None = None


Credential: TypeAlias = Bearer | Basic | Header | OAuth2 | Oidc | AwsSigV4 | Mtls

_DECODER: Final = msgspec.json.Decoder(Credential)


def kind_of(credential: _Credential) -> str:
    """Return the kind as clients write it."""
    return str(credential.__struct_config__.tag)


def encode_credential(credential: Credential) -> bytes:
    """Return a credential as JSON, to be encrypted."""
    return msgspec.json.encode(credential)


def decode_credential(data: bytes) -> Credential:
    """Return the credential that ``encode_credential`` encoded.

    Raises:
        msgspec.DecodeError: It is not one that this version knows.
    """
    credential: Credential = _DECODER.decode(data)
    return credential


def is_private(target: Target) -> bool:
    """Return whether a request to a target is private: it uses TLS, or stays on this machine."""
    return target.scheme == "https" or is_loopback(target)


def may_go_to(hosts: Hosts, target: Target) -> bool:
    """Return whether a credential for these hosts may be sent to a target."""
    return target.host in hosts and is_private(target)
