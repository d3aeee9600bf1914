"""TaskFlow beside FastAPI, Django and Celery: the pages about them, run as they stand there."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict

from taskflow import BlockingClient
from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer
from tests.frameworks.environment import EXTRAS, PROJECT, REQUIREMENTS, Environment, save_files
from tests.loopback import SECRET
from tests.service.processes import START_SECONDS, wait_until
from tests.smoke import free_port

PLAIN = Path(__file__).with_name("typed_program.py")
PLACES = ("PGDATABASE", "dbname"), ("PGHOST", "host"), ("PGPORT", "port"), ("PGUSER", "user")

TOGETHER = """
import asyncio, sys
import celery, django, fastapi, taskflow
async def main():
    async with taskflow.Client(sys.argv[1]) as client:
        return await client.wait((await client.submit("no url")).id, 90)
print(asyncio.run(main()).error_type, "trio" in sys.modules)
"""

# A task group cancels a stream, and its own task goes on with the client.
BESIDE_A_FAILURE = """
import asyncio, sys
import taskflow
async def follow(client, is_open):
    async with client.iter_events() as events:
        is_open.set()
        async for _ in events:
            pass
async def fail(is_open):
    await is_open.wait()
    raise ArithmeticError
async def main():
    async with taskflow.Client(sys.argv[1]) as client:
        is_open = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(follow(client, is_open))
                group.create_task(fail(is_open))
        except ExceptionGroup as error:
            print(repr(error.exceptions[0]), (await client.stats()).total is not None)
asyncio.run(main())
"""

# A worker of Celery, with a broker in memory, runs a task that submits and waits for one here.
IN_CELERY = """
import sys
import celery
from celery.contrib.testing.worker import start_worker
import taskflow
app = celery.Celery(broker="memory://", backend="cache+memory://")
client = taskflow.BlockingClient(sys.argv[1])
@app.task(bind=True, max_retries=3)
def report(self, name):
    try:
        task = client.submit("no url", tags={"name": name}, idempotency_key=self.request.id)
        return str(task.id), client.wait(task.id, 90).error_type.value
    except taskflow.Unreachable as error:
        raise self.retry(exc=error) from None
with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
    found = [report.delay(name) for name in ("spring", "summer")]
    for one in found:
        print(*one.get(timeout=90))
client.close()
"""

# What a reader does with the page about Django, in one program.
ORDERS = """
import json
import psycopg
import shop
from django.db import connection, transaction
from django.test import Client
with connection.schema_editor() as editor:
    editor.create_model(shop.Order)
client = Client()
print(json.dumps(client.post("/orders", {"item": "tea"}).json()))
print(client.post("/invalid").status_code, [one.item for one in shop.Order.objects.all()])
with transaction.atomic():
    try:
        with transaction.atomic():
            client.post("/orders", {"item": "undone"})
            raise RuntimeError
    except RuntimeError:
        print([one.item for one in shop.Order.objects.all()])
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    """The frameworks, and the base installation."""
    environment = Environment(tmp_path_factory.mktemp("frameworks"))
    environment.install("-r", str(REQUIREMENTS), *PROJECT["dependencies"])
    return environment


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer(database_url=MEMORY_URL, webhook_secrets=SECRET) as server:
        yield server


def test_one_environment_has_them_all(environment, server, tmp_path):
    """With AnyIO 4, and without Trio; the client works."""
    assert environment.versions(["anyio"])["anyio"].startswith("4.")
    assert environment.run("-c", TOGETHER, server.url, cwd=tmp_path).split() == [
        "invalid_url",
        "False",
    ]


def test_a_task_group_that_fails(environment, server, tmp_path):
    """With AnyIO 4. With AnyIO 3, httpx itself is canceled after it, on Python 3.11 and 3.12."""
    printed = environment.run("-W", "error", "-c", BESIDE_A_FAILURE, server.url, cwd=tmp_path)
    assert printed.split() == ["ArithmeticError()", "True"]


def test_tasks_of_celery(environment, server, tmp_path):
    """They submit by the blocking client, in threads of a worker."""
    printed = environment.run("-c", IN_CELERY, server.url, cwd=tmp_path).split()
    assert printed[1::2] == ["invalid_url", "invalid_url"]
    with BlockingClient(server.url) as client:
        names = [client.get(one).tags["name"] for one in printed[::2]]
    assert names == ["spring", "summer"]


