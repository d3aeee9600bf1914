"""The declaration of a queue's settings, and their reader."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.model.errors import FieldError, Forbidden, Unprocessable
from taskflow.model.keyring import Keyring
from taskflow.model.proxy import (
    DIRECT,
    is_masked_proxy,
    is_sealed_proxy,
    masked_proxy,
    parse_proxy,
    sealed_proxy,
)
from taskflow.model.queue_limits import (
    MAX_STARTS_PER_SECOND,
    Burst,
    HostLimits,
    MaxConcurrency,
    PerSecond,
    QueueChange,
    QueueSettings,
    Rate,
)
from taskflow.model.queues import Queue
from taskflow.model.signature import NO_SECRETS
from taskflow.model.task import CredentialName
from taskflow.schema.json_text import object_fields
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.schema.merge_patch import patch_fields_of, patch_type, patched
from taskflow.schema.payload import WAS_MASKED
from taskflow.schema.reader import Fields, Reader, check_name
from taskflow.schema.validation_errors import ValidationErrors

MAX_PROXY_CHARACTERS: Final = 2048
HOW: Final = 'send a JSON object such as {"max_concurrency": 10}, or {} for no limits'

# Without a burst of its own a rate allows the starts of this time at once: tasks are claimed in
# batches, and a rate with a burst of 1 would stay far below itself.
_DEFAULT_BURST_SECONDS: Final = 0.1
_RATE_RULE: Final = {
    "expected": f"a number of starts per second, above 0 and up to {MAX_STARTS_PER_SECOND}, or "
    "an object of that as per_second and a burst, which is a whole number from 1"
}


class RateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A rate limit."""

    per_second: Annotated[
        PerSecond, Meta(description="Maximum number of starts per second.", examples=[5])
    ]
    burst: Annotated[
        Burst | None,
        Meta(
            description="Maximum number of starts at once after a pause. Default: the starts of a "
            "tenth of a second.",
            examples=[10],
        ),
    ] = None


class HostLimitsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The limits of each host: its name, and its port where the URL gives one."""

    max_concurrency: Annotated[
        MaxConcurrency | None,
        Meta(
            description="Maximum number of running tasks per host, on all nodes together.",
            examples=[2],
        ),
    ] = None
    rate: Annotated[
        PerSecond | RateRequest | None,
        Meta(
            description="Maximum number of starts per second and host. An object also has a burst.",
            examples=[1],
            extra=_RATE_RULE,
        ),
    ] = None


class QueueRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The settings of a queue. In a ``PUT`` a setting that is not given is removed.

    Fields that only TaskFlow sets are ignored, so that a queue can be sent again as it was shown.
    """

    paused: Annotated[
        bool | UnsetType,
        Meta(
            description="Whether no task of the queue starts. If it is not given, it stays as it "
            "is, also in a `PUT`.",
            examples=[True],
        ),
    ] = UNSET
    max_concurrency: Annotated[
        MaxConcurrency | None,
        Meta(description="Maximum number of running tasks, on all nodes together.", examples=[10]),
    ] = None
    rate: Annotated[
        PerSecond | RateRequest | None,
        Meta(
            description="Maximum number of starts per second. An object also has a burst.",
            examples=[5],
            extra=_RATE_RULE,
        ),
    ] = None
    per_host: Annotated[
        HostLimitsRequest | None,
        Meta(description="Limits for each host.", examples=[{"max_concurrency": 2}]),
    ] = None
    sign: Annotated[
        bool | None,
        Meta(
            description="Whether requests of its tasks are signed, except of tasks with `sign` of "
            "their own; `true` needs the setting `TASKFLOW_WEBHOOK_SECRETS`. Default: the setting "
            "`TASKFLOW_SIGN_REQUESTS`.",
            examples=[True],
        ),
    ] = None
    credential: Annotated[
        CredentialName | None,
        Meta(
            description="The name of the credential that TaskFlow adds to each request of its "
            "tasks, except of tasks with a `credential` of their own.",
            examples=["billing"],
        ),
    ] = None
    egress_proxy: Annotated[
        Annotated[str, Meta(max_length=MAX_PROXY_CHARACTERS)] | UnsetType | None,
        Meta(
            description="URL of the proxy that its tasks use, `http://` or `https://`, with its "
            f"user and password; `{DIRECT}` for no proxy. Its credentials are shown as `***`, "
            "which keeps them if it is sent back. A change needs the role `admin`, for all queues. "
            "If absent, it stays unchanged, even in a `PUT`; `null` stands for the setting "
            "`TASKFLOW_EGRESS_PROXY`.",
            examples=["http://worker:s3cret@proxy.example:3128"],
        ),
    ] = UNSET


QueuePatch: Final = patch_type(QueueRequest)
ONLY_SHOWN: Final = frozenset(Queue.__struct_fields__) - set(QueueRequest.__struct_fields__)
"""Fields that only TaskFlow sets; they are ignored in a ``QueueRequest``."""

