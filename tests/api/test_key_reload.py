"""API keys follow their file: a new key is valid, a removed one is not, and its streams end."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from taskflow.api.access import key_reload
from taskflow.api.access.api_keys import Role, new_key
from taskflow.api.access.key_reload import POLL_SECONDS, ReloadedKeys
from taskflow.api.live import events as streams
from taskflow.service import MEMORY_URL
from taskflow.settings import Settings
from taskflow.telemetry import Event
from taskflow.wakeup import WakeUp
from tests.api.live import LiveServer
from tests.api.sse import open_stream
from tests.service.processes import running, wait_until

ONE, ONE_LINE = new_key("one", Role.WRITE)
TWO, TWO_LINE = new_key("two", Role.READ)


def write(path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "keys"
    write(path, ONE_LINE)
    return path


@pytest.fixture
async def followed(path, nursery):
    """The keys of the file, which are followed, and the wake-up of SIGHUP."""
    reloaded, hang_up = ReloadedKeys(Settings(api_keys_file=str(path))), WakeUp()
    nursery.start_soon(reloaded.follow, hang_up)
    return reloaded.keys, hang_up


def names(keys) -> list[str]:
    return [key.name for key in keys]


async def test_a_changed_file_is_read(followed, path, autojump_clock):
    """Written in place or replaced, once it has not changed for the length of a poll."""
    keys, _ = followed
    write(path, ONE_LINE, TWO_LINE)
    await trio.sleep(1.5 * POLL_SECONDS)
    assert names(keys) == ["one"]
    await trio.sleep(POLL_SECONDS)
    assert names(keys) == ["one", "two"]
    other = path.with_name("other")
    write(other, TWO_LINE)
    other.rename(path)
    await trio.sleep(3 * POLL_SECONDS)
    assert names(keys) == ["two"]


async def test_a_hang_up_reads_it_at_once(followed, path, autojump_clock):
    keys, hang_up = followed
    write(path, TWO_LINE)
    hang_up.notify()
    await trio.testing.wait_all_tasks_blocked()
    assert names(keys) == ["two"]
    assert trio.current_time() < POLL_SECONDS


@pytest.mark.parametrize(
    "text", [f"{ONE_LINE}\nnonsense", "", None], ids=["invalid", "empty", "missing"]
)
async def test_an_invalid_file_changes_nothing(followed, path, autojump_clock, events, text):
    """One error is logged, without a key; the file is read again when it has changed again."""
    keys, _ = followed
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    await trio.sleep(20 * POLL_SECONDS)
    assert names(keys) == ["one"]
    [error] = [event for event in events if event["log_level"] == "error"]
    assert error["event"] == Event.KEYS_NOT_READ.value[1]
    assert str(path) in error["reason"]
    assert ONE not in str(error)
    write(path, TWO_LINE)
    await trio.sleep(3 * POLL_SECONDS)
    assert names(keys) == ["two"]


async def test_a_change_during_the_start_is_noticed(path, nursery, autojump_clock):
    """The store may take long to open after the keys were read."""
    reloaded = ReloadedKeys(Settings(api_keys_file=str(path)))
    write(path, TWO_LINE)
    nursery.start_soon(reloaded.follow, WakeUp())
    await trio.sleep(3 * POLL_SECONDS)
    assert names(reloaded.keys) == ["two"]


def status_with(server, key: str) -> int:
    return server.ask("GET", "/tasks", headers={"authorization": f"Bearer {key}"}).status


def test_streams_end_with_their_key(path, monkeypatch):
    """The stream of a removed key breaks off, at the latest with its next heartbeat."""
    monkeypatch.setattr(key_reload, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.02)
    write(path, ONE_LINE, TWO_LINE)
    with LiveServer(database_url=MEMORY_URL, api_keys_file=str(path)) as server:
        fields = [{"authorization": f"Bearer {key}"} for key in (ONE, TWO)]
        with (
            open_stream(server.url, "/events", headers=fields[0]) as ended,
            open_stream(server.url, "/events", headers=fields[1]) as kept,
        ):
            ended.begin()
            kept.begin()
            write(path, TWO_LINE)
            while ended.read():
                pass
            assert status_with(server, ONE) == 401
            assert status_with(server, TWO) == 200
            assert kept.read()


@pytest.mark.parametrize("name", ["serve", "serve-p2"])
def test_sighup(tmp_path, path, database_uri, name):
    """It is for every process of a service, and ends none."""
    url = database_uri
    with running(name, tmp_path, DATABASE_URL=url, TASKFLOW_API_KEYS_FILE=path) as service:
        assert status_with(service, ONE) == 200
        write(path, TWO_LINE)
        os.kill(service.process.pid, signal.SIGHUP)
        wait_until(lambda: service.log.count("API keys loaded") == 2 * (2 if "p2" in name else 1))
        assert [status_with(service, key) for key in (ONE, TWO)] == [401, 200]
