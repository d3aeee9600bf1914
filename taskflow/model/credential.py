"""Credentials, as clients write them and stores keep them: each is added to requests.

Values are write-only: no error, log event or response repeats one.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.credential_fields import (
    MAX_HOSTS,
    AwsName,
    HostPattern,
    Pem,
    SecretText,
    SecretValue,
    ShortText,
    Token,
    Username,
)
from taskflow.model.host_patterns import Hosts
from taskflow.model.request import HeaderName
from taskflow.model.url import Target, is_loopback


class _Credential(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"
):
    hosts: Annotated[
        Annotated[
            tuple[HostPattern, ...],
            Meta(
                min_length=1,
                max_length=MAX_HOSTS,
                extra={
                    "expected": f"a list of 1 to {MAX_HOSTS} hosts, such as api.example.com, or "
                    "*.example.com for all names below it"
                },
            ),
        ],
        Meta(
            description="The hosts that may receive it: names, all names below a domain "
            "(`*.example.com`), and addresses. A task that would send it to another host, directly "
            "or by a redirect, is `blocked`. It is sent over https only, except to this machine.",
            examples=[["api.example.com"]],
        ),
    ]

    def __repr__(self) -> str:
        """Return the kind only: values must not appear in logs and tracebacks."""
        return f"<Credential: {kind_of(self)}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return no value, either."""
        return []


class Bearer(_Credential, frozen=True, tag="bearer"):
    """A token in the header `Authorization: Bearer` (RFC 6750)."""

    token: Annotated[Token, Meta(description="The token.", examples=["eyJhbGciOiJFUzI1NiJ9"])]


class Basic(_Credential, frozen=True, tag="basic"):
    """A user name and a password in the header `Authorization: Basic` (RFC 7617)."""

    username: Annotated[Username, Meta(description="The user name.", examples=["taskflow"])]
    password: Annotated[SecretText, Meta(description="The password.", examples=["correct horse"])]


class Header(_Credential, frozen=True, tag="header"):
    """A header of any name, such as an API key."""

    name: Annotated[
        HeaderName,
        Meta(
            description="The name of the header.",
            examples=["X-Api-Key"],
            extra={
                "expected": "the name of a header that TaskFlow does not set itself, such as "
                "X-Api-Key"
            },
        ),
    ]
    value: Annotated[SecretValue, Meta(description="Its value.", examples=["4fK2u0"])]


class OAuth2(_Credential, frozen=True, tag="oauth2_client_credentials"):
    """The client credentials grant of OAuth 2.0 (RFC 6749 section 4.4)."""

    token_url: Annotated[
        ShortText,
        Meta(
            description="The token endpoint: an https URL, or http on this machine.",
            examples=["https://login.example.com/oauth2/token"],
        ),
    ]
    client_id: Annotated[
        ShortText, Meta(description="The id of the client.", examples=["taskflow"])
    ]
    auth: Annotated[
        Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"],
        Meta(
            description="How the client authenticates itself: with its secret in the header or "
            "the body, with a signed assertion (RFC 7523), or with a certificate (RFC 8705).",
            examples=["client_secret_post"],
        ),
    ] = "client_secret_basic"
    client_secret: Annotated[
        SecretText | None,
        Meta(description="The secret of the client.", examples=["bm90IGEgc2VjcmV0"]),
    ] = None
    scope: Annotated[
        ShortText | None,
        Meta(
            description="The scopes to request, separated by spaces.",
            examples=["invoices:write"],
        ),
    ] = None
    audience: Annotated[
        ShortText | None,
        Meta(
            description="The service that the token is for, if the endpoint requires it.",
            examples=["https://api.example.com"],
        ),
    ] = None
    private_key: Annotated[
        Pem | None,
        Meta(description="The key that signs assertions, in PEM."),
    ] = None
    key_id: Annotated[
        ShortText | None,
        Meta(description="The `kid` of the private key.", examples=["2026-11"]),
    ] = None
    certificate: Annotated[
        Pem | None,
        Meta(description="A client certificate for the endpoint and the targets, in PEM."),
    ] = None
    certificate_key: Annotated[
        Pem | None,
        Meta(description="The private key of the certificate, in PEM."),
    ] = None
    ca_bundle: Annotated[
        Pem | None,
        Meta(description="Certificate authorities to trust instead of the system's, in PEM."),
    ] = None


class Oidc(_Credential, frozen=True, tag="oidc"):
    """An ID token that TaskFlow signs itself (OpenID Connect)."""

    audience: Annotated[
        ShortText | None,
        Meta(
            description="Its `aud`. Default: the origin of the target.",
            examples=["https://api.example.com"],
        ),
    ] = None
    subject: Annotated[
        ShortText | None,
        Meta(description="Its `sub`. Default: `taskflow`.", examples=["billing"]),
    ] = None
    algorithm: Annotated[
        Literal["RS256", "ES256"],
        Meta(description="The algorithm of its signature.", examples=["ES256"]),
    ] = "RS256"


class AwsSigV4(_Credential, frozen=True, tag="aws_sigv4"):
    """A key pair that signs requests to AWS (Signature Version 4)."""

    region: Annotated[AwsName, Meta(description="The region.", examples=["eu-central-1"])]
    service: Annotated[AwsName, Meta(description="The service.", examples=["execute-api"])]
    access_key_id: Annotated[
        Token, Meta(description="The id of the key pair.", examples=["AKIAIOSFODNN7EXAMPLE"])
    ]
    secret_access_key: Annotated[
        Token,
        Meta(
            description="Its secret.",
            examples=["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"],
        ),
    ]
    session_token: Annotated[
        Token | None,
        Meta(description="The token of a temporary key pair.", examples=["FwoGZXIvYXdzEXAMPLE"]),
    ] = None


class Mtls(_Credential, frozen=True, tag="mtls"):
    """A client certificate for TLS."""

    certificate: Annotated[
        Pem,
        Meta(description="The certificate, followed by intermediate certificates, in PEM."),
    ]
    private_key: Annotated[Pem, Meta(description="The private key of the certificate, in PEM.")]
    ca_bundle: Annotated[
        Pem | None,
        Meta(description="Certificate authorities to trust instead of the system's, in PEM."),
    ] = None


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
    """Return whether a request to a target uses TLS, or stays on this machine."""
    return target.scheme == "https" or is_loopback(target)


def may_go_to(hosts: Hosts, target: Target) -> bool:
    """Return whether a credential for these hosts may be sent to a target."""
    return target.host in hosts and is_private(target)
