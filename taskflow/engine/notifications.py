"""Attempts that deliver a notification of an alert."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.fetch.interface import FetchRequest
from taskflow.fetch.mail import Mail, Mailer
from taskflow.model.alert_destinations import unsealed_url
from taskflow.model.alert_target import AlertTarget, DestinationKind
from taskflow.model.errors import KeyMissing, StoreUnavailable, Undecryptable
from taskflow.model.keyring import Keyring
from taskflow.model.outcome import ErrorType, Failed, Fetched, Interrupted, Outcome, failed
from taskflow.model.task import Claim
from taskflow.store.base.alerts import AlertStore

_GONE: Final = failed(
    ErrorType.ENDPOINT_DISABLED, "endpoint disabled: the alert no longer has this destination"
)


class _MailBody(msgspec.Struct):
    to: tuple[str, ...]
    subject: str
    text: str


class _MailPayload(msgspec.Struct):
    body: _MailBody


_MAIL: Final = msgspec.json.Decoder(_MailPayload)


class Notifications:
    """What the attempts of notifications need.

    Args:
        alerts: The alerts.
        keyring: Decrypts URLs of chats.
        mailer: Sends e-mail.
    """

    def __init__(self, alerts: AlertStore, keyring: Keyring, mailer: Mailer) -> None:
        self._alerts: Final = alerts
        self._keyring: Final = keyring
        self._mailer: Final = mailer

    async def with_url(
        self, request: FetchRequest, target: AlertTarget
    ) -> FetchRequest | Failed | Interrupted:
        """Return a request with the URL of its destination as it is now.

        Raises:
            KeyMissing: It is encrypted with a key that this node does not have.
        """
        if not target.kind.is_chat:
            return request
        try:
            alert = await self._alerts.get(target.alert)
            known = () if alert is None else alert.definition.to
            for one in known:
                if (one.kind, one.masked_url) == (target.kind, target.url):
                    url = unsealed_url(one, target.alert, self._keyring)
                    return msgspec.structs.replace(request, url=url)
        except StoreUnavailable:
            return Interrupted()
        except KeyMissing:
            raise
        except Undecryptable:
            return failed(
                ErrorType.INTERNAL, "internal: the URL was changed in the database; put it again"
            )
        return _GONE

    async def mail(self, claim: Claim) -> Outcome:
        """Send the e-mail of a claim."""
        try:
            payload = _MAIL.decode(claim.payload)
        except (ValueError, RecursionError) as error:
            return failed(ErrorType.INTERNAL, f"internal: the payload cannot be read: {error}")
        return await self._mailer.send(
            Mail(
                recipients=payload.body.to,
                subject=payload.body.subject,
                text=payload.body.text,
                message_id=str(claim.task_id),
            )
        )


def is_mail(target: AlertTarget | None) -> bool:
    """Return whether a task sends an e-mail."""
    return target is not None and target.kind is DestinationKind.EMAIL


def without_secrets(outcome: Outcome, target: AlertTarget | None) -> Outcome:
    """Return the outcome of an attempt without the URL of a chat."""
    if target is None or target.url is None:
        return outcome
    if isinstance(outcome, Fetched):
        response = msgspec.structs.replace(outcome.response, url=target.url)
        return msgspec.structs.replace(outcome, response=response)
    if isinstance(outcome, Failed) and outcome.response is not None:
        kept = msgspec.structs.replace(outcome.response, url=target.url)
        return msgspec.structs.replace(outcome, response=kept)
    return outcome
