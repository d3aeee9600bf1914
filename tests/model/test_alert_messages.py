"""What notifications say: text of targets cannot format, link or mention anything."""

from __future__ import annotations

import datetime as dt
import json
import re

import msgspec
import pytest

from taskflow.model.alert_destinations import StoredDestination, destination_to, unsealed_url
from taskflow.model.alert_messages import MAX_LINE_CHARACTERS, Notice, tasks_of
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import (
    ALERTS_QUEUE,
    AlertDefinition,
    AlertOn,
    NoticeKind,
    StoredAlert,
    Subject,
)
from taskflow.model.errors import KeyMissing, Undecryptable
from taskflow.model.keyring import Keyring
from taskflow.model.masking import MASKING

NOW = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
URL = "https://hooks.example.com/services/secret"
HOSTILE = (
    "<!channel> <http://evil.example|click> @everyone [a](http://evil.example) *b*\r\n\x1b[31m"
)
KEYS = Keyring([b"1" * 32])


def body_of(kind: DestinationKind, notice_kind=NoticeKind.FIRING, **fields):
    if kind is DestinationKind.EMAIL:
        to = StoredDestination(kind=kind, addresses=("ops@example.com",))
    else:
        to = destination_to(kind, URL, "a", KEYS, MASKING)
    definition = AlertDefinition(name="a", on=AlertOn.HOST_OPEN, to=(to,))
    alert = StoredAlert(definition=definition, created_at=NOW, updated_at=NOW)
    notice = Notice(
        kind=notice_kind,
        alert=alert,
        **{"subjects": (Subject("h", HOSTILE),), "subject_count": 1, "at": NOW, **fields},
    )
    [task] = tasks_of(notice, public_url="https://tasks.example.com")
    assert task.queue == ALERTS_QUEUE
    return msgspec.json.decode(task.payload)


def texts_in(value):
    """Yield all texts of a document."""
    if isinstance(value, str):
        yield value
    for one in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from texts_in(one)


@pytest.mark.parametrize("kind", [one for one in DestinationKind if one != "webhook"])
def test_hostile_text(kind):
    """No control character gets through, and nothing that a chat would interpret."""
    payload = body_of(kind)
    text = json.dumps(payload["body"])
    controls = [one for one in texts_in(payload["body"]) if re.search(r"[\x00-\x09\x0b-\x1f]", one)]
    assert controls == []
    if kind is DestinationKind.SLACK:
        assert "<!channel>" not in text
        assert "&lt;!channel&gt;" in text
    if kind is DestinationKind.TEAMS:
        assert "[a](http" not in text
    if kind is DestinationKind.DISCORD:
        assert payload["body"]["allowed_mentions"] == {"parse": []}
        assert "[a](http" not in text
    if kind.is_chat:
        assert "secret" not in json.dumps(payload)


@pytest.mark.parametrize("kind", [one for one in DestinationKind if one != "webhook"])
def test_long_text_is_shortened(kind):
    """A hundred subjects with long names make a message that each product accepts."""
    subjects = tuple(Subject("<" * 300, "&" * 5000) for _ in range(20))
    body = body_of(kind, subjects=subjects, subject_count=100)["body"]
    assert len(json.dumps(body)) < 28_000
    if kind is DestinationKind.SLACK:
        assert len(body["attachments"][0]["blocks"][0]["text"]["text"]) <= 3_000
    if kind is DestinationKind.DISCORD:
        assert len(body["embeds"][0]["title"]) <= 256
        assert len(body["embeds"][0]["description"]) <= 4_096
    if kind is DestinationKind.EMAIL:
        assert len(body["subject"]) <= MAX_LINE_CHARACTERS


def test_urls_of_chats():
    """A URL is bound to its alert, needs a key, and two of one host look different."""
    one = destination_to(DestinationKind.SLACK, URL, "a", KEYS, MASKING)
    other = destination_to(DestinationKind.SLACK, f"{URL}2", "a", KEYS, MASKING)
    assert one.masked_url != other.masked_url
    assert unsealed_url(one, "a", KEYS) == URL
    with pytest.raises(Undecryptable):
        unsealed_url(one, "b", KEYS)
    with pytest.raises(Undecryptable):
        moved = msgspec.structs.replace(one, masked_url=other.masked_url)
        unsealed_url(moved, "a", KEYS)
    with pytest.raises(KeyMissing):
        destination_to(DestinationKind.SLACK, URL, "a", Keyring([]), MASKING)
