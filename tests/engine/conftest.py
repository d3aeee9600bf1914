"""A store and a fetcher to run an engine on, under Trio's virtual clock."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

import msgspec
import pytest
import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.node import Engine
from taskflow.fetch.interface import Fetcher, FetchRequest
from taskflow.fetch.recording import Keeping, Recording
from taskflow.metrics import Metrics
from taskflow.model.encryption import NO_ENCRYPTION
from taskflow.model.errors import StoreUnavailable
from taskflow.model.keyring import NO_KEYS
from taskflow.model.masking import Masking
from taskflow.model.outcome import ErrorType, Fetched, Outcome, Response, failed
from taskflow.model.signature import NO_SIGNER
from taskflow.model.task import NewTask, Task
from taskflow.settings import Settings
from taskflow.store.memory.store import MemoryStore

_VERBS = (
    *("claim", "settle", "release", "schedule_retries", "renew", "rescue", "register", "retire"),
    "fold_counts",
    *("cancel", "lost_claims"),
)


class ScriptedFetcher(Fetcher):
    """Does what the URL says: ``http://target/SECONDS`` takes that time, ``/404`` fails.

    ``/deaf`` takes a second, also when it is cut off. With ``response_bytes`` a response has begun
    to come in, with a body of that size.
    """

    response_bytes = 0

    def __init__(self) -> None:
        self.started: list[tuple[float, str]] = []
        self.cut_off: Counter[str] = Counter()
        self.running = 0
        self.most_running = 0

    async def fetch(self, request: FetchRequest) -> Outcome:
        path = urlsplit(request.url).path.strip("/")
        self.started.append((trio.current_time(), path))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        if self.response_bytes and request.recorder is not None:
            body = bytearray(b"x" * self.response_bytes)
            keeping = Keeping(Masking(), self.response_bytes)
            request.recorder.last = Recording(request.url, 200, "OK", {}, body, keeping)
        try:
            if path == "deaf":  # what comes of it comes all the same
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)
                return Fetched(response())
            if path == "404":
                return failed(ErrorType.HTTP_STATUS, "http error: status: 404 Not Found")
            await trio.sleep(float(path))
        except trio.Cancelled:
            self.cut_off[path] += 1
            raise
        finally:
            self.running -= 1
        return Fetched(response())


def response() -> Response:
    return Response(
        message="fetched",
        result="hello",
        status="200 OK",
        status_code=200,
        headers={},
        content_type=None,
        encoding="text",
        url="http://target/",
        elapsed_seconds=1.0,
        size=5,
    )


class FaultyStore(MemoryStore):
    """A memory store that fails on request: ``faults[verb]`` is raised or awaited first.

    Attributes:
        hands_over: Whether an idle node gets new tasks as they are stored. If not it claims them,
            as it does with what another node was handed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults = {}
        self.hands_over = True
        self.calls: Counter[str] = Counter()

    def go_away(self, *verbs: str) -> None:
        for verb in verbs or _VERBS:
            self.faults[verb] = StoreUnavailable

    def come_back(self) -> None:
        self.faults.clear()

    async def _call(self, verb: str, *args: object, **kwargs: object) -> object:
        self.calls[verb] += 1
        error = self.faults.get(verb)
        if isinstance(error, type) and issubclass(error, Exception):
            await trio.lowlevel.checkpoint()
            raise error
        if error is not None:
            await error(*args)
        return await getattr(super(), verb)(*args, **kwargs)

    async def register(self, name, lease_seconds, **about):
        return await self._call("register", name, lease_seconds, **about)

    async def renew(self, node_id):
        return await self._call("renew", node_id)

    async def retire(self, node_id):
        return await self._call("retire", node_id)

    async def rescue(self, **kwargs):
        return await self._call("rescue", **kwargs)

    async def fold_counts(self, **kwargs):
        return await self._call("fold_counts", **kwargs)

    async def claim(self, node_id, **kwargs):
        return await self._call("claim", node_id, **kwargs)

    async def wait_for_work(self, taker=None):
        await super().wait_for_work(taker if self.hands_over else None)

    async def settle(self, settlements):
        return await self._call("settle", settlements)

    async def release(self, releases):
        return await self._call("release", releases)

    async def reconcile(self, node_id, tokens, **kwargs):
        return await self._call("reconcile", node_id, tokens, **kwargs)

    async def schedule_retries(self, retries):
        return await self._call("schedule_retries", retries)

    async def cancel(self, task_id):
        return await self._call("cancel", task_id)

    async def lost_claims(self, claims):
        return await self._call("lost_claims", claims)


class Bench:
    """An engine with what it runs on."""

    def __init__(self, **settings: object) -> None:
        self.settings = Settings(**settings)
        self.store = FaultyStore()
        self.fetcher = ScriptedFetcher()
        self.metrics = Metrics()
        self.signer = NO_SIGNER
        self.keyring = NO_KEYS
        self.encryption = NO_ENCRYPTION
        self.engine = self.new_engine()

    def new_engine(self) -> Engine:
        return Engine(self.new_context())

    def new_context(self) -> EngineContext:
        return EngineContext(
            store=self.store,
            fetcher=self.fetcher,
            settings=self.settings,
            signer=self.signer,
            keyring=self.keyring,
            encryption=self.encryption,
            metrics=self.metrics,
        )

    async def add(self, *paths: object) -> list[Task]:
        tasks = [NewTask(msgspec.Raw(b'"http://target/%s"' % str(p).encode())) for p in paths]
        return await self.store.add(tasks)

    async def now(self, task: Task) -> Task:
        found = await self.store.get(task.id)
        assert found is not None
        return found

    async def statuses(self) -> Counter[str]:
        page = await self.store.page(limit=10_000)
        return Counter(task.status.value for task in page.tasks)

    async def all_ended(self) -> None:
        """Return when no task is open; on the virtual clock this costs no time."""
        while self.store._pending or self.store._holds:
            await trio.sleep(0.01)


@pytest.fixture
def new_bench():
    """What makes a bench. Tests that use it also take ``autojump_clock`` themselves."""
    return Bench
