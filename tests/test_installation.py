"""What each way to install TaskFlow brings, and what is said where something is not there.

An installation is a folder that leads to the packages it would have, and to nothing else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from taskflow.cli.local.checks.machine import TESTED_PYTHONS
from taskflow.service import MEMORY_URL
from taskflow.version import DISTRIBUTION, __version__, install_command
from tests.api.live import LiveServer
from tests.folders import open_folder

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
BASE = PROJECT["dependencies"]
CLI = BASE + PROJECT["optional-dependencies"]["cli"]
SERVER = BASE + PROJECT["optional-dependencies"]["server"]

# Each way to name the distribution ``taskflow`` to an installer, with or without extra and version.
NAMED = r"(?<![\w./@-])taskflow(?![\w/:-]|\.\w)"
FOREIGN = re.compile(
    rf"\b(?:pip[\d.]*|pipx|uv|poetry|pdm)\b[^\n#]*\b(?:install|add|download|wheel|run)\b[^\n`#]*{NAMED}"
    rf"|{NAMED}(?:\[(?:cli|server|embedded|otel)|\s*(?:[=~<>!]=|===)\s*\d)",
    re.IGNORECASE,
)
WRITTEN = {".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".html", ".txt", ".service", ".lock", ""}

NO_PYTHON = "taskflow: needs Python 3.11 to 3.13 with venv (Debian: apt-get install python3-venv)"

# Says that it is this version to the script that asks.
FAKE_PYTHON = """\
#!/bin/sh
case "$2" in *"!= '{version}'"*) exit 0;; esac
exit 1
"""

PROGRAM = """
import asyncio, sys
import taskflow
from taskflow import BlockingClient, Client, Unprocessable, enqueue, enqueue_many

def no_connection():
    try:
        enqueue(None, "x")
    except ModuleNotFoundError as error:
        return error.name

with BlockingClient(sys.argv[1]) as client:
    print(client.wait(client.submit("no url").id).error_type)

async def main():
    async with Client(sys.argv[1]) as client:
        task = await client.submit("no url")
        async with client.iter_events(task.id) as events:
            return [event.status async for event in events][-1]

if sys.argv[2] == "trio":
    import trio
    last = trio.run(main)
else:
    last = asyncio.run(main())
print(last, no_connection())
foreign = ("quart", "asks", "psycopg", "click", "structlog", "dotenv", "anyio._backends._trio")
print([name for name in foreign if name in sys.modules])
"""


def closure(requirements: Iterable[str]) -> set[str]:
    """The names of all distributions that come with these requirements, here."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            if (wanted.name.lower(), extra) in found:
                continue
            found.add((wanted.name.lower(), extra))
            for text in distribution(wanted.name).requires or []:
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    waiting.append(inner)
    return {name for name, _ in found}


