"""What every store has to keep of the keys that sign ID tokens. Its own test file inherits this."""

from __future__ import annotations

import msgspec

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
