"""Requests to the token endpoint of OAuth 2.0, and its responses. No I/O."""

from __future__ import annotations

import base64
import html
import json
import math
import re
import secrets
import time
from typing import Final
from urllib.parse import quote, quote_plus, urlencode

import msgspec

from taskflow.fetch.client_tls import CertificateAuthenticator, identification_of
from taskflow.fetch.interface import FetchRequest
from taskflow.fetch.recording import Recorder, Recording
from taskflow.fetch.response import retry_after_seconds
from taskflow.model.credential import OAuth2, is_private
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.masking import MASK
from taskflow.model.outcome import ErrorType, Failed, Fetched, Outcome, Postponed, Response
from taskflow.model.untrusted_text import printable, shortened
from taskflow.model.url import Target, parse_target

ASSERTION_SECONDS: Final = 60
"""Lifetime of the assertion of ``private_key_jwt``."""

DEFAULT_LIFETIME_SECONDS: Final = 300.0
"""Lifetime of a token whose response has no ``expires_in``, or one that is no number."""

MAX_LIFETIME_SECONDS: Final = 86_400.0
RENEWED_BEFORE_END_SECONDS: Final = 60.0
"""A token is not used in the last minute of its lifetime: it must not end on its way."""

MAX_DESCRIPTION_CHARACTERS: Final = 300

_ANY_STATUS: Final = ("2xx", "3xx", "4xx", "5xx")
_SUCCESS: Final = range(200, 300)
_SERVER_ERROR: Final = 500
_TEMPORARY: Final = frozenset((408, 425, 429))
_BLOCKED: Final = frozenset((ErrorType.BLOCKED, ErrorType.INVALID_URL))
_UNUSABLE: Final = frozenset((ErrorType.TOO_LARGE, ErrorType.HTTP_STATUS))
_DAMAGED: Final = frozenset((ErrorType.PROTOCOL, ErrorType.INTERNAL))
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TOKEN: Final = re.compile(r"[!-~]{1,16384}")
_ERROR_CODE: Final = re.compile(r"[ !#-\[\]-~]{1,100}")  # RFC 6749 section 5.2


class AccessToken(msgspec.Struct, frozen=True):
    """A token.

    Attributes:
        value: The token.
        usable_seconds: Time for which it may be used from its request on.
    """

    value: str
    usable_seconds: float

    def __repr__(self) -> str:
        return f"<AccessToken: usable for {self.usable_seconds:g} s>"


class TokenFailure(msgspec.Struct, frozen=True):
    """Why there is no token.

    Attributes:
        reason: The reason, for people, without any secret.
        is_temporary: True if the endpoint did not answer the question; tasks wait for it.
        is_damaged: True if its response began, but was invalid or did not end: a restart of the
            endpoint causes that once, an endpoint that is broken causes it each time.
        retry_after_seconds: How long the endpoint asks to be left alone.
    """

    reason: str
    is_temporary: bool
    is_damaged: bool = False
    retry_after_seconds: float = 0.0