NOT_YOUR_PROXY: Final = (
    "egress_proxy needs a key with the role admin that is not limited to some queues"
)
_READER: Final = Reader(QueueRequest, ignored=ONLY_SHOWN)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Permissions(NamedTuple):
    """What a request may change, and what it is validated with.

    Attributes:
        can_sign: Whether there are secrets to sign with.
        may_set_proxy: Whether the caller may change ``egress_proxy``.
        credentials: The credentials that exist; ``None`` for any.
        keyring: Encrypts the credentials of ``egress_proxy``.
    """

    can_sign: bool
    may_set_proxy: bool
    credentials: KnownCredentials | None
    keyring: Keyring


def replacement_of(body: bytes, name: str, permissions: Permissions) -> QueueChange:
    """Read new settings of a queue.

    If ``paused`` and ``egress_proxy`` are absent, they stay unchanged: a client that does not know
    these settings neither starts tasks nor changes their proxy.

    The change raises ``Forbidden`` if the caller may not make it.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    fields = object_fields(body, how=HOW)
    settings = _settings_in(fields, name, permissions)
    kept = {"paused", "egress_proxy"} - fields.keys()

    def change(before: QueueSettings) -> QueueSettings:
        stay = {field: getattr(before, field) for field in kept}
        after = msgspec.structs.replace(settings, **stay)
        return _with_proxy_of(before, after, name, permissions)

    return change


def patch_of(body: bytes, name: str, permissions: Permissions) -> QueueChange:
    """Read a JSON merge patch of the settings of a queue.

    The change raises ``Unprocessable`` if the settings after it are invalid, and ``Forbidden`` if
    the caller may not make it.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: It cannot be kept unchanged.
    """
    patch = patch_fields_of(body, how=HOW)
    lenient = permissions._replace(
        # Secrets may have been removed, and credentials deleted, since these were set.
        can_sign=permissions.can_sign or "sign" not in patch,
        credentials=permissions.credentials if "credential" in patch else None,
    )

    def change(before: QueueSettings) -> QueueSettings:
        fields = patched(_FIELDS.decode(msgspec.json.encode(before)), patch)
        after = _settings_in(fields, name, lenient)
        return _with_proxy_of(before, after, name, permissions)

    return change


def _settings_in(fields: Fields, name: str, permissions: Permissions) -> QueueSettings:
    errors = ValidationErrors()
    check_name(fields, name, errors)
    given = _READER.read(fields, errors)
    if given.get("sign") and not permissions.can_sign:
        errors.add("/sign", NO_SECRETS.format("sign"))
    if permissions.credentials is not None:
        permissions.credentials.check(given.get("credential"), errors)
    if (proxy := given.get("egress_proxy")) and proxy != DIRECT:
        _check_proxy(proxy, errors)
    errors.raise_if_any()
    return _settings_of(given)


def _check_proxy(url: str, errors: ValidationErrors) -> None:
    try:
        parse_proxy(url)
    except ValueError as error:
        errors.add("/egress_proxy", f"egress_proxy {error}, and it is not {DIRECT}")


def _with_proxy_of(
    before: QueueSettings, after: QueueSettings, name: str, permissions: Permissions
) -> QueueSettings:
    """Return the settings with the proxy as it is stored, even if it was sent masked.

    Raises:
        Forbidden: The caller may not change the proxy.
        Unprocessable: It is masked, and not the stored one.
    """
    proxy = after.egress_proxy
    if proxy == masked_proxy(before.egress_proxy):
        proxy = before.egress_proxy
    if proxy != before.egress_proxy:
        if not permissions.may_set_proxy:
            raise Forbidden(NOT_YOUR_PROXY, scope="admin")
        if proxy is not None and (is_masked_proxy(proxy) or is_sealed_proxy(proxy)):
            text = f"egress_proxy {WAS_MASKED}"
            raise Unprocessable(text, errors=[FieldError("#/egress_proxy", text)])
        proxy = proxy and sealed_proxy(proxy, name, permissions.keyring)
    return msgspec.structs.replace(after, egress_proxy=proxy)


def _settings_of(given: Mapping[str, Any]) -> QueueSettings:
    each: HostLimitsRequest | None = given.get("per_host")
    limits = HostLimits(each.max_concurrency, _rate_of(each.rate)) if each else HostLimits()
    return QueueSettings(
        paused=given.get("paused", False),
        max_concurrency=given.get("max_concurrency"),
        rate=_rate_of(given.get("rate")),
        per_host=None if limits == HostLimits() else limits,
        sign=given.get("sign"),
        credential=given.get("credential"),
        egress_proxy=given.get("egress_proxy") or None,
    )


def _rate_of(value: float | RateRequest | None) -> Rate | None:
    if value is None:
        return None
    rate = value if isinstance(value, RateRequest) else RateRequest(value)
    burst = rate.burst or max(1, math.floor(rate.per_second * _DEFAULT_BURST_SECONDS))
    return Rate(rate.per_second, burst)
