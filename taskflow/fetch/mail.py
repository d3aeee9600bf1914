"""Sends e-mail by the operator's SMTP server.

The guard does not apply: the server is in a setting, which clients cannot choose.
"""

from __future__ import annotations

import email.utils
import smtplib
import ssl
import time
from email.message import EmailMessage
from typing import Final

import msgspec
import trio

from taskflow.model.outcome import ErrorType, Failed, Fetched, Response, failed
from taskflow.model.smtp import SmtpServer, SmtpTls
from taskflow.model.untrusted_text import printable

STEP_TIMEOUT_SECONDS: Final = 10.0
"""Timeout of a step of the protocol, such as connecting."""

MAIL_TIMEOUT_SECONDS: Final = 45.0
"""Timeout of an e-mail."""

MAX_THREADS: Final = 5
_OK: Final = 250


class Mail(msgspec.Struct, frozen=True):
    """An e-mail in plain text.

    Attributes:
        recipients: The addresses.
        subject: The subject.
        text: The text.
        message_id: The part of the ``Message-ID`` before the ``@``: a repetition has the same one.
    """

    recipients: tuple[str, ...]
    subject: str
    text: str
    message_id: str


class Mailer:
    """Sends e-mail.

    Args:
        server: The server; ``None`` if none is set.
        sender: The address of the sender.
    """

    def __init__(self, server: SmtpServer | None = None, sender: str = "") -> None:
        self._server: Final = server
        self._sender: Final = sender
        self._limiter: Final = trio.CapacityLimiter(MAX_THREADS)

    async def send(self, mail: Mail) -> Fetched | Failed:
        """Send an e-mail to all recipients, and return the outcome.

        A thread cannot be canceled. It is abandoned, and ends at its next timeout.
        """
        if self._server is None:
            return failed(
                ErrorType.MAIL, "mail: TASKFLOW_SMTP_URL and TASKFLOW_SMTP_FROM are not set here"
            )
        began = trio.current_time()
        with trio.move_on_after(MAIL_TIMEOUT_SECONDS):
            sent = await trio.to_thread.run_sync(
                _send,
                self._server,
                self._sender,
                mail,
                abandon_on_cancel=True,
                limiter=self._limiter,
            )
            if isinstance(sent, Failed):
                return sent
            return Fetched(_response(sent, trio.current_time() - began))
        return failed(
            ErrorType.MAIL, f"mail: the server took longer than {MAIL_TIMEOUT_SECONDS:g} s"
        )


def _send(server: SmtpServer, sender: str, mail: Mail) -> Failed | str:
    """Send an e-mail, and return what happened.

    If the server accepts some recipients, these would get a repetition again. So it is sent.
    """
    try:
        with _connected(server) as smtp:
            refused = smtp.send_message(_message(sender, mail), sender, mail.recipients)
    except smtplib.SMTPResponseException as error:
        return failed(ErrorType.MAIL, f"mail: {error.smtp_code} {_text_of(error.smtp_error)}")
    except smtplib.SMTPRecipientsRefused as error:
        return failed(ErrorType.MAIL, f"mail: {_refusals(error.recipients)}")
    except (smtplib.SMTPException, OSError, ValueError) as error:
        return failed(ErrorType.MAIL, f"mail: {type(error).__name__}: {error}")
    return f"sent, except to {_refusals(refused)}" if refused else "sent"


def _connected(server: SmtpServer) -> smtplib.SMTP:
    """Connect and log in.

    Raises:
        SMTPException: The server refused it.
        OSError: It cannot be reached, or its certificate is not trusted.
    """
    smtp: smtplib.SMTP
    if server.tls is SmtpTls.IMPLICIT:
        smtp = smtplib.SMTP_SSL(
            server.host,
            server.port,
            timeout=STEP_TIMEOUT_SECONDS,
            context=ssl.create_default_context(),
        )
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=STEP_TIMEOUT_SECONDS)
    try:
        if server.tls is SmtpTls.STARTTLS:
            smtp.starttls(context=ssl.create_default_context())
        if server.user:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _message(sender: str, mail: Mail) -> EmailMessage:
    domain = email.utils.parseaddr(sender)[1].rpartition("@")[2]
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(mail.recipients)
    message["Subject"] = " ".join(mail.subject.split())
    message["Date"] = email.utils.formatdate(time.time())
    message["Message-ID"] = f"<{mail.message_id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    return message


def _response(message: str, elapsed_seconds: float) -> Response:
    return Response(
        message=printable(message),
        result=None,
        status=f"{_OK} OK",
        status_code=_OK,
        headers={},
        content_type=None,
        encoding="json",
        url="mailto:",
        elapsed_seconds=round(elapsed_seconds, 6),
        size=0,
    )


def _refusals(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{address}: {code} {_text_of(text)}" for address, (code, text) in refused.items()
    )


def _text_of(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
