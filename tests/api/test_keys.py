"""Keys: how they are written, kept, found and shown, which is never."""

from __future__ import annotations

import hashlib

import pytest
from click.testing import CliRunner

from taskflow.api.access.api_keys import ApiKeys, Key, Role, digest_of, new_key, read_keys
from taskflow.cli import main
from taskflow.model.errors import SettingsError
from taskflow.model.queue_scope import QueueScope
from taskflow.settings import Settings
from taskflow.telemetry import Event

SECRET = "a-key-that-is-never-shown"
OTHER = "another-key-never-shown"


def wordings(events):
    return [event["event"] for event in events]


def refused(**settings) -> str:
    """Why keys cannot be used; whatever it is, no key is in it."""
    with pytest.raises(SettingsError) as caught:
        read_keys(Settings(**settings))
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def keys_file(tmp_path, *lines: str):
    path = tmp_path / "keys"
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    return path


def line(name: str, key: str, role: str = "") -> str:
    return f"{name}:{role and role + ':'}{hashlib.sha256(key.encode()).hexdigest()}"


def test_keys_in_the_environment():
    """name:key may write; name:role:key may what it says; spaces around commas are passed over."""
    keys = read_keys(Settings(api_keys=f"ci:{SECRET} , dash.board-1:read:{OTHER}=="))
    assert len(keys) == 2
    assert keys.find(SECRET) == Key("ci", Role.WRITE, digest_of(SECRET))
    assert keys.find(OTHER + "==").role is Role.READ
    assert keys.find(OTHER) is None


def test_keys_in_a_file(tmp_path):
    """A line each, with the hash; comments, empty lines and the ends of lines do not matter."""
    path = keys_file(
        tmp_path, "# who may", "", f"  {line('ci', SECRET)}\r", line("x", OTHER, "admin")
    )
    keys = read_keys(Settings(api_keys_file=str(path)))
    assert keys.find(SECRET).role is Role.WRITE
    assert keys.find(OTHER).role is Role.ADMIN


def test_keys_in_both_places(tmp_path):
    """All of them are good; one name may have two keys, so that one can take the other's place."""
    path = keys_file(tmp_path, line("ci", OTHER))
    keys = read_keys(Settings(api_keys=f"ci:{SECRET}", api_keys_file=str(path)))
    assert keys.find(SECRET).name == keys.find(OTHER).name == "ci"


def test_a_new_key_is_valid(tmp_path):
    """What the command prints for the file makes the key known that it shows beside it."""
    made = CliRunner().invoke(main, ["key", "new", "ci", "--role", "read"])
    assert made.exit_code == 0
    key = made.stderr.split()[-1]
    assert key.startswith("taskflow_")
    assert key not in made.stdout
    path = keys_file(tmp_path, made.stdout.rstrip("\n"))
    assert read_keys(Settings(api_keys_file=str(path))).find(key).role is Role.READ
    # It can also be set in the environment.
    assert read_keys(Settings(api_keys=f"ci:{key}")).find(key).role is Role.WRITE


