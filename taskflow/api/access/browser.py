"""Browsers, and the pages of others in them: who may ask, and what answers tell them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, TypeAlias

from taskflow.api.access.request_head import Head
from taskflow.model.errors import Forbidden

RawField: TypeAlias = tuple[bytes, bytes]

# On every answer, unless it says otherwise itself. There is nothing here to be run, framed or
# guessed at, and what belongs to one client is not for a cache that others share.
DEFENCES: Final[tuple[RawField, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# What a page may read of an answer beside its body.
READABLE: Final = ", ".join(
    (
        *("Content-Disposition", "ETag", "Idempotent-Replayed", "Link", "Location"),
        "Preference-Applied",
        *("RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate"),
    )
)
PREFLIGHT_SECONDS: Final = 600
# Of the same site is not enough: all that listens on this machine is of one site.
_OWN_SITES: Final = frozenset({"same-origin", "none"})
_HOW: Final = "TASKFLOW_CORS_ORIGINS names those that may"


def defended(fields: Iterable[RawField]) -> list[RawField]:
    """The header fields of an answer, with the defences that it has not."""
    kept = _with_one_vary(list(fields))
    names = {name.lower() for name, _ in kept}
    return [*kept, *(field for field in DEFENCES if field[0] not in names)]


def _with_one_vary(fields: list[RawField]) -> list[RawField]:
    """The same with all that an answer varies by in one field."""
    values = [value for name, value in fields if name.lower() == b"vary"]
    if len(values) <= 1:
        return fields
    others = [field for field in fields if field[0].lower() != b"vary"]
    return [*others, (b"vary", b", ".join(values))]


class CrossOrigin:
    """Which pages may ask by way of their visitors' browsers.

    A body is taken for JSON whatever it is said to be, so a form on any page could hand in
    tasks. Browsers say where a request comes from (``Sec-Fetch-Site``, ``Origin``), and pages
    cannot change that: only this service's own pages and those of configured origins may ask.
    Other clients say neither, and are none of these rules' business.

    Args:
        origins: Those whose pages may ask, and read the answers.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins: Final = frozenset(_as_browsers_say(origin) for origin in origins)

    def check(self, head: Head) -> None:
        """Let a request pass that no page of a stranger made.

        Raises:
            Forbidden: One did.
        """
        origin = head.fields.get("origin")
        if origin in self._origins:
            return
        if origin is not None and not is_own(origin, head):
            raise Forbidden(f"pages of another origin may not ask this service; {_HOW}")
        site = head.fields.get("sec-fetch-site", "none")
        # A link may lead here: its page learns nothing of what its visitor then sees.
        if site not in _OWN_SITES and not _is_followed_link(head):
            raise Forbidden(f"pages of another site may not ask this service; {_HOW}")

    def is_preflight(self, head: Head) -> bool:
        """Whether a browser asks if a page may ask (before it would send a key)."""
        return (
            head.method == "OPTIONS"
            and head.fields.get("origin") in self._origins
            and "access-control-request-method" in head.fields
        )

    def fields_for(self, head: Head) -> list[RawField]:
        """What the answer to a request tells the browser that may have sent it.

        That is never that cookies and the like may be sent: keys are sent by hand.
        """
        if not self._origins:
            return []
        # Caches must not give the answer for one origin to another.
        said = [(b"vary", b"Origin")]
        if (origin := head.fields.get("origin")) in self._origins:
            assert origin is not None
            said += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", READABLE.encode()),
            ]
        return said


def preflight_fields() -> dict[str, str]:
    """What a page of a configured origin may send."""
    return {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, "
        "If-None-Match, Last-Event-ID, Prefer, traceparent, tracestate",
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    }


def _as_browsers_say(origin: str) -> str:
    """In small letters, and without the port that goes without saying."""
    lowered = origin.lower()
    default = {"http": ":80", "https": ":443"}.get(lowered.partition("://")[0])
    return lowered.removesuffix(default) if default else lowered


def is_own(origin: str, head: Head) -> bool:
    """Whether it is the origin that the request itself went to.

    A proxy may have taken off TLS, so ``https`` may have become ``http``; not the other way.
    """
    scheme, _, authority = origin.partition("://")
    return scheme in {head.scheme, "https"} and authority == head.fields.get("host", "").lower()


def _is_followed_link(head: Head) -> bool:
    is_page = head.fields.get("sec-fetch-dest") == "document"
    is_navigation = head.fields.get("sec-fetch-mode") == "navigate"
    return head.method in {"GET", "HEAD"} and is_navigation and is_page
