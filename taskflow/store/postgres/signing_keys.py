"""The keys that sign ID tokens, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.model.key_generation import KeyGeneration
from taskflow.store.base.signing_keys import SigningKeyStore
from taskflow.store.postgres.statements import Statements


class PostgresSigningKeys(SigningKeyStore):
    """Generations of keys beside the tasks of a PostgreSQL store."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def all(self) -> Sequence[KeyGeneration]:
        return [
            KeyGeneration(number, public, bytes(sealed), float(age_seconds))
            for number, public, sealed, age_seconds in await self._statements.run("signing_keys")
        ]

    async def add_if_next(self, generation: KeyGeneration) -> bool:
        return bool(
            await self._statements.run(
                "add_signing_keys_if_next",
                number=generation.number,
                public=generation.public,
                sealed=generation.sealed,
            )
        )

    async def delete_before(self, number: int) -> None:
        await self._statements.run("delete_signing_keys_before", number=number)
