"""Reading of alerts that clients send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from taskflow.model.alert_destinations import StoredDestination, destination_to, is_masked_url
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import (
    ALERTS_QUEUE,
    CONDITIONS,
    DEFAULT_EVERY_SECONDS,
    FILTERS,
    THRESHOLDS,
    AlertChange,
    AlertDefinition,
    AlertOn,
    StoredAlert,
)
from taskflow.model.errors import AlertNotFound, KeyMissing
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.keyring import Keyring
from taskflow.model.masking import Masking
from taskflow.model.signature import NO_SECRETS
from taskflow.schema.alerts import ONLY_SHOWN, AlertRequest, DestinationRequest, SilenceRequest
from taskflow.schema.json_text import object_fields
from taskflow.schema.merge_patch import patch_fields_of, patched
from taskflow.schema.payload import WAS_MASKED
from taskflow.schema.reader import Fields, Reader, check_name
from taskflow.schema.validation_errors import ValidationErrors

HOW: Final = (
    'send a JSON object such as {"on": "task_failed", "to": [{"kind": "email", "addresses": '
    '["ops@example.com"]}]}'
)
HOW_SILENCE: Final = 'send a JSON object such as {"seconds": 7200}'
NO_KEYS_FOR_URLS: Final = (
    "URLs of chats are secrets, and there is no key to encrypt them with; set "
    "TASKFLOW_ENCRYPTION_KEYS on all nodes to what `taskflow secret new --encryption` prints"
)
NO_MAIL_SERVER: Final = (
    "e-mail cannot be sent: set TASKFLOW_SMTP_URL and TASKFLOW_SMTP_FROM on all nodes"
)
_READER: Final = Reader(AlertRequest, ignored=ONLY_SHOWN)
_SILENCE_READER: Final = Reader(SilenceRequest)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class AlertReading(msgspec.Struct, frozen=True):
    """What an alert is validated with.

    Attributes:
        name: The name of the alert.
        can_sign: Whether there are secrets to sign with.
        can_mail: Whether there is a mail server.
        keyring: Encrypts URLs of chats.
        masking: The rule of masking.
    """

    name: str
    can_sign: bool
    can_mail: bool
    keyring: Keyring
    masking: Masking

    def replacement_of(self, body: bytes) -> AlertChange:
        """Read an alert to create or replace.

        The change raises ``Unprocessable`` if the alert is invalid.

        Raises:
            BadRequest: The body is not a JSON object.
            Unprocessable: It cannot be kept unchanged.
        """
        fields = object_fields(body, how=HOW)
        return lambda before: self._definition_of(fields, before)

    def patch_of(self, body: bytes) -> AlertChange:
        """Read a JSON merge patch.

        The change raises ``AlertNotFound`` if there is no alert, and ``Unprocessable`` if it is
        invalid afterwards.

        Raises:
            BadRequest: The body is not a JSON object.
            Unprocessable: It cannot be kept unchanged.
        """
        patch = patch_fields_of(body, how=HOW)

        def change(before: StoredAlert | None) -> AlertDefinition:
            if before is None:
                raise AlertNotFound
            return self._definition_of(patched(_fields_of(before), patch), before)

        return change

    def _definition_of(self, fields: Fields, before: StoredAlert | None) -> AlertDefinition:
        errors = ValidationErrors()
        check_name(fields, self.name, errors)
        for name in ("on", "to"):
            if bytes(fields.get(name, b"null")) == b"null":
                errors.add(f"/{name}", f"{name} is missing; {HOW}")
        given = {key: one for key, one in _READER.read(fields, errors).items() if one is not None}
        if not errors:
            _check_condition(given, errors)
        known = () if before is None else before.definition.to
        to = [
            self._destination_of(one, f"/to/{index}", known, errors)
            for index, one in enumerate(given.get("to", ()))
        ]
        errors.raise_if_any()
        return AlertDefinition(
            name=self.name,
            on=given["on"],
            to=tuple(one for one in to if one is not None),
            every_seconds=given.get("every_seconds", DEFAULT_EVERY_SECONDS),
            notify_recovery=given.get("notify_recovery", True),
            paused=given.get("paused", False),
            **{name: given.get(name) for name in (*FILTERS, *THRESHOLDS)},
        )

    def _destination_of(
        self,
        wanted: DestinationRequest,
        place: str,
        known: tuple[StoredDestination, ...],
        errors: ValidationErrors,
    ) -> StoredDestination | None:
        is_mail = wanted.kind is DestinationKind.EMAIL
        if is_mail != (wanted.url is None) or is_mail == (wanted.addresses is None):
            needed = "addresses, and no url" if is_mail else "url, and no addresses"
            errors.add(place, f"to: the kind {wanted.kind} needs {needed}")
            return None
        for one in known:
            if (one.kind, one.masked_url, one.addresses) == (
                wanted.kind,
                wanted.url,
                wanted.addresses or (),
            ):
                return one
        if wanted.addresses is not None:
            if not self.can_mail:
                errors.add(place, NO_MAIL_SERVER)
            return StoredDestination(kind=wanted.kind, addresses=wanted.addresses)
        assert wanted.url is not None
        return self._destination_with(wanted.kind, wanted.url, place, errors)

    def _destination_with(
        self, kind: DestinationKind, url: str, place: str, errors: ValidationErrors
    ) -> StoredDestination | None:
        if is_masked_url(kind, url, self.masking):
            errors.add(f"{place}/url", f"the URL {WAS_MASKED}")
            return None
        if not kind.is_chat and not self.can_sign:
            errors.add(place, NO_SECRETS.format("the kind webhook"))
        try:
            return destination_to(kind, url, self.name, self.keyring, self.masking)
        except InvalidUrl as error:
            why = str(error).removeprefix("invalid url: ")
            errors.add(f"{place}/url", f"the URL is not valid: {why}")
        except KeyMissing:
            errors.add(place, NO_KEYS_FOR_URLS)
        return None


def silence_of(body: bytes) -> float | None:
    """Read how long an alert is silenced; ``None`` to end the silence.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: It is invalid.
    """
    errors = ValidationErrors()
    fields = object_fields(body, how=HOW_SILENCE)
    given = _SILENCE_READER.read(fields, errors)
    if "seconds" not in fields:
        errors.add("/seconds", f"seconds is missing; {HOW_SILENCE}")
    errors.raise_if_any()
    seconds: float | None = given["seconds"]
    return seconds


def _check_condition(given: Mapping[str, Any], errors: ValidationErrors) -> None:
    """Check that the fields belong to the condition, and are within its bounds."""
    on: AlertOn = given["on"]
    condition = CONDITIONS[on]
    allowed = ([condition.filter] if condition.filter else []) + list(condition.thresholds)
    for name in (*FILTERS, *THRESHOLDS):
        if name in given and name not in allowed:
            has = f"it has {', '.join(allowed)}" if allowed else "it has no fields of its own"
            errors.add(f"/{name}", f"{name} does not belong to {on}; {has}")
    for name, threshold in condition.thresholds.items():
        value = given.get(name)
        if value is None:
            if threshold.default is None:
                errors.add(f"/{name}", f"{name} is missing; {on} needs it")
        elif not threshold.minimum <= value <= threshold.maximum:
            bounds = f"from {threshold.minimum:g} to {threshold.maximum:.0f}"
            errors.add(f"/{name}", f"{name} must be a number {bounds} for {on}")
    if given.get("queue") == ALERTS_QUEUE:
        errors.add("/queue", f"no alert watches {ALERTS_QUEUE}, the queue of notifications")


def _fields_of(alert: StoredAlert) -> Fields:
    """Return the fields of an alert as a client would send them."""
    definition = alert.definition
    shown = msgspec.structs.replace(definition, to=())
    fields = _FIELDS.decode(msgspec.json.encode(shown))
    fields["to"] = msgspec.Raw(msgspec.json.encode([one.shown for one in definition.to]))
    return fields
