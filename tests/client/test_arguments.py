"""Arguments that cannot be used: one error of the client's, whichever method they go to."""

from __future__ import annotations

import datetime as dt
import inspect
import math
import uuid

import pytest

import taskflow
from taskflow import BlockingClient, Client, ClientError, InvalidArgument, Submission
from taskflow.client.options import Filters, Options
from taskflow.schema.filters import FILTERS
from taskflow.schema.tasks import TaskRequest
from tests.client.loops import LOOPS, run

# No server listens there: a call that is sent is Unreachable, which is a ClientError, too.
NOWHERE = "http://127.0.0.1:1"
TASK = uuid.UUID(int=7)
HOSTILE = [
    None,
    -1,
    0,
    10**400,
    math.nan,
    math.inf,
    "nope",
    "\ud800",
    "..",
    "x" * 10_000,
    b"\xff",
    [],
    [math.nan],
    {"a": object()},
    {1: 2},
    object(),
    dt.datetime.min.replace(tzinfo=dt.UTC),
]


def test_the_types_have_the_fields_that_are_declared():
    """Type checkers know the same options and filters as the service."""
    assert set(Options.__annotations__) == set(TaskRequest.__struct_fields__) - {"payload"}
    assert set(Filters.__annotations__) == set(FILTERS)


def methods(client):
    """All public methods that ask the service, with names of their parameters."""
    resources = (client.queues, client.schedules, client.heartbeats, client.alerts)
    for owner in (client, *resources, client.configuration):
        for name, method in inspect.getmembers(owner, callable):
            if not name.startswith("_") and name not in ("aclose", "close", "from_environment"):
                yield f"{type(owner).__name__.removeprefix('Blocking')}.{name}", method


def parameters(method):
    """Return the names of its parameters, and valid values for the required ones."""
    usable = {
        "task_id": TASK,
        "failure_id": TASK,
        "name": "x",
        "items": [1],
        "payload": 1,
        "task": 1,
        "alert": {},
        "change": {},
        "seconds": 1,
        "changes": [],
    }
    found = inspect.signature(method).parameters
    names = [n for n, p in found.items() if p.kind is not p.VAR_KEYWORD]
    needed = {n: usable[n] for n in names if found[n].default is inspect.Parameter.empty}
    if method.__name__ == "wait":  # without a timeout it retries for a minute
        needed["timeout_seconds"] = 0.001
    if any(p.kind is p.VAR_KEYWORD for p in found.values()):
        of_tasks = "submit" in method.__name__
        names += (
            ["queue", "tags", "delay_seconds", "run_at"]
            if of_tasks
            else ["queue", "tags", "status"]
        )
        names += [] if of_tasks else ["url_contains", "created_after", "nonsense"]
    return names, needed


def is_patient(parameter, value):
    """Whether this asks for waiting, which is done for as long as that."""
    is_time = parameter in ("wait_seconds", "timeout_seconds")
    return is_time and (value is None or (isinstance(value, (int, float)) and value > 0))


def names_of_all():
    with BlockingClient(NOWHERE) as client:
        return [name for name, _ in methods(client)]


@pytest.mark.parametrize("name", names_of_all())
def test_blocking(name):
    """Nothing but a ClientError ends a call, and it is one line."""
    with BlockingClient(NOWHERE, timeout_seconds=0.001) as client:
        method = dict(methods(client))[name]
        names, needed = parameters(method)
        for parameter in names:
            for value in HOSTILE:
                if is_patient(parameter, value):
                    continue
                try:
                    found = method(**{**needed, parameter: value})
                    if hasattr(found, "__next__"):
                        next(found, None)
                except ClientError as error:
                    assert "\n" not in str(error), (parameter, value)


@pytest.mark.parametrize(
    "name", ["Client.get", "Client.submit_many", "Client.list_tasks", "Client.iter_events"]
)
@pytest.mark.parametrize("loop", LOOPS)
def test_asynchronously(name, loop):
    """The same with the client of which the blocking one is written."""

    async def work():
        async with Client(NOWHERE, timeout_seconds=0.001) as client:
            method = dict(methods(client))[name]
            names, needed = parameters(method)
            for parameter in names:
                for value in HOSTILE:
                    if is_patient(parameter, value):
                        continue
                    try:
                        found = method(**{**needed, parameter: value})
                        if inspect.isawaitable(found):
                            await found
                        elif hasattr(found, "__anext__"):
                            await anext(found, None)
                    except ClientError as error:
                        assert "\n" not in str(error), (parameter, value)

    run(loop, work)


