"""E-mail by a real mail server, with TLS and a login."""

from __future__ import annotations

import ssl

import pytest

from taskflow.fetch.mail import Mail, Mailer
from taskflow.model.outcome import ErrorType, Failed, Fetched
from taskflow.model.smtp import SmtpServer, SmtpTls, parse_smtp_url
from tests.mail_server import MailServer

MAIL = Mail(("ops@example.com", "dev@example.com"), "It\r\nfails \u2192 now", "h\u00e9llo", "id-1")
SENDER = "taskflow@example.com"


@pytest.fixture(params=["STARTTLS", "implicit"])
def server(request, tmp_path, monkeypatch):
    with MailServer(tmp_path, is_implicit=request.param == "implicit") as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
        yield server


async def test_an_email_arrives(server):
    """Encrypted, after a login, to all recipients; a line break in the subject adds no header."""
    outcome = await Mailer(parse_smtp_url(server.url), SENDER).send(MAIL)
    assert isinstance(outcome, Fetched), outcome
    [message] = server.mail
    assert message["X-Recipients"] == "ops@example.com, dev@example.com"
    assert message["From"] == SENDER
    assert message["Subject"] == "It fails \u2192 now"
    assert message["Message-ID"] == "<id-1@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().strip() == "h\u00e9llo"


async def test_a_wrong_password(server):
    """The answer of the server is the error, without the password."""
    url = server.url.replace("correct%20horse", "wrong")
    outcome = await Mailer(parse_smtp_url(url), SENDER).send(MAIL)
    assert isinstance(outcome, Failed)
    assert (outcome.error_type, outcome.error.partition(" 535")[0]) == (ErrorType.MAIL, "mail:")
    assert "wrong" not in outcome.error
    assert server.mail == []


async def test_a_refused_recipient(server):
    """The error names it, and the answer."""
    server.refuse = "550 no such user"
    outcome = await Mailer(parse_smtp_url(server.url), SENDER).send(MAIL)
    assert isinstance(outcome, Failed)
    assert "ops@example.com: 550 no such user" in outcome.error


async def test_an_untrusted_certificate(server, monkeypatch):
    """The password is not sent."""
    monkeypatch.delenv("SSL_CERT_FILE")
    outcome = await Mailer(parse_smtp_url(server.url), SENDER).send(MAIL)
    assert isinstance(outcome, Failed)
    assert ssl.SSLCertVerificationError.__name__ in outcome.error


async def test_a_server_without_starttls(tmp_path):
    """It is not used without TLS: somebody between may have removed the offer."""
    with MailServer(tmp_path).without_starttls() as server:
        outcome = await Mailer(parse_smtp_url(server.url), SENDER).send(MAIL)
        assert isinstance(outcome, Failed)
        assert "STARTTLS" in outcome.error
        assert server.mail == []


async def test_no_server():
    """What is not set, and what does not answer, fails."""
    outcome = await Mailer().send(MAIL)
    assert isinstance(outcome, Failed)
    assert "TASKFLOW_SMTP_URL" in outcome.error
    outcome = await Mailer(parse_smtp_url("smtp://127.0.0.1:1?tls=none"), SENDER).send(MAIL)
    assert isinstance(outcome, Failed)
    assert "Connection refused" in outcome.error


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 587, SmtpTls.STARTTLS)),
        (
            "smtp://a%40b:c%2Fd@mail.example:25",
            SmtpServer("mail.example", 25, SmtpTls.STARTTLS, "a@b", "c/d"),
        ),
        ("smtps://mail.example/", SmtpServer("mail.example", 465, SmtpTls.IMPLICIT)),
        ("smtp://[::1]:25?tls=none", SmtpServer("::1", 25, SmtpTls.NONE)),
    ],
)
def test_urls(url, server):
    """Ports and TLS follow from the scheme."""
    assert parse_smtp_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        *("http://mail.example", "mail.example:25", "smtp://", "smtp://mail.example:x"),
        *("smtp://a:b@mail.example?tls=none", "smtps://mail.example?tls=none"),
        *("smtp://a@mail.example", "smtp://mail.example/x", "smtp://mail.example?tls=maybe"),
        *("smtp://mail.example:99999", "smtp://mail.example#a"),
    ],
)
def test_urls_that_are_rejected(url):
    """A password is never sent without TLS, and the message has no part of the URL."""
    with pytest.raises(ValueError, match="must be smtps://") as found:
        parse_smtp_url(url)
    assert "example" not in str(found.value)
