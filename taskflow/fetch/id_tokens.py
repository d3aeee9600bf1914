"""ID tokens that this service signs, so that no secret is shared with targets."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
import trio

from taskflow.fetch.authentication import Admission, Headers, Outgoing
from taskflow.model.credential import Oidc

if TYPE_CHECKING:
    from taskflow.model.signing_key import SigningKey

TOKEN_SECONDS: Final = 600
"""Lifetime of a token."""

REUSED_SECONDS: Final = 60.0
"""Time for which requests share a token: an RSA signature takes longer than a fetch."""

MAX_TOKENS: Final = 100
DEFAULT_SUBJECT: Final = "taskflow"


class Issuer(msgspec.Struct, frozen=True):
    """An issuer of ID tokens.

    Attributes:
        url: Its URL, the ``iss`` of its tokens.
        key: The key that signs now.
    """

    url: str
    key: SigningKey

    def token(self, audience: str, subject: str) -> str:
        """Return a new token (OpenID Connect Core 1.0 section 2)."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_urlsafe(16),
        }
        return self.key.signed(claims, self.key.key_id)


GetIssuer: TypeAlias = Callable[[str], Awaitable[Issuer]]
"""Returns the issuer for an algorithm; may raise ``TokenUnavailable`` or ``TokenRefused``."""


class IdTokenAuthenticator(Admission):
    """Adds an ID token.

    Args:
        credential: The credential.
        issuer: Returns the issuer.
    """

    def __init__(self, credential: Oidc, issuer: GetIssuer) -> None:
        super().__init__(credential.hosts)
        self._credential = credential
        self._issuer = issuer
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}  # by key and audience

    async def headers(self, request: Outgoing, /) -> Headers:
        """See ``Authenticator``."""
        audience = self._credential.audience or request.target.origin
        issuer = await self._issuer(self._credential.algorithm)
        place = issuer.key.key_id, audience
        token, until = self._tokens.pop(place, ("", 0.0))
        if not token or trio.current_time() >= until:
            token = issuer.token(audience, self._credential.subject or DEFAULT_SUBJECT)
            until = trio.current_time() + REUSED_SECONDS
        self._tokens[place] = token, until
        if len(self._tokens) > MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return (("Authorization", f"Bearer {token}"),)

    async def rejected(self, _sent: Headers, /) -> bool:
        """See ``Authenticator``: another token with the same claims would be rejected, too."""
        return False
