"""The declaration of credentials as clients write them, and their reader.

Values are write-only: no error repeats one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

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
from taskflow.model.errors import SettingsError
from taskflow.model.host_patterns import Hosts
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.request import MAX_HEADER_BYTES, HeaderName
from taskflow.model.signature import SIGNATURE_FIELDS
from taskflow.model.url import is_loopback, parse_target
from taskflow.schema.json_text import object_fields
from taskflow.schema.reader import Fields, Reader
from taskflow.schema.validation_errors import ValidationErrors

HOW: Final = (
    'send a JSON object such as {"kind": "bearer", "token": "...", "hosts": ["api.example.com"]}'
)
MAX_HOSTS: Final = 50
MAX_PEM_CHARACTERS: Final = 64 * 2**10
_NULL: Final = b"null"

HostPattern: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^(\\*\\.)?[^*\\s/@?#]{1,253}$(?!\n)",
        max_length=255,
        extra={"expected": "a host such as api.example.com, or *.example.com for all below it"},
    ),
]
Token: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[!-~]+$(?!\n)",
        max_length=MAX_HEADER_BYTES,
        extra={"is_secret": True, "expected": f"1 to {MAX_HEADER_BYTES} visible ASCII characters"},
    ),
]
SecretText: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x1f\x7f]+$(?!\n)",
        max_length=4096,
        extra={
            "is_secret": True,
            "expected": "1 to 4096 characters, none of them a control character",
        },
    ),
]
ShortText: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x1f\x7f]+$(?!\n)",
        max_length=1024,
        extra={"expected": "1 to 1024 characters, none of them a control character"},
    ),
]
Username: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x1f\x7f:]*$(?!\n)",
        max_length=1024,
        extra={"expected": "up to 1024 characters without colons and control characters"},
    ),
]
SecretValue: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[!-~]([\t !-~]*[!-~])?$(?!\n)",
        max_length=MAX_HEADER_BYTES,
        extra={
            "is_secret": True,
            "expected": f"1 to {MAX_HEADER_BYTES} ASCII characters, none of them a control "
            "character, that begin and end with a visible one",
        },
    ),
]
Pem: TypeAlias = Annotated[
    str,
    Meta(
        pattern="-----BEGIN [A-Z0-9 ]+-----",
        max_length=MAX_PEM_CHARACTERS,
        extra={
            "is_secret": True,
            "is_long": True,
            "expected": "text in PEM, which begins with -----BEGIN",
        },
    ),
]
AwsName: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9-]{1,64}$(?!\n)",
        max_length=64,
        extra={"expected": "1 to 64 small letters, digits and hyphens"},
    ),
]


class _CredentialRequest(
    msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="kind"
):
    hosts: Annotated[
        Annotated[
            tuple[HostPattern, ...],
            Meta(
                min_length=1,
                max_length=MAX_HOSTS,
                extra={
                    "expected": f"a list of 1 to {MAX_HOSTS} hosts, such as api.example.com, or "
                    "*.example.com for all below it"
                },
            ),
        ],
        Meta(
            description="The hosts that it may be sent to: names, all names below one "
            "(`*.example.com`), and addresses. A task that would send it elsewhere, at once or by "
            "a redirect, is `blocked`. It is sent over https only, except to this machine.",
            examples=[["api.example.com"]],
        ),
    ]


class BearerRequest(_CredentialRequest, tag="bearer"):
    """A token in the header `Authorization: Bearer` (RFC 6750)."""

    token: Annotated[Token, Meta(description="The token.", examples=["eyJhbGciOiJFUzI1NiJ9"])]


class BasicRequest(_CredentialRequest, tag="basic"):
    """A user name and a password in the header `Authorization: Basic` (RFC 7617)."""

    username: Annotated[Username, Meta(description="The user name.", examples=["taskflow"])]
    password: Annotated[SecretText, Meta(description="The password.", examples=["correct horse"])]


class HeaderRequest(_CredentialRequest, tag="header"):
    """A header of any name, such as an API key."""

    name: Annotated[
        HeaderName,
        Meta(
            description="The name of the header.",
            examples=["X-Api-Key"],
            extra={
                "expected": "the name of a header, none of those that TaskFlow sets, such as "
                "X-Api-Key"
            },
        ),
    ]
    value: Annotated[SecretValue, Meta(description="Its value.", examples=["4fK2u0"])]


class OAuth2Request(_CredentialRequest, tag="oauth2_client_credentials"):
    """The client credentials grant of OAuth 2.0 (RFC 6749 section 4.4)."""

    token_url: Annotated[
        ShortText,
        Meta(
            description="The token endpoint: an https URL, or http on this machine.",
            examples=["https://login.example.com/oauth2/token"],
        ),
    ]
    client_id: Annotated[ShortText, Meta(description="The client.", examples=["taskflow"])]
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
            description="The scope to request; several with spaces between them.",
            examples=["invoices:write"],
        ),
    ] = None
    audience: Annotated[
        ShortText | None,
        Meta(
            description="The service that the token is for, if the endpoint asks for it.",
            examples=["https://api.example.com"],
        ),
    ] = None
    private_key: Annotated[
        Pem | None,
        Meta(description="The key that signs assertions, in PEM."),
    ] = None
    key_id: Annotated[
        ShortText | None,
        Meta(description="The `kid` of that key.", examples=["2026-11"]),
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


class OidcRequest(_CredentialRequest, tag="oidc"):
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


class AwsSigV4Request(_CredentialRequest, tag="aws_sigv4"):
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


class MtlsRequest(_CredentialRequest, tag="mtls"):
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


CredentialRequest: TypeAlias = (
    BearerRequest
    | BasicRequest
    | HeaderRequest
    | OAuth2Request
    | OidcRequest
    | AwsSigV4Request
    | MtlsRequest
)

_PEM_FIELDS: Final = ("private_key", "certificate", "ca_bundle")
KINDS: Final[Mapping[str, tuple[type[_CredentialRequest], type[Any]]]] = {
    str(request.__struct_config__.tag): (request, kind)
    for request, kind in (
        (BearerRequest, Bearer),
        (BasicRequest, Basic),
        (HeaderRequest, Header),
        (OAuth2Request, OAuth2),
        (OidcRequest, Oidc),
        (AwsSigV4Request, AwsSigV4),
        (MtlsRequest, Mtls),
    )
}
"""By its name, how a client writes a kind, and what it becomes."""
_READERS: Final = {kind: Reader(request, ignored=("kind",)) for kind, (request, _) in KINDS.items()}
# What the client authenticates itself with, by how it does.
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "client_secret_basic": ("client_secret",),
    "client_secret_post": ("client_secret",),
    "private_key_jwt": ("private_key",),
    "tls_client_auth": ("certificate", "certificate_key"),
}


def credential_of(body: bytes) -> Credential:
    """Read a credential.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid. No error repeats a value.
    """
    fields = object_fields(body, how=HOW)
    errors = ValidationErrors()
    kind = _kind_of(fields, errors)
    errors.raise_if_any()
    request, model = KINDS[kind]
    read = _READERS[kind].read(fields, errors)
    given = {name: value for name, value in read.items() if value is not None}
    for missing in _missing(request, fields):
        errors.add("", f"{missing} is missing; a credential of the kind {kind} needs it")
    _check(kind, given, errors)
    errors.raise_if_any()
    credential: Credential = model(**given)
    return credential


def _kind_of(fields: Fields, errors: ValidationErrors) -> str:
    try:
        kind = msgspec.json.decode(fields.get("kind", _NULL), type=str)
    except msgspec.ValidationError:
        kind = ""
    if kind not in KINDS:
        what = "must be one of" if "kind" in fields else "is missing; it is one of"
        errors.add("/kind" if "kind" in fields else "", f"kind {what} {', '.join(KINDS)}")
    return kind


def _missing(request: type[_CredentialRequest], fields: Fields) -> Iterator[str]:
    for field in msgspec.structs.fields(request):
        if field.required and field.name not in fields:
            yield field.name


def _check(kind: str, given: Mapping[str, Any], errors: ValidationErrors) -> None:
    """Add the errors that the types of the fields do not show."""
    _check_hosts(given.get("hosts", ()), errors)
    if kind == "header" and str(given.get("name")).lower() in SIGNATURE_FIELDS:
        errors.add("/name", "name must not be that of a header with which TaskFlow signs requests")
    if kind == "oauth2_client_credentials":
        _check_token_url(given.get("token_url"), errors)
        _check_authentication(given, errors)
    if not given.keys().isdisjoint(_PEM_FIELDS):
        _check_keys(kind, given, errors)


def _check_keys(kind: str, given: Mapping[str, Any], errors: ValidationErrors) -> None:
    """Add the errors of keys and certificates, where all that belongs together is given."""
    # Imported here, because few nodes need `cryptography`.
    from taskflow.model.client_certificate import (  # noqa: PLC0415
        certificates_of,
        check_client_certificate,
    )
    from taskflow.model.signing_key import SigningKey  # noqa: PLC0415

    key = "private_key" if kind == "mtls" else "certificate_key"
    checks: tuple[tuple[Callable[..., object], tuple[str, ...]], ...] = (
        (check_client_certificate, ("certificate", key)),
        (certificates_of, ("ca_bundle",)),
        (SigningKey, ("private_key",) if kind != "mtls" else ()),
    )
    for check, names in checks:
        if names and all(name in given for name in names):
            try:
                check(*(given[name] for name in names))
            except ValueError as error:
                errors.add(f"/{names[0]}", f"{names[0]} {error}")


def _check_hosts(hosts: tuple[str, ...], errors: ValidationErrors) -> None:
    for index, pattern in enumerate(hosts):
        try:
            Hosts([pattern], "hosts")
        except SettingsError:
            errors.add(
                f"/hosts/{index}",
                "hosts must be names, such as api.example.com or *.example.com, or addresses",
            )


def _check_token_url(text: str | None, errors: ValidationErrors) -> None:
    if text is None:
        return
    try:
        target = parse_target(text)
    except InvalidUrl:
        errors.add("/token_url", "token_url must be a URL, such as https://login.example.com/token")
        return
    if target.scheme != "https" and not is_loopback(target):
        errors.add("/token_url", "token_url must begin with https, except on this machine")


def _check_authentication(given: Mapping[str, Any], errors: ValidationErrors) -> None:
    auth = given.get("auth") or "client_secret_basic"
    for name in _NEEDED.get(auth, ()):
        if name not in given:
            errors.add(f"/{name}", f"{name} must be given if auth is {auth}")
    if ("certificate" in given) != ("certificate_key" in given):
        errors.add("/certificate", "certificate and certificate_key must be given together")
