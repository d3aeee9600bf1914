"""The Python clients behave as ``clients/conformance`` says, which clients in all languages run."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from taskflow import (
    BlockingClient,
    Client,
    ClientError,
    InvalidSignature,
    Submission,
    verify_webhook,
)
from taskflow.client.calls import Call
from taskflow.client.connecting import pause_seconds
from taskflow.client.errors import Problem, UnexpectedResponse, Unreachable, problem_of
from taskflow.client.sse import Parser
from taskflow.model.signature import SIGNATURE_FIELD, Signer, secret_of
from tests.api.live import LiveServer
from tests.clients.scripted import ScriptedServer
from tests.clients.vectors import FILES, difference, fault_of_requests, filled, vectors

VECTORS = vectors()


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="module")
def live() -> Iterator[LiveServer]:
    with LiveServer(database_url="memory://") as server:
        yield server


def named(one: dict[str, Any]) -> str:
    return str(one["name"])


@pytest.mark.parametrize("vector", FILES["retries"]["decisions"], ids=named)
def test_retries(vector):
    """Whether a request is sent again, and after which pause."""
    call = Call("POST", "/", is_repeatable=vector["repeatable"])
    pause = pause_seconds(
        call, failure_of(vector["failure"]), attempt=vector["attempt"], chance=vector["chance"]
    )
    assert pause == (None if vector["pause_seconds"] is None else approx(vector["pause_seconds"]))


def approx(seconds: float) -> Any:
    return pytest.approx(seconds, rel=1e-9)


def failure_of(failure: dict[str, Any]) -> ClientError:
    if "unreachable" in failure:
        state = failure["unreachable"]
        return Unreachable("", is_sent=state["sent"], is_untrusted=state["untrusted"])
    if "unexpected" in failure:
        return UnexpectedResponse("")
    headers = {"retry-after": failure["retry_after"]} if "retry_after" in failure else {}
    problem = problem_of(failure["status"], headers, b"{}")
    assert problem is not None
    return problem


@pytest.mark.parametrize("vector", FILES["events"]["parsing"], ids=named)
def test_parsing(vector):
    """Wherever a stream is cut, its events are the same."""
    data = vector["text"].encode()
    for size in vector["bytes"]:
        parser = Parser(None)
        pieces = (data[start : start + size] for start in range(0, len(data), size))
        messages = [message for piece in pieces for message in parser.feed(piece)]
        assert [msgspec.to_builtins(one) for one in messages] == vector["messages"]
        assert parser.retry_seconds == vector["retry_seconds"]
        position = None if parser.position is None else str(parser.position)
        assert position == vector["position"]


@pytest.mark.parametrize("vector", FILES["signatures"]["signatures"], ids=named)
def test_signatures(vector):
    """A valid request is verified, and its body returned; any other is rejected."""
    now = dt.datetime.fromtimestamp(vector["now"], dt.UTC)
    arguments = vector["secrets"], vector["headers"], vector["body"]
    if vector["valid"]:
        assert verify_webhook(*arguments, now=now) == json.loads(vector["body"])
    else:
        with pytest.raises(InvalidSignature):
            verify_webhook(*arguments, now=now)


@pytest.mark.parametrize("vector", FILES["signatures"]["signatures"], ids=named)
def test_what_the_service_signs(vector):
    """Its own signature is the one of a valid request."""
    if vector["valid"]:
        signer = Signer([secret_of(secret) for secret in vector["secrets"]])
        headers = vector["headers"]
        at = int(headers["webhook-timestamp"])
        signed = signer.headers(headers["webhook-id"], vector["body"].encode(), timestamp=at)
        given = headers[SIGNATURE_FIELD].split()
        assert set(dict(signed)[SIGNATURE_FIELD].split()) & set(given)


@pytest.mark.parametrize("place", VECTORS)
async def test_the_client(place, scripted, live):
    """The client for ``async`` code, against the scripted server or a live one."""
    vector = VECTORS[place]
    async with Client(address("trio", place, scripted, live)) as client:
        await carry_out(Caller(client), vector)
    check_requests("trio", place, scripted)


@pytest.mark.parametrize("place", VECTORS)
async def test_the_blocking_client(place, scripted, live):
    """The client that blocks, in the same way."""
    vector = VECTORS[place]
    with BlockingClient(address("blocking", place, scripted, live)) as client:
        await carry_out(Caller(client), vector)
    check_requests("blocking", place, scripted)


def test_a_difference_is_found():
    """A vector that a client does not follow fails."""
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}], "d": 4}) is None
    for found in ({}, {"a": [1]}, {"a": [1, {"b": 3}]}, {"a": [1, {}]}, {"a": None}):
        assert difference({"a": [1, {"b": 2}]}, found) is not None
    request = {"headers": {"a": "1"}, "body": "", "method": "GET"}
    other = {**request, "headers": {"a": "2"}}
    assert fault_of_requests({"requests": [{}, {}], "different": ["a"]}, [request, other]) is None
    assert fault_of_requests({"requests": [{}, {}], "same": ["a"]}, [request, other])
    assert fault_of_requests({"requests": [{}, {}], "different": ["a"]}, [request, request])
    assert fault_of_requests({"requests": [{}]}, [request, other])
    assert fault_of_requests({"requests": [{"method": "PUT"}]}, [request])


def address(client: str, place: str, scripted: ScriptedServer, live: LiveServer) -> str:
    return scripted.address(client, place) if "responses" in VECTORS[place] else live.url


def check_requests(client: str, place: str, scripted: ScriptedServer) -> None:
    if "responses" in VECTORS[place]:
        assert fault_of_requests(VECTORS[place], scripted.received(client, place)) is None


async def carry_out(caller: Caller, vector: dict[str, Any]) -> None:
    """Carry out the steps of a vector."""
    names = {"run": uuid.uuid4().hex}
    for step in vector["steps"]:
        arguments = filled(step.get("with", {}), names)
        try:
            result = await getattr(caller, step["call"])(**arguments)
        except ClientError as error:
            assert "raises" in step, error
            assert difference(filled(step["raises"], names), shown(error)) is None
            continue
        assert "raises" not in step, result
        if "returns" in step:
            assert difference(filled(step["returns"], names), result) is None
        names |= {name: result[field] for name, field in step.get("remember", {}).items()}


def shown(error: ClientError) -> dict[str, Any]:
    """An error as the vectors have it."""
    found: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, Unreachable):
        found["sent"] = error.is_sent
    if isinstance(error, Problem):
        errors = [msgspec.to_builtins(one) for one in error.errors]
        found |= {"status": error.status_code, "type": error.type, "detail": error.detail}
        found |= {"errors": errors, "retry_after_seconds": error.retry_after_seconds}
    return found


class Caller:
    """The calls of the vectors, on either client.

    Args:
        client: The client; its methods return their results or an awaitable.
    """

    def __init__(self, client: Client | BlockingClient) -> None:
        self._client: Any = client

    async def get(self, id: str) -> Any:  # noqa: A002 - the name in the vectors
        return as_json(await done(self._client.get(id)))

    async def cancel(self, id: str) -> Any:  # noqa: A002 - the name in the vectors
        return as_json(await done(self._client.cancel(id)))

    async def delete(self, id: str) -> Any:  # noqa: A002 - the name in the vectors
        return await done(self._client.delete(id))

    async def wait(self, id: str, timeout_seconds: float | None = None) -> Any:  # noqa: A002 - as above
        return as_json(await done(self._client.wait(id, timeout_seconds)))

    async def submit(self, payload: Any, options: Any = None, **settings: Any) -> Any:
        return as_json(await done(self._client.submit(payload, **(options or {}), **settings)))

    async def submit_many(self, items: list[Any], at_once: int = 500, **settings: Any) -> Any:
        wanted = [Submission(**item) if isinstance(item, dict) else item for item in items]
        stream = self._client.submit_many(wanted, at_once=at_once)
        found = await outcomes_of(stream, goes_on=settings.get("continue", False))
        return [shown(one) if isinstance(one, ClientError) else submitted(one) for one in found]

    async def list(self, page: int, filters: Any = None) -> Any:
        stream = self._client.iter_tasks(page=page, **(filters or {}))
        return [as_json(task) for task in await outcomes_of(stream)]

    async def events(self, id: Any = None, limit: int | None = None, **filters: Any) -> Any:  # noqa: A002 - as above
        stream = self._client.iter_events(id, **filters)
        found = await outcomes_of(stream, limit=limit, goes_on=limit is not None)
        position = None if stream.position is None else str(stream.position)
        await done(getattr(stream, "aclose", getattr(stream, "close", None))())
        events = [shown(one) if isinstance(one, ClientError) else as_json(one) for one in found]
        return {"events": events, "position": position}


async def outcomes_of(stream: Any, *, limit: int | None = None, goes_on: bool = False) -> list[Any]:
    """Iterate a stream of either client; after an error, again, if that is wanted."""
    step = getattr(stream, "__anext__", None) or stream.__next__
    found: list[Any] = []
    while len(found) != limit:
        try:
            found.append(await done(step()))
        except (StopIteration, StopAsyncIteration):
            break
        except ClientError as error:
            if not goes_on:
                raise
            found.append(error)
    return found


async def done(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def submitted(one: Any) -> dict[str, Any]:
    task = one.task and as_json(one.task)
    return {"index": one.index, "task": task, "error": one.error and shown(one.error)}


def as_json(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))
