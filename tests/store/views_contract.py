"""What every store has to keep of saved views."""

from __future__ import annotations

from taskflow.model.audit import Action, Actor
from taskflow.model.views import MAX_VIEWS, View
from tests.store.contract import StoreContract

ADA = Actor("ada")


class ViewsContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def test_views(self, store):
        """They come by name; one replaces another with its name; each change has an entry."""
        views = store.views
        assert await views.all() == []
        held, failed = View("held", "state=held"), View("Fehlschläge: heute", "status=FAILED")
        assert await views.put(held, by=ADA)
        assert await views.put(failed)
        assert await views.all() == [failed, held]
        other = View("held", "state=held&queue=it%27s")
        assert await views.put(other, by=ADA)
        assert await views.all() == [failed, other]
        assert await views.delete("held", by=ADA)
        assert not await views.delete("held", by=ADA)
        assert await views.all() == [failed]
        entries = (await store.audit.page(limit=10)).entries
        assert [(one.action, one.target) for one in reversed(entries)] == [
            (Action.VIEW_PUT, "held"),
            (Action.VIEW_PUT, "held"),
            (Action.VIEW_DELETE, "held"),
        ]

    async def test_the_limit_of_views(self, store):
        """A new one is not stored; one that exists can be replaced."""
        for number in range(MAX_VIEWS):
            assert await store.views.put(View(f"{number:02}", ""))
        assert not await store.views.put(View("more", ""))
        assert await store.views.put(View("07", "state=due"))
        found = await store.views.all()
        assert len(found) == MAX_VIEWS
        assert found[7] == View("07", "state=due")
