"""Signs requests to AWS: Signature Version 4.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from taskflow.fetch.authentication import Admission, Headers, Outgoing
from taskflow.model.credential import AwsSigV4

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNESCAPED: Final = "-_.~"
_S3: Final = ("s3", "s3-outposts", "s3express", "s3-object-lambda")
"""Services whose paths are encoded once, and not normalized."""


class AwsAuthenticator(Admission):
    """Signs requests: the method, the URL, the body, and the headers that AWS reads.

    Args:
        credential: The credential.
    """

    def __init__(self, credential: AwsSigV4) -> None:
        super().__init__(credential.hosts)
        self._credential = credential

    async def headers(self, request: Outgoing, /) -> Headers:
        """See ``Authenticator``."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return signed_headers(self._credential, request, moment)

    async def rejected(self, _sent: Headers, /) -> bool:
        """See ``Authenticator``: AWS responds 403, and another signature changes nothing."""
        return False


def signed_headers(credential: AwsSigV4, request: Outgoing, moment: str) -> Headers:
    """Return the headers that sign a request.

    Args:
        credential: The key pair.
        request: The request.
        moment: The time, such as ``20150830T123600Z``.
    """
    body_hash = hashlib.sha256(request.body).hexdigest()
    added = [("X-Amz-Date", moment), ("X-Amz-Content-Sha256", body_hash)]
    if credential.session_token is not None:
        added.append(("X-Amz-Security-Token", credential.session_token))
    signed = _headers_to_sign(request, added)
    names = ";".join(signed)
    canonical = "\n".join(
        (
            request.method,
            _canonical_path(request.target.path_and_query, credential.service),
            _canonical_query(request.target.path_and_query),
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            names,
            body_hash,
        )
    )
    scope = f"{moment[:8]}/{credential.region}/{credential.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{moment}\n{scope}\n{digest}"
    signature = _hmac(_signing_key(credential, scope), text).hex()
    owner = f"{credential.access_key_id}/{scope}"
    value = f"{ALGORITHM} Credential={owner}, SignedHeaders={names}, Signature={signature}"
    return (*added, ("Authorization", value))


def _headers_to_sign(request: Outgoing, added: list[tuple[str, str]]) -> dict[str, str]:
    """Return the signed headers in their order, with the values of each name joined."""
    replaced = {name.lower() for name, _ in added}
    values: dict[str, list[str]] = {"host": [request.target.host_header]}
    kept = [pair for pair in request.headers if pair[0].lower() not in replaced]
    for name, value in (*kept, *added):
        lower = name.lower()
        if lower == "content-type" or lower.startswith("x-amz-"):
            values.setdefault(lower, []).append(" ".join(value.split()))
    return {name: ",".join(values[name]) for name in sorted(values)}


def _canonical_path(path_and_query: str, service: str) -> str:
    path = path_and_query.partition("?")[0]
    if service in _S3:
        return quote(unquote_to_bytes(path), safe=f"/{_UNESCAPED}")
    # What is encoded on the wire is encoded a second time.
    return quote(_normalized(path), safe=f"/{_UNESCAPED}")


def _normalized(path: str) -> str:
    """Return a path without dot segments and empty segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return f"/{'/'.join(kept)}{end}"


def _canonical_query(path_and_query: str) -> str:
    query = path_and_query.partition("?")[2]
    # In Latin-1, which decodes any byte.
    pairs = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    encoded = sorted(
        (
            quote(name.encode("latin-1"), safe=_UNESCAPED),
            quote(value.encode("latin-1"), safe=_UNESCAPED),
        )
        for name, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in encoded)


def _signing_key(credential: AwsSigV4, scope: str) -> bytes:
    key = f"AWS4{credential.secret_access_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
