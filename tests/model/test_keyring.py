"""The keys that encrypt data at rest."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.model.errors import KeyMissing, Undecryptable
from taskflow.model.keyring import NO_KEYS, Keyring, key_of, new_encryption_key
from taskflow.model.xaes import encrypt

ONE, TWO = b"1" * 32, b"2" * 32


@pytest.mark.parametrize(
    ("key", "associated", "expected"),
    [
        (b"\x01", b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (
            b"\x03",
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ],
)
def test_the_examples_of_the_specification(key, associated, expected):
    """The key derivation has a branch by one bit of the key; there is an example of each."""
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    assert encrypt(key * 32, nonce, b"XAES-256-GCM", associated).hex() == expected


@given(data=st.binary(), associated=st.binary())
def test_what_was_encrypted_is_decrypted(data, associated):
    """Each key of a ring decrypts, the first one encrypts."""
    old, rotating, new = Keyring([ONE]), Keyring([TWO, ONE]), Keyring([TWO])
    by_old, by_new = old.encrypt(data, associated), rotating.encrypt(data, associated)
    assert rotating.decrypt(by_old, associated) == data
    assert new.decrypt(by_new, associated) == data
    assert [rotating.is_current(one) for one in (by_old, by_new)] == [False, True]
    with pytest.raises(KeyMissing):
        new.decrypt(by_old, associated)


@given(data=st.binary(max_size=64), flip=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_bit_can_be_changed(data, flip, bit):
    """A change of any bit is noticed."""
    ring = Keyring([ONE])
    changed = bytearray(ring.encrypt(data, b"a"))
    changed[flip % len(changed)] ^= 1 << bit
    with pytest.raises((Undecryptable, KeyMissing)):
        ring.decrypt(bytes(changed), b"a")


@given(cut=st.integers(min_value=0, max_value=60))
def test_no_end_can_be_cut_off(cut):
    """Data that lacks its end is not decrypted."""
    ring = Keyring([ONE])
    whole = ring.encrypt(b"x" * 16, b"")
    with pytest.raises(Undecryptable):
        ring.decrypt(whole[:cut], b"")


def test_data_belongs_to_what_it_is_associated_with():
    """Moved to another place, it cannot be decrypted."""
    ring = Keyring([ONE])
    with pytest.raises(Undecryptable):
        ring.decrypt(ring.encrypt(b"secret", b"billing/bearer"), b"other/bearer")


def test_the_same_data_is_encrypted_differently_each_time():
    """Equal values cannot be recognized, and no nonce is used twice."""
    ring = Keyring([ONE])
    assert len({ring.encrypt(b"x", b"") for _ in range(1000)}) == 1000


def test_without_keys():
    """Nothing can be encrypted or decrypted, and the error says what to set."""
    assert not NO_KEYS
    with pytest.raises(KeyMissing, match="TASKFLOW_ENCRYPTION_KEYS"):
        NO_KEYS.encrypt(b"x", b"")
    with pytest.raises(KeyMissing):
        NO_KEYS.decrypt(Keyring([ONE]).encrypt(b"x", b""), b"")
    assert not NO_KEYS.is_current(Keyring([ONE]).encrypt(b"x", b""))


def test_keys_are_not_shown():
    """``repr`` shows how many there are; the ids are hashes."""
    ring = Keyring([ONE, TWO])
    assert repr(ring) == "<Keyring: 2 keys>"
    assert len(set(ring.key_ids)) == 2


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "=" * 44, base64.b64encode(b"1" * 31).decode(), "é" * 44),
        *(base64.b64encode(ONE).decode().rstrip("="), base64.b64encode(ONE).decode() + "\n"),
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    ],
)
def test_an_invalid_key(text):
    """The error states the format and does not quote the text."""
    with pytest.raises(ValueError, match="must be 32 bytes in base64") as caught:
        key_of(text)
    assert len(text) < 2 or text not in str(caught.value)


def test_a_new_key():
    """It is random, and can be parsed."""
    assert key_of(new_encryption_key()) != key_of(new_encryption_key())


def test_a_node_without_keys_does_not_load_cryptography():
    """The package costs a plain node neither time nor memory."""
    program = (
        "import sys, taskflow.service\n"
        "from taskflow.model.keyring import Keyring\n"
        "print('cryptography' in sys.modules, Keyring([b'1' * 32]), 'cryptography' in sys.modules)"
    )
    reported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert reported.stdout.strip() == "False <Keyring: 1 keys> True"
