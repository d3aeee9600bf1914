"""The documents by which targets verify ID tokens: the metadata of the issuer, and its keys."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from quart import Response

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.responses import as_json
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import NoIssuer
from taskflow.model.key_generation import ALGORITHMS, MAX_AGE_SECONDS

CONFIGURATION_PATH: Final = "/.well-known/openid-configuration"
JWKS_PATH: Final = "/.well-known/jwks.json"
_ISSUER: Final = "https://tasks.example.com"
_FOR_TARGETS: Final[dict[str, Any]] = {"group": "identity", "access": AccessPolicy.OPEN}


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of the issuer of ID tokens (OpenID Connect Discovery 1.0 section 3).

    Attributes:
        issuer: The ``iss`` of its tokens.
        jwks_uri: The URL of its public keys.
        response_types_supported: Always ``id_token``: there is no sign-in.
        subject_types_supported: Always ``public``.
        id_token_signing_alg_values_supported: The algorithms of signatures.
        claims_supported: The claims of its tokens.
    """

    issuer: str
    jwks_uri: str
    response_types_supported: tuple[str, ...] = ("id_token",)
    subject_types_supported: tuple[str, ...] = ("public",)
    id_token_signing_alg_values_supported: tuple[str, ...] = ALGORITHMS
    claims_supported: tuple[str, ...] = ("iss", "sub", "aud", "iat", "exp", "jti")


class PublicKeys(msgspec.Struct, frozen=True):
    """The public keys of ID tokens, also keys that sign soon or signed until now (RFC 7517).

    Attributes:
        keys: The keys.
    """

    keys: list[Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]]


_KEY: Final = msgspec.Raw(
    b'{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
    b'"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","use":"sig","alg":"ES256",'
    b'"kid":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}'
)


@Route(
    "GET",
    CONFIGURATION_PATH,
    responses=(
        RouteResponse(
            "The metadata.",
            Configuration,
            Configuration(issuer=_ISSUER, jwks_uri=_ISSUER + JWKS_PATH),
        ),
    ),
    problems=(HTTPStatus.NOT_FOUND,),
    **_FOR_TARGETS,
)
async def show_configuration(services: Services) -> Response:
    """Describe the issuer of ID tokens.

    For targets of credentials of the kind ``oidc``. Needs ``TASKFLOW_PUBLIC_URL``, which is the
    issuer.
    """
    issuer = _issuer_of(services)
    return _kept(as_json(Configuration(issuer=issuer, jwks_uri=issuer + JWKS_PATH)))


@Route(
    "GET",
    JWKS_PATH,
    responses=(RouteResponse("The keys.", PublicKeys, PublicKeys([_KEY])),),
    problems=(HTTPStatus.NOT_FOUND,),
    **_FOR_TARGETS,
)
async def list_public_keys(services: Services) -> Response:
    """List the public keys that verify ID tokens.

    A key is listed from a day before it signs until its last token has expired. Keys are replaced
    every 30 days.
    """
    _issuer_of(services)
    keys = await services.published_keys.get()
    response = as_json(PublicKeys(keys))
    return _kept(response) if keys else response  # the first keys come at any moment


def _issuer_of(services: Services) -> str:
    if not services.settings.public_url:
        raise NoIssuer
    return services.settings.public_url


def _kept(response: Response) -> Response:
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    return response


ROUTES: Final = (show_configuration, list_public_keys)
