"""Reading of signing secrets and encryption keys, and errors in them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from standardwebhooks import Webhook

from taskflow.cli import main
from taskflow.engine.configured_secrets import read_keyring, read_signer
from taskflow.model.errors import SettingsError
from taskflow.model.keyring import Keyring, key_of, new_encryption_key
from taskflow.model.signature import Signer, new_secret, secret_of
from taskflow.settings import Settings
from taskflow.telemetry import Event
from tests.logs import capture_logs
from tests.loopback import SECRET

OTHER = new_secret()


def signed(signer: Signer):
    return signer.headers("m", b"{}", timestamp=1)


def file_of(tmp_path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "secrets"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def refused(**settings) -> str:
    """Why secrets cannot be used, in one line; whatever it is, no secret is in it."""
    with pytest.raises(SettingsError) as caught:
        read_signer(Settings(**settings))
    assert SECRET[6:] not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_secrets_from_both_sources(tmp_path):
    """The variable comes first; comments, empty lines and line endings are ignored."""
    path = file_of(tmp_path, f"\ufeff# for callbacks\r\n\n  {OTHER}\r\n")
    with capture_logs() as logs:
        signer = read_signer(Settings(webhook_secrets=f" {SECRET} ,", webhook_secrets_file=path))
    assert signed(signer) == signed(Signer([secret_of(SECRET), secret_of(OTHER)]))
    assert logs == [{"event": Event.SECRETS_READ.value[1], "secrets": 2, "log_level": "info"}]


def test_no_secrets():
    """Without secrets nothing is signed and nothing is logged."""
    with capture_logs() as logs:
        assert not read_signer(Settings())
    assert logs == []


@pytest.mark.parametrize("entry", [SECRET[6:], SECRET + "=", "whsec_c2hvcnQ=", "whsec_"])
def test_an_invalid_entry(tmp_path, entry):
    """The error names its position."""
    why = refused(webhook_secrets=f"{OTHER},{entry}")
    assert why.startswith(
        "TASKFLOW_WEBHOOK_SECRETS, entry 2: must be whsec_ followed by 24 to 64 bytes"
    )
    path = file_of(tmp_path, f"#\n{entry}\n")
    assert refused(webhook_secrets_file=path).startswith(f"{path}, line 2: must be whsec_")


def test_a_secret_that_is_listed_twice(tmp_path):
    """A duplicate is an error, since it is no rotation."""
    path = file_of(tmp_path, SECRET)
    why = refused(webhook_secrets=SECRET, webhook_secrets_file=path)
    assert why == f"{path}, line 1: this secret is listed twice"


def test_sources_without_secrets(tmp_path):
    """A source that is set but empty is an error."""
    assert "is empty" in refused(webhook_secrets=" , ")
    assert "contains no secrets" in refused(webhook_secrets_file=file_of(tmp_path, "# none\n"))
    assert "cannot be read: No such file" in refused(webhook_secrets_file=str(tmp_path / "x"))
    (tmp_path / "latin").write_bytes(b"\xe9")
    assert "is not UTF-8" in refused(webhook_secrets_file=str(tmp_path / "latin"))


def test_a_file_that_all_users_can_read(tmp_path):
    """It is logged as a warning."""
    path = file_of(tmp_path, SECRET, mode=0o644)
    with capture_logs() as logs:
        read_signer(Settings(webhook_secrets_file=path))
    assert logs[0] == {
        "event": Event.SECRETS_FILE_OPEN.value[1],
        "path": path,
        "log_level": "warning",
    }


def test_settings_do_not_show_secrets():
    """Neither ``repr`` nor ``str`` contains them."""
    settings = Settings(webhook_secrets=SECRET)
    assert SECRET[6:] not in f"{settings!r} {settings}"
    assert settings.has_webhook_secrets


def test_secret_new():
    """It prints a secret that the receivers' package accepts, and nothing else."""
    made = CliRunner().invoke(main, ["secret", "new"])
    assert (made.exit_code, made.stderr) == (0, "")
    [secret] = made.stdout.splitlines()
    assert len(read_signer(Settings(webhook_secrets=secret))) == 1
    Webhook(secret)


KEY = new_encryption_key()


def test_encryption_keys_from_both_sources(tmp_path):
    """The first key of the variable encrypts; a file that all users can read is logged."""
    other = new_encryption_key()
    path = file_of(tmp_path, f"# the old one\n{other}\n", mode=0o644)
    with capture_logs() as logs:
        ring = read_keyring(Settings(encryption_keys=KEY, encryption_keys_file=path))
    assert ring.key_ids == Keyring([key_of(KEY), key_of(other)]).key_ids
    assert [(line["event"], line["log_level"]) for line in logs] == [
        (Event.ENCRYPTION_KEYS_FILE_OPEN.value[1], "warning"),
        (Event.ENCRYPTION_KEYS_READ.value[1], "info"),
    ]
    assert logs[1]["keys"] == 2


def test_no_encryption_keys():
    """Without keys nothing is logged."""
    with capture_logs() as logs:
        assert not read_keyring(Settings())
    assert logs == []


@pytest.mark.parametrize("form", ["{:.43}", "{}=", "{:.40}", "whsec_{}", "{0} {0}"])
def test_an_invalid_encryption_key(tmp_path, form):
    """The error names its position, and no part of the key is in it."""
    entry = form.format(KEY)
    path = file_of(tmp_path, f"#\n{entry}\n")
    places = {
        "TASKFLOW_ENCRYPTION_KEYS, entry 2": {"encryption_keys": f"{new_encryption_key()},{entry}"},
        f"{path}, line 2": {"encryption_keys_file": path},
    }
    for place, settings in places.items():
        with pytest.raises(SettingsError) as caught:
            read_keyring(Settings(**settings))
        assert str(caught.value).startswith(f"{place}: must be 32 bytes in base64")
        assert KEY[5:15] not in str(caught.value)


def test_an_encryption_key_that_is_listed_twice(tmp_path):
    """A duplicate is an error, since it is no rotation."""
    path = file_of(tmp_path, KEY)
    with pytest.raises(SettingsError, match=r"line 1: this key is listed twice$"):
        read_keyring(Settings(encryption_keys=KEY, encryption_keys_file=path))


def test_sources_without_encryption_keys(tmp_path):
    """A source that is set but empty is an error that says how to create one."""
    settings = Settings(encryption_keys_file=file_of(tmp_path, "# none\n"))
    with pytest.raises(SettingsError, match="taskflow secret new --encryption"):
        read_keyring(settings)
    with pytest.raises(SettingsError, match="TASKFLOW_ENCRYPTION_KEYS is empty"):
        read_keyring(Settings(encryption_keys=","))


def test_settings_do_not_show_encryption_keys():
    """Neither ``repr`` nor ``str`` contains them."""
    settings = Settings(encryption_keys=KEY)
    assert KEY[:20] not in f"{settings!r} {settings}"


def test_secret_new_encryption():
    """It prints a key that the setting accepts, and nothing else."""
    made = CliRunner().invoke(main, ["secret", "new", "--encryption"])
    assert (made.exit_code, made.stderr) == (0, "")
    [key] = made.stdout.splitlines()
    assert len(read_keyring(Settings(encryption_keys=key))) == 1
