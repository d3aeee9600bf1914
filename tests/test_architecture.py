"""The rules of the layers, read off the imports of every module."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "taskflow"

# Each may import itself and what its line names; ``docs/design.md`` has the picture.
LAYERS = {
    "version": set(),
    "wakeup": set(),
    "http1": set(),
    "checkpoints": set(),
    "model": set(),
    "env_file": {"model"},
    "settings": {"env_file", "model"},
    "telemetry": set(),
    "metrics": {"model"},
    "store.base": {"model", "wakeup", "checkpoints"},
    "fetch": {"http1", "metrics", "model", "settings", "telemetry", "checkpoints"},
    "store": {"store.base", "model", "settings", "telemetry", "wakeup", "checkpoints"},
    "tracing": {"store.base", "fetch", "model", "settings", "telemetry"},
    "engine": {
        "store.base",
        "fetch",
        "metrics",
        "model",
        "settings",
        "telemetry",
        "wakeup",
        "tracing",
        "checkpoints",
    },
    "schema": {"model"},
    "api.reading": {"model", "schema", "checkpoints"},
    "client": {"model", "schema"},
    "enqueuing": {"schema", "client", "store", "model"},
    "api": {
        "api.reading",
        "schema",
        "engine",
        "store.base",
        "fetch",
        "metrics",
        "model",
        "settings",
        "telemetry",
        "tracing",
        "wakeup",
        "checkpoints",
    },
    "serving": {"api", "http1", "model", "settings", "telemetry", "wakeup"},
    "cell_service": {"engine", "model", "settings", "store", "store.base"},
    "service": {"cell_service", "api", "engine", "fetch", "store", "store.base", "serving"}
    | {"metrics", "model", "settings", "telemetry", "tracing"},
    "testing": {"client", "fetch", "http1", "model", "service", "serving", "settings", "telemetry"},
    "asgi": {"metrics", "service", "serving", "model", "settings", "telemetry"},
    # Each command is imported when it is called, by name, so the list of commands imports none.
    "cli": {"model"},
    "mcp_server": {"client", "model", "schema"},
    "cli.remote": {"cli", "client", "env_file", "mcp_server", "model", "schema"},
    "cli.local": {
        "cli",
        "cli.remote",
        "client",
        "service",
        "cell_service",
        "serving",
        "api",
        "engine",
        "fetch",
        "store",
        "store.base",
    }
    | {"model", "settings", "telemetry"},
    "__main__": {"cli"},
}

# Where a package may be imported, and nowhere else.
HOMES = {
    "psycopg": ("store", "enqueuing"),  # there its types alone
    "psycopg_pool": ("store",),
    "trio_asyncio": ("store",),
    "asyncio": ("store", "client.asynchronous.native"),
    "anyio": ("client.asynchronous.native", "mcp_server.sdk"),
    "sniffio": ("client.asynchronous.native",),
    "asks": ("fetch",),
    "httptools": ("http1",),
    "socket": ("fetch", "store.embedded", "cli.local.checks.guard", "serving", "mcp_server.sdk"),
    "quart": ("api", "asgi"),
    "quart_trio": ("api", "asgi", "service"),
    "hypercorn": ("serving", "asgi"),
    "click": ("cli",),
    "yaml": ("cli.remote.configuration.yaml_text",),
    "prometheus_client": ("metrics",),
    "rich": ("cli",),
    "cronsim": ("model.cron",),
    "cryptography": ("model.xaes", "model.signing_key", "model.client_certificate"),
    "idna": ("model.hostname",),
    "structlog": ("telemetry",),
    "opentelemetry": ("tracing.otel",),
    "dotenv": ("env_file",),
    "mcp": ("mcp_server.sdk",),
    "uvicorn": ("mcp_server.sdk",),
    "urllib": (
        "api",
        "client",
        "mcp_server",
        "serving",
        "fetch.token_request",
        "fetch.aws_signature",
        "model.smtp",
    ),
    "httpx": ("client", "testing"),
}


# A subject that several layers have a module for; any other name is one module's own.
SHARED_NAMES = {
    # What the API shows, layer by layer.
    *(
        "tasks",
        "task",
        "queues",
        "schedules",
        "groups",
        "cells",
        "topics",
        "endpoints",
        "completions",
        "graphs",
        "schedule",
        "events",
        "stats",
        "monitoring",
        "rollups",
        "grouped_failures",
        "credentials",
        "signing_keys",
        "views",
        "alerts",
        "heartbeats",
        "heartbeat_monitors",  # in the store, where the heartbeats of nodes renew leases
    ),
    *("audit", "metrics", "problems", "errors", "settings", "database", "guard", "zones"),
    "configuration",
    *("interface", "store"),  # what a package offers to the others
    # What is done with it.
    *("submission", "listing", "task_actions", "new_tasks", "filters", "options", "keys"),
    # The subjects of the store interface, and of each store.
    *("claims", "leases", "parking", "archive"),
    # The two clients.
    *("client", "native", "streams", "transport"),
}


def modules() -> dict[str, Path]:
    """The file of each module, by its name without the package's."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


