"""Code generators understand ``/openapi.json``: clients are generated from it without warnings."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from tests.api.documented import DOCUMENT, OPERATIONS, parts, resolved

PYTHON_GENERATOR = "openapi-python-client==0.29.1"
TYPESCRIPT_GENERATOR = ("openapi-typescript@7.13.0", "typescript@5.9.3")
# The media types of bodies that openapi-python-client has code for.
KNOWN_BODIES = {
    "application/json",
    "application/merge-patch+json",
    "application/octet-stream",
}
USE = """\
import type { paths } from "./api";
type Batch = paths["/tasks/batch"]["post"];
type Body = Batch["requestBody"]["content"]["application/json"];
type Stored = Batch["responses"][201]["content"]["application/json"];
export const body: Body = [{ payload: "https://example.com/", queue: "mail" }];
export const ids = (stored: Stored): string[] => stored.map((task) => task.id);
type Single = paths["/tasks"]["post"]["requestBody"]["content"]["application/json"];
// @ts-expect-error - an array is no task
export const many: Single = [{ payload: 1 }];
"""


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_bodies(method, path):
    """Each body has a media type that generators know, and no union of types without a tag."""
    content = OPERATIONS[method, path].get("requestBody", {}).get("content", {})
    assert content.keys() <= KNOWN_BODIES
    for one in content.values():
        assert "anyOf" not in one["schema"] or "discriminator" in one["schema"]


def test_responses():
    """Each response has at least one media type that generators know."""
    known = ("application/json", "application/octet-stream", "text/")
    for operation in OPERATIONS.values():
        for response in map(resolved, operation["responses"].values()):
            types = response.get("content", {"text/": None})
            assert any(one.startswith(known) or one.endswith("+json") for one in types), types


def test_schemas():
    """Arrays have items, and no property has several types, the default null or a constant."""
    for part in parts(DOCUMENT):
        if part.get("type") == "array":
            assert "items" in part, part
        assert not isinstance(part.get("type"), list), part
        assert part.get("default", "") is not None, part
    for schema in DOCUMENT["components"]["schemas"].values():
        for name, one in schema.get("properties", {}).items():
            if name not in schema.get("required", ()):
                assert "const" not in one, one


@pytest.mark.long
def test_openapi_python_client(tmp_path):
    """It generates a client without warnings, and that client is valid Python."""
    program = _installed(tmp_path / "environment", PYTHON_GENERATOR)
    (tmp_path / "openapi.json").write_text(json.dumps(DOCUMENT), "utf-8")
    said = _run(
        *(program, "generate", "--path", "openapi.json"),
        *("--output-path", "made", "--meta", "none", "--fail-on-warning"),
        folder=tmp_path,
        path=program.parent,
    )
    assert "WARNING" not in said.upper(), said
    use = "from made.api.tasks import add_task, add_tasks\nfrom made.models import TaskRequest\n"
    use += "print(TaskRequest(payload='https://example.com/', priority=3).to_dict())"
    made = _run(program.parent / "python", "-c", use, folder=tmp_path)
    assert made == "{'payload': 'https://example.com/', 'priority': 3}\n"


@pytest.mark.long
def test_openapi_typescript(tmp_path):
    """It generates types without warnings, and a strict compiler accepts their use."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    options = ("--no-audit", "--no-fund", "--silent")
    command = ["npm", "install", *options, "--prefix", tmp_path, *TYPESCRIPT_GENERATOR]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("npm cannot install the generator")
    programs = tmp_path / "node_modules" / ".bin"
    (tmp_path / "openapi.json").write_text(json.dumps(DOCUMENT), "utf-8")
    said = _run(programs / "openapi-typescript", "openapi.json", "-o", "api.ts", folder=tmp_path)
    assert "warn" not in said.lower(), said
    (tmp_path / "use.ts").write_text(USE, "utf-8")
    _run(programs / "tsc", "--strict", "--noEmit", "use.ts", folder=tmp_path)


def _installed(folder: Path, package: str) -> Path:
    """Install a package into an environment of its own; return its program."""
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", package]
    if subprocess.run(pip, check=False, capture_output=True).returncode != 0:
        pytest.skip(f"pip cannot install {package}")
    return folder / "bin" / package.partition("==")[0]


def _run(*command: str | Path, folder: Path, path: Path | None = None) -> str:
    """Run a program that must succeed, and return its whole output."""
    before = f"{path}:" if path else ""
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env={"PATH": f"{before}/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
