"""The rules of the layers, read off the imports of every module."""

from __future__ import annotations

import ast
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
    "bell": set(),
    "linear_h11": set(),
    "yielding": set(),
    "model": set(),
    "env_file": {"model"},
    "settings": {"env_file", "model"},
    "telemetry": set(),
    "footprint": set(),
    "metrics": {"model"},
    "store.base": {"model"},
    "fetch": {"metrics", "model", "settings", "telemetry", "linear_h11"},
    "store": {"store.base", "model", "settings", "telemetry", "bell", "yielding"},
    "tracing": {"store.base", "fetch", "model", "settings", "telemetry"},
    "engine": {
        "store.base",
        "fetch",
        "metrics",
        "model",
        "settings",
        "telemetry",
        "bell",
        "tracing",
    },
    "sampling": {"engine", "store.base", "fetch", "metrics", "settings"},
    "api.reading": {"fetch", "model"},
    "client": {"model"},
    "enqueuing": {"api.reading", "client", "store", "model"},
    "api": {
        "api.reading",
        "engine",
        "store.base",
        "fetch",
        "metrics",
        "model",
        "settings",
        "telemetry",
        "tracing",
        "bell",
        "yielding",
    },
    "shutdown": {"telemetry"},
    "connection": {"api", "telemetry", "linear_h11"},
    "server": {"connection", "shutdown", "model", "settings", "telemetry"},
    "service": {"api", "engine", "fetch", "store", "store.base", "server", "shutdown"}
    | {"metrics", "model", "sampling", "settings", "telemetry", "tracing", "footprint"},
    "asgi": {
        "metrics",
        "service",
        "server",
        "shutdown",
        "model",
        "settings",
        "telemetry",
        "footprint",
    },
    # Each command is imported when it is called for, by name: so the list of them knows none.
    "cli": set(),
    "cli.remote": {"cli", "client", "env_file", "model"},
    "cli.local": {
        "cli",
        "cli.remote",
        "client",
        "service",
        "server",
        "api",
        "engine",
        "fetch",
        "store",
        "store.base",
    }
    | {"model", "settings", "telemetry"},
    "__main__": {"cli"},
}

# What all know of stores.
SEAM = {
    "store.base",
    "store.monitoring",
    "store.monitoring.base",
    "store.queues",
    "store.queues.base",
    "store.schedules",
    "store.schedules.base",
}

# Where a package may be imported, and nowhere else.
HOMES = {
    "psycopg": ("store", "enqueuing"),  # there its types alone
    "psycopg_pool": ("store",),
    "trio_asyncio": ("store",),
    "asyncio": ("store",),
    "asks": ("fetch",),
    "h11": ("fetch", "connection", "linear_h11"),
    "socket": ("fetch", "store.embedded", "cli.local.checks.guard"),
    "quart": ("api", "asgi"),
    "quart_trio": ("api", "asgi", "service"),
    "hypercorn": ("connection", "server", "asgi"),
    "click": ("cli",),
    "prometheus_client": ("metrics",),
    "rich": ("cli",),
    "cronsim": ("model.schedule",),
    "structlog": ("telemetry",),
    "opentelemetry": ("tracing.otel",),
    "dotenv": ("env_file",),
    "urllib": ("api", "client"),
    "httpx": ("client",),
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = modules()


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name: str) -> set[str]:
    """The modules of TaskFlow that a module imports, without the package's name."""
    found = set()
    for imported in imports(MODULES[name]):
        if imported.split(".")[0] == "taskflow":
            path = imported.removeprefix("taskflow").strip(".")
            while path not in MODULES:
                path = path.rpartition(".")[0]
            found.add(path)
    return found - {""}


def layer_of(module: str) -> str:
    if module in SEAM:
        return "store.base"
    for layer in ("api.reading", "cli.remote", "cli.local"):
        if f"{module}.".startswith(f"{layer}."):
            return layer
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_imports_point_down_only(name):
    """A module knows only the layers under its own."""
    allowed = LAYERS[layer_of(name)] | {layer_of(name)}
    if layer_of(name) == "store":
        allowed.add("store.base")
    up = {found for found in own_imports(name) if layer_of(found) not in allowed}
    assert not up, f"taskflow.{name} must not know {sorted(up)}"


def test_there_is_no_cycle():
    """The modules can be put in an order in which each imports only earlier ones."""
    graph = {name: own_imports(name) - {name} for name in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("package", HOMES)
def test_a_package_is_imported_only_where_it_belongs(package):
    """Each outside thing is behind one seam."""
    guests = {
        name
        for name, tree in MODULES.items()
        if any(imported.split(".")[0] == package for imported in imports(tree))
    }
    strangers = {
        name for name in guests if not any(f"{name}.".startswith(f"{h}.") for h in HOMES[package])
    }
    assert not strangers, f"{package} is imported in {sorted(strangers)}"


def test_the_environment_is_read_in_settings_only():
    """Nobody else asks for os.environ or os.getenv."""
    readers = {
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    }
    # The client's two variables are read where the settings' own packages need not be.
    assert readers <= {"settings.reading", "client.environment"}


def test_the_model_does_not_wait():
    """Model is the standard library, msgspec and cronsim, with no await anywhere."""
    for name, tree in MODULES.items():
        if layer_of(name) != "model":
            continue
        waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
        assert not any(isinstance(node, waiting) for node in ast.walk(tree)), name
        outside = {imported.split(".")[0] for imported in imports(tree)}
        assert outside <= sys.stdlib_module_names | {"msgspec", "cronsim", "taskflow"}, name


def test_importing_starts_nothing():
    """Importing every module makes no thread, no child, no socket and no file."""
    program = (
        "import sys, threading, os\n"
        f"import {', '.join('taskflow.' + n for n in MODULES if n not in ('', '__main__'))}\n"
        "import psutil\n"
        "me = psutil.Process()\n"
        "mine = ('.py', '.pyc', '.so')\n"
        "opened = [f.path for f in me.open_files() if not f.path.endswith(mine)]\n"
        "print(threading.active_count(), me.children(), me.net_connections(), opened)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
        env=dict(os.environ, TASKFLOW_WORKERS="not a number"),
    )
    assert told.stdout.strip() == "1 [] [] []"