@functools.cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text("utf-8"))


def trees() -> Iterator[tuple[str, ast.Module]]:
    return ((name, tree_of(name)) for name in MODULES)


@functools.cache
def imports(name: str) -> tuple[str, ...]:
    """What a module imports."""
    return tuple(_imports(tree_of(name)))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name: str) -> set[str]:
    """The modules of TaskFlow that a module imports, without the package's name."""
    found = set()
    for imported in imports(name):
        if imported.split(".")[0] == "taskflow":
            path = imported.removeprefix("taskflow").strip(".")
            while path not in MODULES:
                path = path.rpartition(".")[0]
            found.add(path)
    return found - {""}


def layer_of(module: str) -> str:
    for layer in ("store.base", "api.reading", "cli.remote", "cli.local"):
        if f"{module}.".startswith(f"{layer}."):
            return layer
    return module.split(".", maxsplit=1)[0]


def test_imports_point_down_only():
    """A module knows only the layers under its own."""
    up = {
        name: found for name in filter(None, MODULES) if (found := imports_of_higher_layers(name))
    }
    assert up == {}


def imports_of_higher_layers(name: str) -> set[str]:
    allowed = LAYERS[layer_of(name)] | {layer_of(name), "version"}
    if layer_of(name) == "store":
        allowed.add("store.base")
    return {found for found in own_imports(name) if layer_of(found) not in allowed}


def test_backends_do_not_know_each_other():
    """The stores in memory, in PostgreSQL and of cells share the interface, and nothing else."""
    backends = {"memory", "postgres", "embedded", "cells"}
    for name in (name for name in MODULES if name.startswith("store.")):
        for found in own_imports(name):
            pair = {name.split(".")[1], found.split(".")[1] if "." in found else ""}
            assert not (found.startswith("store.") and len(pair & backends) == 2), (name, found)


def test_no_module_is_named_like_one_of_the_standard_library():
    """A reader never has to ask which ``queue`` or ``statistics`` is meant."""
    parts = {part for name in MODULES for part in name.split(".")}
    assert parts & (sys.stdlib_module_names - {"__main__"}) == set()


def test_one_name_means_one_thing():
    """Modules share a name only where one is the same subject in another layer."""
    names = [name.rpartition(".")[2] for name in MODULES]
    assert {name for name in names if names.count(name) > 1} <= SHARED_NAMES


def test_there_is_no_cycle():
    """The modules can be put in an order in which each imports only earlier ones."""
    graph = {name: own_imports(name) - {name} for name in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("package", HOMES)
def test_a_package_is_imported_only_where_it_belongs(package):
    """Each outside thing is behind one seam."""
    guests = {
        name
        for name in MODULES
        if any(imported.split(".")[0] == package for imported in imports(name))
    }
    strangers = {
        name for name in guests if not any(f"{name}.".startswith(f"{h}.") for h in HOMES[package])
    }
    assert not strangers, f"{package} is imported in {sorted(strangers)}"


def test_the_client_does_not_need_trio():
    """Programs on asyncio use the client and ``enqueue`` without it."""
    for name in MODULES:
        if layer_of(name) in {"client", "enqueuing", "schema", "model"}:
            assert "trio" not in {imported.split(".")[0] for imported in imports(name)}, name


def test_the_environment_is_read_in_settings_only():
    """No other package uses os.environ or os.getenv."""
    readers = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    }
    # The client's variables are read where the settings' own packages need not be.
    # and ``taskflow config`` fills in variables that its file names.
    assert readers <= {
        "settings.loading",
        "client.connecting",
        "cli.remote.configuration.variables",
    }


def test_the_model_does_not_wait():
    """Model imports four packages and the standard library, with no await anywhere."""
    for name, tree in trees():
        if layer_of(name) != "model":
            continue
        waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
        assert not any(isinstance(node, waiting) for node in ast.walk(tree)), name
        outside = {imported.split(".")[0] for imported in imports(name)}
        allowed = {"msgspec", "cronsim", "cryptography", "idna", "taskflow"}
        assert outside <= sys.stdlib_module_names | allowed, name


def test_importing_starts_nothing():
    """Importing every module makes no thread, no child, no socket and no file.

    Except those that need the MCP SDK, which is not installed beside the service.
    """
    names = [n for n in MODULES if n not in ("", "__main__") and not n.startswith("mcp_server.sdk")]
    program = (
        "import sys, threading, os\n"
        f"import {', '.join('taskflow.' + n for n in names)}\n"
        "import psutil\n"
        "me = psutil.Process()\n"
        "mine = ('.py', '.pyc', '.so')\n"
        "opened = [f.path for f in me.open_files() if not f.path.endswith(mine)]\n"
        "print(threading.active_count(), me.children(), me.net_connections(), opened)\n"
    )
    reported = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
        env=dict(os.environ, TASKFLOW_WORKERS="not a number"),
    )
    assert reported.stdout.strip() == "1 [] [] []"
