"""Signatures, compared with the package of the Standard Webhooks."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from standardwebhooks import Webhook

from taskflow.model.signature import NO_SIGNER, Signer, new_secret, secret_of
from tests.loopback import SECRET


def written(length: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(length))).decode()


def test_a_signature_is_that_of_the_package():
    """Of the same message, at the same time, with the same secret."""
    body = '{"é": 1}'
    headers = dict(
        Signer([secret_of(SECRET)]).headers("msg", body.encode(), timestamp=1_700_000_000)
    )
    at = dt.datetime.fromtimestamp(1_700_000_000, dt.UTC)
    assert headers == {
        "webhook-id": "msg",
        "webhook-timestamp": "1700000000",
        "webhook-signature": Webhook(SECRET).sign("msg", at, body),
    }


def test_the_example_of_the_standard():
    """The signature that the documents of the Standard Webhooks show."""
    body = b'{"test": 2432232314}'
    message_id, timestamp = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    headers = dict(Signer([secret_of(SECRET)]).headers(message_id, body, timestamp=timestamp))
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_secrets_make_two_signatures():
    """In their order, separated by a space."""
    one, two = secret_of(SECRET), secret_of(new_secret())
    signatures = [
        dict(Signer(s).headers("m", b"", timestamp=1))["webhook-signature"]
        for s in ([one], [two], [one, two])
    ]
    assert signatures[2] == f"{signatures[0]} {signatures[1]}"


@pytest.mark.parametrize("length", [24, 25, 26, 64])
def test_a_secret(length):
    """24 to 64 bytes, in base64."""
    assert secret_of(written(length)) == bytes(range(length))


@pytest.mark.parametrize(
    "text",
    [
        *("", "whsec_", SECRET[6:], f"{SECRET}!", f"{SECRET}é", SECRET.replace("M", "-")),
        *(written(23), written(65), written(25).rstrip("="), f"x{SECRET}", f"{SECRET} "),
        SECRET.upper(),
    ],
)
def test_invalid_secrets(text):
    """The error describes the format, and does not contain the value."""
    with pytest.raises(
        ValueError, match=r"^must be whsec_ followed by 24 to 64 bytes in base64"
    ) as caught:
        secret_of(text)
    assert len(text) < 10 or text not in str(caught.value)


def test_a_new_secret():
    """It is one, is another one each time, and the package takes it."""
    made = [new_secret() for _ in range(100)]
    assert len({secret_of(text) for text in made}) == 100
    headers = dict(Signer([secret_of(made[0])]).headers("m", b"{}", timestamp=now()))
    assert Webhook(made[0]).verify(b"{}", headers) == {}


def now() -> int:
    return int(dt.datetime.now(dt.UTC).timestamp())


def test_secrets_are_not_shown():
    """However a signer is shown."""
    signer = Signer([secret_of(SECRET)])
    assert repr(signer) == str(signer) == "<Signer: 1 secrets>"
    assert signer
    assert not NO_SIGNER
