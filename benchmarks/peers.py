"""The alternatives to TaskFlow, in an environment of their own; see ``requirements.txt``."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import Service, clean_environ, free_port, started
from benchmarks.scene import Scene

FOLDER = Path(__file__).parent / "peer"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
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
    return python


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
    return _run(scene, name, count, workers, *options)["worked_off"]


def pgqueuer_adds(scene: Scene, count: int) -> float:
    """Return how many jobs per second pgqueuer accepts, a thousand at a time."""
    return _run(scene, "pgqueuer", count, 0)["added"]


def _run(scene: Scene, name: str, count: int, workers: int, *options: str) -> dict[str, float]:
    assert scene.peers is not None
    script = FOLDER / f"{name}_worker.py"
    with scene.database() as database:
        arguments = [database.url, f"{scene.target}/", str(count), str(workers)]
        output = subprocess.run(
            [scene.peers, script, *arguments, *options],
            check=True,
            stdout=subprocess.PIPE,
            env=clean_environ({}),
            timeout=_MAX_SECONDS,
        ).stdout
    rates: dict[str, float] = json.loads(output.splitlines()[-1])
    return rates
