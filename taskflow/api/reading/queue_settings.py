"""The settings of a queue, as ``PUT`` and ``PATCH /queues/{name}`` accept them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.api.reading import rules
from taskflow.api.reading.json_text import decoded
from taskflow.api.reading.merge_patch import patch_fields_of, patched
from taskflow.api.reading.rules import Rule, whole_number
from taskflow.api.reading.unknown_fields import note_unknown
from taskflow.api.reading.validation_errors import Faults
from taskflow.model.errors import BadRequest, QueueNotFound
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
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import QueueName

HOW: Final = 'send a JSON object such as {"max_concurrency": 10}, or {} to ask nothing of it'

# Without a burst of its own a rate lets through what came together in this time: claims are made
# for many tasks at once, and a rate that allowed but one each time would stay far below itself.
_DEFAULT_BURST_SECONDS: Final = 0.1


class RateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How many tasks may be started.

    Attributes:
        per_second: So many in the long run.
        burst: So many at once after a pause; those of a tenth of a second if it is not given.
    """

    per_second: PerSecond
    burst: Burst | None = None


class HostLimitsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What holds for each host by itself: its name, and its port where the URL gives one.

    Attributes:
        max_concurrency: How many tasks of a host may run at once, on all nodes together.
        rate: How many may be started a second; or an object of that and how many at once.
    """

    max_concurrency: MaxConcurrency | None = None
    rate: PerSecond | RateRequest | None = None


class QueueRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The settings of a queue. In a ``PUT`` a limit that is not given is lifted.

    Attributes:
        paused: Whether none of its tasks may be started. If it is not given, that stays as it is,
            also in a ``PUT``.
        max_concurrency: How many of its tasks may run at once, on all nodes together.
        rate: How many of its tasks may be started a second; or an object of that and how many at
            once.
        per_host: The same for its tasks of each host.
    """

    paused: bool | UnsetType = UNSET
    max_concurrency: MaxConcurrency | None = None
    rate: PerSecond | RateRequest | None = None
    per_host: HostLimitsRequest | None = None


class RatePatch(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a rate; a part that is not given stays as it is.

    Attributes:
        per_second: How many tasks may be started a second in the long run.
        burst: How many tasks may be started at once after a pause.
    """

    per_second: PerSecond | UnsetType = UNSET
    burst: Burst | UnsetType | None = UNSET


class HostLimitsPatch(msgspec.Struct, forbid_unknown_fields=True):
    """A change of the limits of each host; one that is not given stays as it is.

    Attributes:
        max_concurrency: How many tasks of a host may run at once; null removes the limit.
        rate: How many may be started a second, or a change of parts of that; null removes it.
    """

    max_concurrency: MaxConcurrency | UnsetType | None = UNSET
    rate: PerSecond | RatePatch | UnsetType | None = UNSET


class QueuePatch(msgspec.Struct, forbid_unknown_fields=True):
    """A change of the settings of a queue; a setting that is not given stays as it is.

    Attributes:
        paused: Whether none of its tasks may be started; null resumes it.
        max_concurrency: How many of its tasks may run at once; null removes the limit.
        rate: How many of its tasks may be started a second, or a change of parts of that; null
            removes the limit.
        per_host: A change of the limits of each host; null removes them.
    """

    paused: bool | UnsetType | None = UNSET
    max_concurrency: MaxConcurrency | UnsetType | None = UNSET
    rate: PerSecond | RatePatch | UnsetType | None = UNSET
    per_host: HostLimitsPatch | UnsetType | None = UNSET


_A_RATE: Final = (
    f"a number of starts a second, above 0 and up to {MAX_STARTS_PER_SECOND}, or an object of "
    "that as per_second and a burst, which is a whole number from 1"
)
_RULES: Final[Mapping[str, Rule]] = {
    "paused": Rule(bool, "true or false", may_be_null=False),
    "max_concurrency": whole_number(MaxConcurrency)._replace(may_be_null=True),
    "rate": Rule(PerSecond | RateRequest, _A_RATE),
    "per_host": Rule(
        HostLimitsRequest,
        "an object of max_concurrency and rate, as for the queue",
        parts=rules.FIELDS,
        names=Vocabulary(HostLimitsRequest.__struct_fields__),
    ),
}
_NAMES: Final = Vocabulary(_RULES)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def queue_name_of(text: str) -> str:
    """The name of a queue in a path.

    Raises:
        QueueNotFound: No queue can have it.
    """
    try:
        return msgspec.convert(text, type=QueueName)
    except msgspec.ValidationError:
        raise QueueNotFound(f"a queue's name is {rules.NAME}") from None


def replacement_of(body: bytes) -> QueueChange:
    """Read new settings of a queue. If they do not say ``paused``, that stays as it is.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: Fields cannot be used.
    """
    try:
        fields = decoded(body, _FIELDS, how=HOW)
    except msgspec.ValidationError:
        raise BadRequest(f"the body is not a JSON object; {HOW}") from None
    settings = _settings_in(fields)
    if "paused" in fields:
        return lambda _: settings
    return lambda before: msgspec.structs.replace(settings, paused=before.paused)


def patch_of(body: bytes) -> QueueChange:
    """Read a JSON merge patch of the settings of a queue.

    The change raises ``Unprocessable`` if the settings cannot be so.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: It cannot be kept unchanged.
    """
    patch = patch_fields_of(body, how=HOW)

    def change(before: QueueSettings) -> QueueSettings:
        return _settings_in(patched(_FIELDS.decode(msgspec.json.encode(before)), patch))

    return change


def _settings_in(fields: Mapping[str, msgspec.Raw]) -> QueueSettings:
    faults = Faults()
    note_unknown(fields, _NAMES, faults)
    given = {
        name: rule.read(name, bytes(fields[name]), faults)
        for name, rule in _RULES.items()
        if name in fields
    }
    faults.refuse()
    return _settings_of(given)


def _settings_of(given: Mapping[str, Any]) -> QueueSettings:
    each: HostLimitsRequest | None = given.get("per_host")
    limits = HostLimits(each.max_concurrency, _rate_of(each.rate)) if each else HostLimits()
    return QueueSettings(
        paused=given.get("paused", False),
        max_concurrency=given.get("max_concurrency"),
        rate=_rate_of(given.get("rate")),
        per_host=None if limits == HostLimits() else limits,
    )


def _rate_of(asked: float | RateRequest | None) -> Rate | None:
    if asked is None:
        return None
    rate = asked if isinstance(asked, RateRequest) else RateRequest(asked)
    burst = rate.burst or max(1, math.floor(rate.per_second * _DEFAULT_BURST_SECONDS))
    return Rate(rate.per_second, burst)