def install(names: Iterable[str], folder: Path) -> dict[str, str]:
    """Make an installation, and return the environment to start Python in it."""
    for place in places(names):
        link = folder / place.name
        if not link.exists():
            link.symlink_to(place)
    (folder / "taskflow").symlink_to(REPOSITORY / "taskflow")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TASKFLOW_") and name != "DATABASE_URL"
    }
    return {**kept, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def places(names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        found = distribution(name)
        tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        yield from (Path(found.locate_file(top)).resolve() for top in tops)


def run(environ, folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python without the packages of this environment."""
    return subprocess.run(
        [sys.executable, "-S", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**environ, **more},
        cwd=folder,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[dict[str, str], Path]:
    """Without extras."""
    folder = tmp_path_factory.mktemp("alone")
    return install(closure(BASE), folder), folder


@pytest.fixture(scope="module")
def command_line(tmp_path_factory) -> tuple[dict[str, str], Path]:
    """With the extra ``cli``."""
    folder = tmp_path_factory.mktemp("cli")
    return install(closure(CLI), folder), folder


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> tuple[dict[str, str], Path]:
    """With the extra ``server``."""
    folder = tmp_path_factory.mktemp("server")
    return install(closure(SERVER), folder), folder


def test_alone_it_brings_little():
    assert {Requirement(text).name for text in BASE} == {"anyio", "httpx", "msgspec"}
    assert not {"asks", "quart", "psycopg", "click", "trio"} & closure(BASE)
    assert (REPOSITORY / "taskflow" / "py.typed").exists()


def test_packages_whose_internals_are_used_have_the_tested_version():
    """What pip installs without the lock is what the tests ran with."""
    exact = {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in map(Requirement, SERVER)
        if "==" in str(requirement.specifier)
    }
    assert set(exact) == {"asks", "hypercorn", "quart", "quart-trio"}
    lock = (REPOSITORY / "requirements.lock").read_text("utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    assert {name: locked[name] for name in exact} == exact


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_alone_it_has_the_clients_and_enqueue(loop, alone, tmp_path):
    """The clients work, without Trio too, and so does ``enqueue`` if psycopg is installed."""
    place = (install(closure([*BASE, "trio"]), tmp_path), tmp_path) if loop == "trio" else alone
    with LiveServer(database_url=MEMORY_URL) as server:
        ended = run(*place, "-c", PROGRAM, server.url, loop)
    assert (ended.stdout.splitlines(), ended.stderr) == (
        ["invalid_url", "FAILED psycopg", "[]"],
        "",
    )


def test_without_extras_the_command_says_what_is_missing(alone):
    ended = run(*alone, "-m", "taskflow", "serve")
    assert ended.returncode != 0
    [line] = ended.stderr.splitlines()
    assert line.endswith(f"run {install_command('server')}")


@pytest.mark.long
def test_the_extra_cli_has_the_commands_over_http(command_line):
    """No more is needed to call a service; for the rest it says what is missing."""
    asking, folder = command_line, command_line[1]
    with LiveServer(database_url=MEMORY_URL) as server:
        for command in (["submit", "http://x.invalid/"], ["list"], ["queues"], ["schedules"]):
            ended = run(*asking, "-m", "taskflow", *command, TASKFLOW_URL=server.url)
            assert (ended.returncode, ended.stderr) == (0, "")
    for command in ("serve", "doctor", "key"):
        ended = run(*asking, "-m", "taskflow", command)
        assert ended.returncode == 1
        [line] = ended.stderr.splitlines()
        assert line.endswith(f"run {install_command('server')}")
    ended = run(*asking, "-m", "taskflow", "mcp")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"the MCP SDK is not installed: run {install_command('mcp')}" in ended.stderr
    (folder / ".env").write_text("TASKFLOW_API_KEY=x\n")
    reported = run(
        *asking, "-m", "taskflow", "list", "--timeout", "0.1", TASKFLOW_URL="http://[::1]:1"
    )
    assert (
        "taskflow: .env is ignored: python-dotenv is not installed" in reported.stderr.splitlines()
    )


@pytest.mark.long
def test_without_the_embedded_database_it_says_so(served):
    """In one line; with a database of one's own nothing is missing."""
    with open_folder() as data:
        quiet = {"TASKFLOW_LOG_LEVEL": "error", "TASKFLOW_DATA_DIR": str(data / "data")}
        ended = run(*served, "-m", "taskflow", "serve", **quiet)
    assert ended.returncode != 0
    [line] = ended.stderr.splitlines()
    assert f"run {install_command('embedded')}, or" in line
    assert "DATABASE_URL" in line
    ended = run(*served, "-m", "taskflow", "migrate", DATABASE_URL=MEMORY_URL)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_agents_need_an_environment_of_their_own(served):
    """The SDK of ``taskflow mcp`` and the service pin different versions of AnyIO."""
    ended = run(*served, "-m", "taskflow", "mcp")
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert "cannot share an environment" in line and install_command("mcp") in line


def test_without_opentelemetry_it_says_so(served):
    """Tracing without the extra is an error of one line that says what to do."""
    requested = {"DATABASE_URL": MEMORY_URL, "OTEL_TRACES_EXPORTER": "otlp"}
    ended = run(*served, "-m", "taskflow", "worker", **requested, TASKFLOW_LOG_LEVEL="error")
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert f"run {install_command('otel')}, or" in line
    assert "TASKFLOW_TRACES=off" in line


def test_the_distribution_is_not_the_other_project():
    """The project's name is the one that messages say, and ours."""
    assert PROJECT["name"] == DISTRIBUTION
    assert PROJECT["version"] == __version__
    assert DISTRIBUTION in install_command("server")
    assert set(PROJECT["scripts"]) == {"taskflow"}


def test_no_file_says_to_install_the_other_project():
    """No file contains it, in any spelling."""
    texts = {path: path.read_text("utf-8") for path in written()}
    assert len(texts) > 400
    assert [
        (str(path), output.group()) for path, text in texts.items() for output in told(text)
    ] == []


def told(text: str) -> Iterator[re.Match[str]]:
    return FOREIGN.finditer(text)


def written() -> Iterator[Path]:
    """The files of the repository that people write, but for this one."""
    for folder, folders, names in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if not name.startswith(".") or name == ".ci"]
        folders[:] = [name for name in folders if name not in ("dist", "__pycache__")]
        paths = (Path(folder, name) for name in names)
        yield from (path for path in paths if path.suffix in WRITTEN and path != Path(__file__))


@pytest.mark.parametrize(
    ("text", "is_foreign"),
    [
        ("pip install taskflow", True),
        ("pip3 install -U 'taskflow[server,otel]'", True),
        ('python -m pip install "TaskFlow>=0.1"', True),
        ("uv add taskflow", True),
        ("uv pip install --no-deps taskflow==6.5", True),
        ("the service is `taskflow[server]`", True),
        ("pip install 'taskflow-http[server]'", False),
        ("pip install dist/taskflow_http-0.1.0-py3-none-any.whl", False),
        ("pip install --prefix /opt/taskflow .", False),
    ],
)
def test_how_the_other_project_would_be_named(text, is_foreign):
    assert any(told(text)) == is_foreign


def test_all_places_name_the_same_pythons():
    """The scripts set up only versions that are tested, and that is what users read."""
    script = (REPOSITORY / "tools" / "environment.sh").read_text("utf-8")
    [listed] = re.findall(r"supported_pythons=\((.*)\)", script)
    tested = sorted(listed.split())
    classifiers = [re.fullmatch(r".* :: Python :: (3\.\d+)", one) for one in PROJECT["classifiers"]]
    assert [match[1] for match in classifiers if match] == tested == list(TESTED_PYTHONS)
    for page in ("README.md", "docs/tutorial.md", "CONTRIBUTING.md"):
        text = (REPOSITORY / page).read_text("utf-8")
        assert f"Python {', '.join(tested[:-1])} or {tested[-1]}" in text
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    assert set(re.findall(r"FROM python:([\d.]+)-", dockerfile)) <= set(tested)


@pytest.mark.parametrize(
    ("pythons", "found"),
    [
        (("3.14", "3.12"), "python3.12"),
        (("3.14", "3.11", "3.13"), "python3.13"),
        (("3.14",), None),
        ((), None),
    ],
)
def test_run_sh_accepts_only_tested_pythons(tmp_path, pythons, found):
    """The newest in the PATH that is tested; without any, one line names the tested ones."""
    for version in pythons:
        command = tmp_path / f"python{version}"
        command.write_text(FAKE_PYTHON.format(version=version))
        command.chmod(0o755)
    # The fallback locations outside the PATH belong to this machine.
    script = 'find_python() { python_in_path "$1"; }; default_python'
    ended = subprocess.run(
        ["/bin/bash", "-c", f". '{REPOSITORY}/tools/environment.sh'; {script}"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ((found, 0) if found else ("", 1))
    assert ended.stderr.splitlines() == ([] if found else [NO_PYTHON])
