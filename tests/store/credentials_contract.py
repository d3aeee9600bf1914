"""What every store has to keep of credentials. A store's own test file inherits this."""

from __future__ import annotations

import math

import pytest

from taskflow.model import sealed_credential
from taskflow.model.errors import CredentialInUse, TooManyCredentials
from taskflow.model.options import TaskOptions
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.sealed_credential import CredentialUsers, SealedCredential
from taskflow.store.base import credentials
from taskflow.store.memory import credentials as in_memory
from taskflow.store.postgres import credentials as in_postgres
from tests.store.contract import completed, new_task
from tests.store.schedules_contract import definition


def sealed(name: str = "billing", **fields) -> SealedCredential:
    known = {"kind": "bearer", "hosts": ("api.example", "*.b.example"), "sealed": b"\x00\xff'"}
    return SealedCredential(name, **{**known, **fields})


class CredentialsContract:
    """The conformance suite."""

    async def test_credentials_are_returned(self, store):
        """The encrypted value as it was put; in what is shown, no value at all."""
        before = store.credentials.reading()
        assert await store.credentials.put(sealed())
        assert await store.credentials.put(sealed("a", hosts=()))
        assert not store.credentials.is_fresh(before, max_age_seconds=math.inf)
        assert await store.credentials.sealed("billing") == sealed()
        assert await store.credentials.names() == ["a", "billing"]
        shown = await store.credentials.get("billing")
        assert (shown.name, shown.kind, shown.hosts) == (
            "billing",
            "bearer",
            ("api.example", "*.b.example"),
        )
        assert shown.created_at == shown.updated_at
        assert (shown.last_used_at, shown.used_by) == (None, CredentialUsers())
        assert [one.name for one in await store.credentials.all()] == ["a", "billing"]
        assert await store.credentials.get("other") is None
        assert await store.credentials.sealed("other") is None

    async def test_a_credential_is_replaced_whole(self, store):
        """Its kind, hosts and value; when it was made and last used stays."""
        await store.credentials.put(sealed())
        await store.credentials.mark_used("billing")
        first = await store.credentials.get("billing")
        later = sealed(kind="basic", hosts=("c.example",), sealed=b"2")
        assert not await store.credentials.put(later)
        assert await store.credentials.sealed("billing") == later
        second = await store.credentials.get("billing")
        assert (second.kind, second.hosts) == ("basic", ("c.example",))
        assert second.created_at == first.created_at < second.updated_at
        assert second.last_used_at == first.last_used_at is not None

    async def test_uses_are_recorded_by_the_minute(self, store, monkeypatch):
        """A further use within it writes nothing, and one of a credential that is gone neither."""
        await store.credentials.put(sealed())
        await store.credentials.mark_used("billing")
        first = await store.credentials.get("billing")
        await store.credentials.mark_used("billing")
        assert await store.credentials.get("billing") == first
        for place in (credentials, in_memory, in_postgres):
            monkeypatch.setattr(place, "USED_SECONDS", 0.0)
        await store.credentials.mark_used("billing")
        second = await store.credentials.get("billing")
        assert second.last_used_at > first.last_used_at
        await store.credentials.mark_used("other")
        assert await store.credentials.get("other") is None

    async def test_what_uses_a_credential(self, store):
        """Queues and schedules, as they are at that moment; its deletion names them."""
        await store.credentials.put(sealed())
        await store.credentials.put(sealed("other"))
        with_credential = new_task(options=TaskOptions(credential="billing"))
        for name in ("b", "a"):
            await store.queues.put(name, QueueSettings(credential="billing"))
            await store.schedules.put(definition(name, template=with_credential))
        shown = await store.credentials.get("billing")
        assert shown.used_by == CredentialUsers(("a", "b"), ("a", "b"))
        with pytest.raises(CredentialInUse, match="used by queue a, queue b, schedule a, sch"):
            await store.credentials.delete("billing")
        assert await store.credentials.delete("other")
        await store.queues.put("a", QueueSettings(max_concurrency=1))
        await store.queues.put("b", QueueSettings())
        await store.schedules.delete("a")
        with pytest.raises(CredentialInUse, match="used by schedule b;"):
            await store.credentials.delete("billing")
        await store.schedules.put(definition("b"))
        assert not (await store.credentials.get("billing")).used_by
        reading = store.credentials.reading()
        assert store.credentials.is_fresh(reading, max_age_seconds=math.inf)
        assert await store.credentials.delete("billing")
        assert not store.credentials.is_fresh(reading, max_age_seconds=math.inf)
        assert not await store.credentials.delete("billing")
        assert await store.credentials.names() == []

    async def test_a_credential_in_use_is_deleted_by_force(self, store):
        """What names it stays as it is, and a new one of that name is used again."""
        await store.credentials.put(sealed())
        await store.queues.put("mail", QueueSettings(credential="billing"))
        assert await store.credentials.delete("billing", even_if_used=True)
        assert (await store.queues.get("mail")).credential == "billing"
        assert await store.credentials.put(sealed())
        assert (await store.credentials.get("billing")).used_by.queues == ("mail",)

    async def test_there_is_a_maximum(self, store, monkeypatch):
        """Of new ones; existing ones can be replaced."""
        for module in (sealed_credential, in_memory, in_postgres):
            monkeypatch.setattr(module, "MAX_CREDENTIALS", 1)
        assert await store.credentials.put(sealed())
        with pytest.raises(TooManyCredentials):
            await store.credentials.put(sealed("b"))
        assert not await store.credentials.put(sealed(sealed=b"2"))

    @pytest.mark.parametrize("settings", [{}, {"max_concurrency": 9}])
    async def test_claims_know_the_credential_of_their_queue(self, store, node, settings):
        """Each claim has what its queue says at that moment, unless its task says otherwise."""
        own = new_task(queue="mail", options=TaskOptions(credential="own"))
        for name in ("billing", None):
            await store.queues.put("mail", QueueSettings(credential=name, **settings))
            added = await store.add([new_task(queue="mail"), own, new_task(queue="other")])
            assert [task.credential for task in added] == [None, "own", None]
            claims = await store.claim(node, limit=9, by_age=1)
            claimed = sorted(claims, key=lambda claim: claim.task_id)
            assert [claim.options.credential for claim in claimed] == [name, "own", None]
            await store.settle([completed(claim) for claim in claims])

    @pytest.mark.parametrize("own", [None, "billing"])
    async def test_callbacks_go_without_a_credential(self, store, node, own):
        """Neither with that of the queue nor of the task: their receiver is no target of these."""
        await store.queues.put("mail", QueueSettings(credential="billing"))
        options = TaskOptions(
            callback_url="http://receiver.example/",
            callback_host="receiver.example",
            credential=own,
        )
        await store.add([new_task(queue="mail", options=options)])
        [claim] = await store.claim(node, limit=9)
        assert claim.options.credential == "billing"
        await store.settle([completed(claim)])
        [callback] = await store.claim(node, limit=9)
        assert callback.options.callback_of == claim.task_id
        assert callback.options.credential is None