@pytest.mark.long
def test_one_environment_has_them_and_the_service(server, tmp_path):
    """With AnyIO 3, which asks pins; pip finds older versions of some of them."""
    both = Environment(tmp_path / "both")
    frameworks = [line.partition("==")[0] for line in REQUIREMENTS.read_text().splitlines()[1:]]
    both.install(*frameworks, *PROJECT["dependencies"], *EXTRAS["server"])
    assert both.versions(["anyio"])["anyio"].startswith("3.")
    assert both.run("-c", TOGETHER, server.url, cwd=tmp_path).startswith("invalid_url")
    program = "from taskflow.testing import TestService\nwith TestService(): print('runs')"
    assert both.run("-c", program, cwd=tmp_path).split() == ["runs"]


@pytest.mark.long
def test_type_checkers_have_nothing_to_say(environment, tmp_path):
    """Of the examples, mypy and pyright in their strict modes."""
    environment.install("mypy", "pyright")
    save_files("how-to/use-with-fastapi.md", tmp_path)
    (tmp_path / "plain.py").write_text(PLAIN.read_text("utf-8"), "utf-8")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    environment.run("-m", "mypy", "--strict", "app.py", "plain.py", cwd=tmp_path)
    environment.run(
        *("-m", "pyright", "--pythonpath", str(environment.python), "app.py", "plain.py"),
        cwd=tmp_path,
    )


@contextlib.contextmanager
def served(environment: Environment, folder: Path, service: str) -> Iterator[httpx.Client]:
    """The application of the page about FastAPI, in a process of its own."""
    save_files("how-to/use-with-fastapi.md", folder)
    url = f"http://127.0.0.1:{(port := free_port())}"
    variables = {"OWN_URL": url, "TASKFLOW_URL": service, "WEBHOOK_SECRET": SECRET}
    command = [environment.python, "-m", "uvicorn", "app:app", "--port", str(port)]
    with (
        subprocess.Popen(command, cwd=folder, env=environment.environ(variables)) as process,
        httpx.Client(base_url=url, timeout=90, trust_env=False) as client,
    ):
        try:
            wait_until(lambda: answers(client) or process.poll() is not None, START_SECONDS)
            yield client
        finally:
            process.terminate()


def answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/finished").status_code == 200
    return False


def test_fastapi(environment, server, tmp_path):
    """A request submits, another one waits, the work and the callback verify who calls them."""
    with served(environment, tmp_path, server.url) as app:
        report = app.post("/reports", params={"name": "spring"}).json()["id"]
        assert app.get(f"/reports/{report}").json() == {"status": "done", "report": {"length": 6}}
        wait_until(lambda: report in app.get("/finished").json(), START_SECONDS)
        assert app.get("/finished").json() == {report: "COMPLETED"}
        for route in ("/work/report", "/callbacks/taskflow"):
            assert app.post(route, json={"name": "x", "id": "x", "status": "x"}).status_code == 401
        assert app.get("/reports/01a227b1-c633-7fb2-8000-fafbf7d6279e").status_code == 404


def test_django(environment, migrated_url, tmp_path):
    """A commit brings both the order and its task, a rollback neither, also one to a savepoint."""
    save_files("how-to/use-with-django.md", tmp_path)
    parts = conninfo_to_dict(migrated_url)
    place = {variable: str(parts[name]) for variable, name in PLACES if name in parts}
    printed = environment.run("-c", ORDERS, cwd=tmp_path, variables=place).splitlines()
    made, invalid, undone = printed
    assert (invalid, undone) == ("400 ['tea']", "['tea']")
    with (
        LiveServer(database_url="postgresql:///?" + query_of(parts)) as server,
        BlockingClient(server.url) as client,
    ):
        [task] = client.list_tasks(queue="mail")
        assert f'"task": "{task.id}"' in made
        assert task.payload == {"url": "https://mail.example/orders", "body": {"order": 1}}
        assert task.max_attempts == 5


def query_of(parts: dict[str, object]) -> str:
    return "&".join(f"{name}={value}" for name, value in parts.items())