class _Granted(msgspec.Struct):
    """A successful response (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - some servers leave it out
    expires_in: float | None = None


class _Refused(msgspec.Struct):
    """An error response (RFC 6749 section 5.2)."""

    error: str
    error_description: str = ""


class TokenRequest(msgspec.Struct, frozen=True):
    """A request for a token.

    Attributes:
        request: The request.
        place: The origin of the token endpoint, for errors.
        secrets: What must not be shown if the endpoint sends it back, in any form.
    """

    request: FetchRequest
    place: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<TokenRequest to {self.place}>"

    def answered(self, outcome: Outcome) -> AccessToken | TokenFailure:
        """Return the token of an outcome, or why there is none."""
        match outcome:
            case Fetched(response=response) if response.status_code in _SUCCESS:
                return self._granted(response)
            case Fetched(response=response):
                return self._refused(response)
            case Failed():
                return self._failed(outcome)
            case Postponed(error=error, delay_seconds=delay):
                return self.failure(error, retry_after_seconds=delay)
            case _:
                return self.failure("the request was interrupted")

    def timed_out(self, seconds: float) -> TokenFailure:
        """Return the failure of a request without a complete response in this time."""
        if self._begun is None:
            return self.failure(f"no response in {seconds:g} s")
        return self._cut_off(f"no complete response in {seconds:g} s")

    @property
    def _begun(self) -> Recording | None:
        """The response whose head arrived, if any did."""
        return None if self.request.recorder is None else self.request.recorder.last

    def _failed(self, failed: Failed) -> TokenFailure:
        """Return the failure of a request that has no usable response, or none at all."""
        if failed.error_type in _BLOCKED:
            return self.failure(f"{failed.error_type}: {failed.error}", is_temporary=False)
        if failed.error_type in _DAMAGED:
            return self._cut_off(failed.error)
        is_temporary = failed.error_type not in _UNUSABLE or self._is_outage
        return self.failure(failed.error, is_temporary=is_temporary)

    def _cut_off(self, error: str) -> TokenFailure:
        failure = self.failure(error)
        return msgspec.structs.replace(failure, is_damaged=not self._is_outage)

    @property
    def _is_outage(self) -> bool:
        """True if the status of the response says so, whatever became of its body."""
        return self._begun is not None and _is_temporary(self._begun.status_code)

    def _granted(self, response: Response) -> AccessToken | TokenFailure:
        try:
            granted = msgspec.json.decode(_json_of(response), type=_Granted, strict=False)
        except msgspec.DecodeError:
            return self.failure("the response has no access token", is_temporary=False)
        if granted.token_type.lower() != "bearer":
            return self.failure("its tokens are not bearer tokens", is_temporary=False)
        if not _TOKEN.fullmatch(granted.access_token):
            return self.failure("its token cannot be sent in a header", is_temporary=False)
        return AccessToken(granted.access_token, _usable_seconds(granted.expires_in))

    def _refused(self, response: Response) -> TokenFailure:
        try:
            refused = msgspec.json.decode(_json_of(response), type=_Refused)
            code = refused.error if _ERROR_CODE.fullmatch(refused.error) else "unknown error"
            parts = (response.status, code, refused.error_description)
        except msgspec.DecodeError:
            parts = (response.status, "", "")
        return self.failure(
            ": ".join(part for part in parts if part),
            is_temporary=_is_temporary(response.status_code),
            retry_after_seconds=retry_after_seconds(response.headers) or 0.0,
        )

    def failure(
        self, text: str, *, is_temporary: bool = True, retry_after_seconds: float = 0.0
    ) -> TokenFailure:
        """Return a failure, of which the text shows no secret."""
        shown = shortened(printable(self._masked(text)), MAX_DESCRIPTION_CHARACTERS)
        return TokenFailure(
            f"{self.place}: {shown}", is_temporary, retry_after_seconds=retry_after_seconds
        )

    def _masked(self, text: str) -> str:
        forms = sorted({form for secret in self.secrets for form in _forms_of(secret)}, key=len)
        anywhere = "|".join(re.escape(form) for form in reversed(forms))
        return re.sub(anywhere, MASK, text, flags=re.IGNORECASE) if forms else text


def token_request(credential: OAuth2) -> TokenRequest:
    """Return the request for a token (RFC 6749 section 4.4.2).

    Raises:
        InvalidUrl: The URL of the token endpoint is invalid.
    """
    target = parse_target(credential.token_url)
    if not is_private(target):
        raise InvalidUrl(f"{target.origin}: a token endpoint must use https")
    form = [("grant_type", "client_credentials")]
    optional = (("scope", credential.scope), ("audience", credential.audience))
    form += [(name, value) for name, value in optional if value]
    headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
    ]
    secret = credential.client_secret or ""
    hidden = [secret]
    match credential.auth:
        case "client_secret_basic":
            pair = f"{_encoded(credential.client_id)}:{_encoded(secret)}"
            value = base64.b64encode(pair.encode()).decode()
            headers.append(("Authorization", f"Basic {value}"))
            hidden.append(value)
        case "client_secret_post":
            form += [("client_id", credential.client_id), ("client_secret", secret)]
        case "private_key_jwt":
            assertion = _assertion(credential)
            form += [("client_id", credential.client_id)]
            form += [("client_assertion_type", _ASSERTION_TYPE), ("client_assertion", assertion)]
            hidden.append(assertion)
        case "tls_client_auth":
            form.append(("client_id", credential.client_id))
    return TokenRequest(
        FetchRequest(
            credential.token_url,
            method="POST",
            headers=tuple(headers),
            body=urlencode(form).encode(),
            follows_redirects=False,
            success_on=_ANY_STATUS,
            authenticator=_certificate_of(credential, target),
            recorder=Recorder(),
        ),
        target.origin,
        tuple(filter(None, hidden)),
    )


def _certificate_of(credential: OAuth2, target: Target) -> CertificateAuthenticator | None:
    """Return what identifies the client in TLS (RFC 8705 section 2), if anything does."""
    identification = identification_of(credential)
    if identification is None:
        return None
    return CertificateAuthenticator((target.host,), identification)


def _forms_of(secret: str) -> tuple[str, ...]:
    """Return a secret as an endpoint may send it back: as it is, and encoded."""
    in_base64 = base64.b64encode(secret.encode()).decode()
    in_json = (msgspec.json.encode(secret).decode()[1:-1], json.dumps(secret)[1:-1])
    in_html = (html.escape(secret), html.escape(secret, quote=False))
    return (secret, _encoded(secret), quote_plus(secret), in_base64, *in_json, *in_html)


def _encoded(text: str) -> str:
    """Return text form-encoded for the header (RFC 6749 section 2.3.1).

    A space becomes ``%20``: not every server decodes ``+``.
    """
    return quote(text, safe="")


def _assertion(credential: OAuth2) -> str:
    """Return the assertion by which a client authenticates itself (RFC 7523 section 3)."""
    from taskflow.model.signing_key import signing_key_of  # noqa: PLC0415 - few nodes need it

    now = int(time.time())
    claims = {
        "iss": credential.client_id,
        "sub": credential.client_id,
        "aud": credential.token_url,
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }
    return signing_key_of(credential.private_key or "").signed(claims, credential.key_id)


def _is_temporary(status: int) -> bool:
    return status >= _SERVER_ERROR or status in _TEMPORARY


def _json_of(response: Response) -> bytes:
    return bytes(response.result) if isinstance(response.result, msgspec.Raw) else b""


def _usable_seconds(expires_in: float | None) -> float:
    if expires_in is None or math.isnan(expires_in):
        expires_in = DEFAULT_LIFETIME_SECONDS
    lifetime = min(max(expires_in, 0.0), MAX_LIFETIME_SECONDS)
    return lifetime - min(RENEWED_BEFORE_END_SECONDS, lifetime / 2)
