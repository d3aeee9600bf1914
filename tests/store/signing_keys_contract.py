"""What every store has to keep of the keys that sign ID tokens. Its own test file inherits this."""

from __future__ import annotations

import math

import msgspec

from taskflow.model.audit import Action
from taskflow.model.audit_entries import rotation_entry
from taskflow.model.key_generation import KeyGeneration


def without_age(generations):
    assert all(0 <= one.age_seconds < 60 for one in generations)
    return [msgspec.structs.replace(one, age_seconds=0.0) for one in generations]


class SigningKeysContract:
    """The conformance suite."""

    async def test_generations_of_keys(self, store):
        """They come in their order, each number once, and the first ones can be deleted."""
        keys = store.signing_keys
        assert await keys.all() == []
        generations = [KeyGeneration(number, f"[{number}]", b"\x00\xff'") for number in (1, 2, 10)]
        for one in reversed(generations):
            assert await keys.add_if_next(one)
        assert not await keys.add_if_next(KeyGeneration(2, "[]", b"other"))
        assert without_age(await keys.all()) == generations
        await keys.delete_before(2)
        assert without_age(await keys.all()) == generations[1:]

    async def test_the_only_generation(self, store):
        """All others are deleted at that moment, unless the number is taken; it has an entry."""
        keys = store.signing_keys
        generations = [KeyGeneration(number, f"[{number}]", b"") for number in (1, 2, 3)]
        for one in generations[:2]:
            await keys.add_if_next(one)
        reading = keys.reading()
        entry = rotation_entry("root", 3, [1, 2])
        assert not await keys.add_if_next(generations[1], is_only=True, entry=entry)
        assert without_age(await keys.all()) == generations[:2]
        assert (await store.audit.page(limit=10)).entries == []
        assert await keys.add_if_next(generations[2], is_only=True, entry=entry)
        assert not keys.is_fresh(reading, max_age_seconds=math.inf)
        assert without_age(await keys.all()) == generations[2:]
        [found] = (await store.audit.page(limit=10)).entries
        assert (found.action, found.target) == (Action.SIGNING_KEYS_ROTATE, "3")
        assert found.detail == {"user": "root", "withdrawn": [1, 2]}
