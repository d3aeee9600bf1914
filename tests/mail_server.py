"""A mail server that accepts e-mail by SMTP, and keeps it as it came."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = "taskflow", "correct horse/@"


class MailServer:
    """The server, in a thread of its own. It requires TLS and a login.

    ``refuse`` is what it answers to recipients, if not that they are fine.

    Args:
        folder: Where the certificate of its authority is written.
        is_implicit: Whether TLS begins with the connection, and not with STARTTLS.
    """

    def __init__(self, folder: Path, *, is_implicit: bool = False) -> None:
        self.authority = folder / "authority.pem"
        self.mail: list[EmailMessage] = []
        self.refuse: str | None = None
        self._changed = threading.Condition()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        options: dict[str, Any] = {
            "authenticator": self._authenticate,
            "auth_required": True,
            "auth_require_tls": True,
        }
        if is_implicit:
            options["ssl_context"] = context
        else:
            options |= {"tls_context": context, "require_starttls": True}
        self._options = options
        self._protocols: list[SMTP] = []
        self._context = options.pop("ssl_context", None)
        self._is_implicit = is_implicit
        self._loop = asyncio.SelectorEventLoop()  # whatever the policy of the test is
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> MailServer:
        self._thread.start()
        self._server = self._run(
            self._loop.create_server(
                self._protocol,
                "127.0.0.1",
                0,
                ssl=self._context,
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def without_starttls(self) -> MailServer:
        """Offer no STARTTLS, as somebody between could arrange it."""
        for name in ("tls_context", "require_starttls"):
            del self._options[name]
        return self

    def _protocol(self) -> SMTP:
        protocol = SMTP(self, loop=self._loop, **self._options)
        if self._is_implicit:  # it looks for STARTTLS only
            protocol._tls_protocol = True
        self._protocols.append(protocol)
        return protocol

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _end(self) -> None:
        for protocol in self._protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
        await asyncio.sleep(0)
        tasks = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        scheme = "smtps" if self._is_implicit else "smtp"
        return f"{scheme}://{USER}:correct%20horse%2F%40@localhost:{self.port}"

    def wait_for(self, times: int, seconds: float = 60.0) -> list[EmailMessage]:
        """Wait until this number of e-mails has come, and return them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.mail) >= times, seconds), self.mail
            return list(self.mail)

    def _authenticate(self, *arguments: Any) -> AuthResult:
        login = arguments[-1]
        is_known = isinstance(login, LoginPassword) and login == LoginPassword(
            USER.encode(), PASSWORD.encode()
        )
        return AuthResult(success=is_known, handled=False)

    async def handle_RCPT(  # noqa: N802 - the name in aiosmtpd
        self, _: SMTP, __: Any, envelope: Any, address: str, ___: Any
    ) -> str:
        if self.refuse is not None:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the name in aiosmtpd
        self, _: SMTP, __: Any, envelope: Any
    ) -> str:
        message = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        message["X-Recipients"] = ", ".join(envelope.rcpt_tos)
        with self._changed:
            self.mail.append(message)
            self._changed.notify_all()
        return "250 accepted"