@pytest.mark.parametrize("kind", [Client, BlockingClient])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "http://",
        "http://a b/",
        " http://127.0.0.1",
        "http://127.0.0.1\n",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1:x",
        "http://[::1",
        "http://a\\b",
        "http://me:hunter2@a b/",
        "http://127.0.0.1/?a",
        "http://127.0.0.1/#a",
        "http://\ud800/",
        "http://xn--\u00fc.test",
        "http://a..b/",
        "http://.test",
        f"http://{'a' * 64}.test",
        None,
        7,
        b"http://127.0.0.1",
    ],
)
def test_addresses(kind, url):
    """Each is rejected as it is made, and no password is shown."""
    with pytest.raises(InvalidArgument, match="is not the address of a service") as caught:
        kind(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, BlockingClient])
@pytest.mark.parametrize("key", ["", " ", "a b", "a\nb", "ż", "\ud800", 7, b"key"])
def test_keys(kind, key):
    """A key that cannot be sent is not shown."""
    with pytest.raises(InvalidArgument, match="api_key must be printable ASCII"):
        kind(NOWHERE, api_key=key)


@pytest.mark.parametrize("kind", [Client, BlockingClient])
@pytest.mark.parametrize("seconds", [0, -1, math.nan, "5", None, True, [], -math.inf])
def test_times(kind, seconds):
    """A client needs a time to try for."""
    with pytest.raises(InvalidArgument, match="timeout_seconds must be more than 0 seconds"):
        kind(NOWHERE, timeout_seconds=seconds)


def test_an_id():
    """It says which argument, and is what Python raises, too."""
    with BlockingClient(NOWHERE) as client:
        for kind in (ClientError, InvalidArgument, ValueError, TypeError):
            with pytest.raises(kind, match="'nope' is not the id of a task"):
                client.get("nope")


def test_numbers_that_json_does_not_have():
    """They would be sent as null: a task with a delay of NaN would run at once."""
    with BlockingClient(NOWHERE) as client:
        for value in (math.nan, math.inf, [1.0, math.nan]):
            with pytest.raises(InvalidArgument, match="NaN and infinity"):
                client.submit("http://x/", backoff=value)
        with pytest.raises(InvalidArgument, match="NaN and infinity"):
            client.submit({"url": "http://x/", "json": {"a": [None, math.nan]}})
        with pytest.raises(InvalidArgument, match="NaN and infinity"):
            client.queues.put("x", rate=math.inf)
    assert Submission({"a": None}).document == b'{"payload":{"a":null}}'


def test_one_for_many():
    """Text and mappings would be taken for the list of their characters or names."""
    with BlockingClient(NOWHERE) as client:
        for items in ("http://x/", b"x", {"url": "http://x/"}, 5, None):
            with pytest.raises(InvalidArgument, match="items must be a list"):
                client.submit_all(items)
            with pytest.raises(InvalidArgument, match="items must be a list"):
                client.submit_many(items)
        with pytest.raises(InvalidArgument, match="fields must be a list"):
            client.list_tasks(fields="id")


def test_errors_of_the_caller_stay():
    """What a caller's own iterator raises is not ours."""

    def items():
        yield "http://x/"
        raise ZeroDivisionError

    with BlockingClient(NOWHERE) as client, pytest.raises(ZeroDivisionError):
        client.submit_all(items())


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("kind", ["missing", "empty", "folder", "text"])
def test_certificates(tmp_path, monkeypatch, variable, kind):
    """They matter where TLS is spoken, and name the variable if they cannot be used."""
    path = tmp_path / "certificates"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_text("" if kind == "empty" else "no certificate")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(path))
    for client in (Client, BlockingClient):
        client(NOWHERE)
        if (variable, kind) == ("SSL_CERT_DIR", "folder"):
            client("https://127.0.0.1:1")
            continue
        with pytest.raises(taskflow.InvalidEnvironment, match=variable) as caught:
            client("https://127.0.0.1:1")
        assert "\n" not in str(caught.value)