def test_no_two_keys_are_the_same():
    """They are random, and as long as their hash."""
    keys = {new_key("ci", Role.WRITE)[0] for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {len("taskflow_") + 43}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a,b", "x" * 65, "#x", "\xe9"])
def test_a_name_that_cannot_be_one(name):
    """It is refused as a wrong argument is, and no key is made."""
    made = CliRunner().invoke(main, ["key", "new", name])
    assert made.exit_code == 2
    assert made.stdout == ""


@pytest.mark.parametrize(
    "entry",
    [SECRET, f":{SECRET}", "ci:", f"ci:{SECRET}:", f"ci:owner:{SECRET}", f"ci:{SECRET} x"],
)
def test_an_entry_that_cannot_be_used(entry):
    """It is named by its place, with what it must be; the key in it is not shown."""
    why = refused(api_keys=f"first:{OTHER},{entry}")
    assert why.startswith("TASKFLOW_API_KEYS, entry 2: must be name:key or name:role:key")
    assert "read, write, admin" in why


def test_a_superfluous_comma():
    """It is passed over; where nothing else is there, that is no way to have no keys."""
    [key] = read_keys(Settings(api_keys=f" ,ci:{SECRET}, ,"))._keys
    assert key.name == "ci"
    assert refused(api_keys=" ,").startswith("TASKFLOW_API_KEYS has no keys")


@pytest.mark.parametrize("entry", ["ci:read", "ci:write:admin"])
def test_a_role_is_no_key(entry):
    """An entry without a key is rejected: a role must not become a key."""
    assert "is a role" in refused(api_keys=entry)


@pytest.mark.parametrize(
    "text", [f"ci:{SECRET}", SECRET, "ci:" + "0" * 63, "ci:owner:" + "0" * 64, "ci:" + "A" * 64]
)
def test_a_line_that_cannot_be_used(tmp_path, text):
    """The file and the number of the line are named; a key that stands there is not shown."""
    path = keys_file(tmp_path, "# keys", line("first", OTHER), text)
    why = refused(api_keys_file=str(path))
    assert why.startswith(f"{path}, line 3: must be name:role:hash")


def test_the_same_key_twice(tmp_path):
    """Whose is it? It is refused, in whatever places it stands."""
    path = keys_file(tmp_path, line("ci", SECRET))
    assert refused(api_keys=f"me:{SECRET}", api_keys_file=str(path)) == (
        f"{path}, line 1: this key is listed twice"
    )


def test_invalid_files(tmp_path):
    """A file that is missing, not text, or without keys is an error of one line that names it."""
    assert "cannot be read: No such file" in refused(api_keys_file=str(tmp_path / "none"))
    assert "cannot be read: Is a directory" in refused(api_keys_file=str(tmp_path))
    path = keys_file(tmp_path, "# none yet")
    assert refused(api_keys_file=str(path)).startswith(f"{path} has no keys; `taskflow key new")
    path.write_bytes(b"\xff\xfe")
    assert refused(api_keys_file=str(path)).endswith("is not UTF-8 text")


def test_a_file_that_everybody_can_read(tmp_path, events):
    """Hashes are no keys, so that is a warning and no more."""
    path = keys_file(tmp_path, line("ci", SECRET))
    read_keys(Settings(api_keys_file=str(path)))
    assert wordings(events) == [Event.KEYS_READ.value[1]]
    path.chmod(0o644)
    assert len(read_keys(Settings(api_keys_file=str(path)))) == 1
    assert Event.KEYS_FILE_OPEN.value[1] in wordings(events)


def test_a_short_key(events):
    """It works, and a warning says that it could be guessed."""
    assert read_keys(Settings(api_keys="ci:secret")).find("secret").name == "ci"
    assert [event["name"] for event in events if event["event"] == Event.KEY_SHORT.value[1]] == [
        "ci"
    ]


def test_nothing_shows_a_key(events):
    """Neither what is logged nor how settings and keys look in a traceback."""
    settings = Settings(api_keys=f"ci:{SECRET}")
    keys = read_keys(settings)
    shown = f"{settings!r} {keys!r} {keys.find(SECRET)!r} {events!r}"
    assert SECRET not in shown
    assert digest_of(SECRET).hex() not in shown
    assert repr(settings) == "Settings(api_keys=...)"
    assert "ci (write)" in shown


def test_all_keys_are_compared(monkeypatch):
    """The duration of a comparison does not depend on which key matches, or how nearly."""
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("taskflow.api.access.api_keys.hmac.compare_digest", compare)
    keys = [Key(str(n), Role.READ, digest_of(str(n))) for n in range(5)]
    assert ApiKeys(keys).find("0").name == "0"
    assert ApiKeys(keys).find("5") is None
    assert len(compared) == 10


def test_queues_of_a_key(tmp_path):
    """In the environment, where commas separate keys, too, and in the file; with any role."""
    scope = QueueScope(("mail",), ("reports-",))
    setting = f"a:queues=mail,reports-*:{SECRET}, b:read:queues=shop:{OTHER} ,c:{SECRET}2"
    keys = read_keys(Settings(api_keys=setting))
    assert [(key.name, key.role, str(key.scope)) for key in keys] == [
        ("a", Role.WRITE, "mail,reports-*"),
        ("b", Role.READ, "shop"),
        ("c", Role.WRITE, "None"),
    ]
    assert keys.find(SECRET).scope == scope
    made = CliRunner().invoke(main, ["key", "new", "shop", "--queues", "reports-*, mail"])
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("shop:write:queues=mail,reports-*:")
    [key] = read_keys(Settings(api_keys_file=str(keys_file(tmp_path, made.stdout.strip()))))
    assert key.scope == scope
    assert "write, queues mail,reports-*" in repr(key)


@pytest.mark.parametrize(
    ("queues", "why"),
    [
        *[("", "a queue is a name"), ("mail,", "a queue is a name"), ("a b", "a queue is a name")],
        *[("*", "a queue is a name"), ("a*b", "a queue is a name"), ("**", "a queue is a name")],
        *[("default", "queue default is not for one"), ("a,def*", "queue default is not for one")],
        *[("callbacks", "queue callbacks is not"), ("c*", "queue callbacks is not")],
        (",".join(f"q{number}" for number in range(21)), "at most 20"),
    ],
)
def test_invalid_queues(queues, why):
    """One line; ``default`` and ``callbacks`` have tasks of every client."""
    assert why in refused(api_keys=f"ci:write:queues={queues}:{SECRET}")
    made = CliRunner().invoke(main, ["key", "new", "ci", "--queues", queues])
    assert made.exit_code == 2
    assert why in " ".join(made.output.split())


def test_one_name_has_one_set_of_queues():
    """Keys of a name share idempotency keys, so one could replay what the other submitted."""
    keys = f"ci:write:queues=a:{SECRET},ci:write:queues=b:{OTHER}"
    assert "has the name ci and other queues" in refused(api_keys=keys)
    same = f"ci:write:queues=a:{SECRET},ci:read:queues=a:{OTHER}"
    assert len(read_keys(Settings(api_keys=same))) == 2
