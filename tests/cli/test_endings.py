"""Every command reports errors in one line, with an exit status; and the help texts."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from taskflow.cli import main
from tests.cli.command import PATIENCE_SECONDS, PROGRAM, CommandLine, interrupt
from tests.cli.conftest import KEY
from tests.service.processes import REPOSITORY

ID = "00000000-0000-0000-0000-000000000000"
# Every command that asks the service, with what it takes at least.
REMOTE = [
    ("submit", "http://x.invalid/"),
    ("list",),
    ("list", "--json"),
    ("show", ID),
    ("show", ID, "--watch"),
    ("cancel", ID),
    ("retry", ID),
    ("skip", ID),
    ("delete", ID),
    ("delete", "--all", "--yes"),
    ("export",),
    ("events",),
    ("events", ID),
    ("open", "00000000"),
    ("queues",),
    ("queues", "list"),
    ("queues", "show", "x"),
    ("queues", "put", "x"),
    ("queues", "pause", "x"),
    ("queues", "resume", "x"),
    ("queues", "purge", "x", "--yes"),
    ("groups",),
    ("groups", "list"),
    ("groups", "show", ID),
    ("groups", "create"),
    ("groups", "close", ID),
    ("groups", "cancel", ID, "--yes"),
    ("groups", "retry", ID),
    ("topics",),
    ("topics", "list"),
    ("topics", "show", "x"),
    ("topics", "put", "x"),
    ("topics", "delete", "x", "--yes"),
    ("topics", "publish", "x", "y"),
    ("endpoints", "list", "x"),
    ("endpoints", "show", "x", "y"),
    ("endpoints", "put", "x", "y", "http://127.0.0.1:9/"),
    ("endpoints", "delete", "x", "y"),
    ("endpoints", "deliveries", "x", "y"),
    ("endpoints", "test", "x", "y"),
    ("endpoints", "rotate", "x", "y"),
    ("endpoints", "recover", "x", "y", "--since", "1h"),
    ("schedules",),
    ("schedules", "pause", "x"),
    ("schedules", "resume", "x"),
    ("schedules", "list"),
    ("schedules", "show", "x"),
    ("schedules", "next", "x"),
    ("schedules", "put", "x", "http://x.invalid/", "--every", "60"),
    ("schedules", "delete", "x"),
    ("schedules", "run", "x"),
    ("heartbeats",),
    ("heartbeats", "list"),
    ("heartbeats", "show", "x"),
    ("heartbeats", "history", "x"),
    ("heartbeats", "url", "x"),
    ("heartbeats", "put", "x", "--every", "1h"),
    ("heartbeats", "pause", "x"),
    ("heartbeats", "resume", "x"),
    ("heartbeats", "rotate", "x"),
    ("heartbeats", "delete", "x"),
    ("alerts",),
    ("alerts", "list"),
    ("alerts", "show", "x"),
    ("alerts", "history", "x"),
    ("alerts", "put", "x", "-f", "credential.json"),
    ("alerts", "test", "x"),
    ("alerts", "silence", "x", "1h"),
    ("alerts", "unsilence", "x"),
    ("alerts", "delete", "x"),
    ("failures",),
    ("credentials",),
    ("credentials", "list"),
    ("credentials", "show", "x"),
    ("credentials", "put", "x", "-f", "credential.json"),
    ("credentials", "delete", "x"),
    ("config", "plan"),
    ("config", "apply", "--prune"),
    ("config", "export"),
    ("audit",),
    ("stats",),
    ("stats", "--watch"),
    ("nodes",),
    ("hosts",),
    ("bench", "-n", "1"),
]
WITHOUT_TIMEOUT = {
    *(("queues",), ("groups",), ("topics",), ("schedules",), ("credentials",)),
    *(("heartbeats",), ("alerts",)),
}


def names(command) -> str:
    return " ".join(command)


@pytest.fixture(scope="module")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endings")
    (folder / "credential.json").write_text("{}")
    (folder / "taskflow.yaml").write_text("queues: {x: {rate: 1}}")
    return folder


@pytest.mark.parametrize("command", REMOTE, ids=names)
def test_an_unreachable_service(_folder, command):
    cli = CommandLine(_folder, url="http://127.0.0.1:1")
    options = () if command in WITHOUT_TIMEOUT else ("--timeout", "0.1")
    ended = cli.run(*command, *options)
    assert (ended.code, ended.out) == (3, "")
    assert ended.complaint.startswith("http://127.0.0.1:1: TaskFlow does not answer: ")


@pytest.mark.parametrize("command", REMOTE, ids=names)
def test_a_key_that_is_not_known(_folder, command, locked_server):
    cli = CommandLine(_folder, url=locked_server.url, TASKFLOW_API_KEY="w" * 32)
    ended = cli.run(*command)
    assert (ended.code, ended.out) == (5, "")
    assert ended.complaint.endswith("(the key in TASKFLOW_API_KEY)")


@pytest.mark.parametrize("command", REMOTE, ids=names)
def test_interrupted_without_a_response(_folder, command):
    """A server accepts the connection and does not respond."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_SECONDS)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        # Interrupted in the midst of sending, httpx leaves a generator to the garbage collector,
        # which Python mentions only if it is asked to.
        cli = CommandLine(_folder, url=url, PYTHONWARNINGS="")
        with cli.started(*command) as process:
            connection, _ = silent.accept()
            with connection:
                ended = interrupt(process)
    assert (ended.code, ended.out) == (130, "")
    if command[0] == "submit":
        assert ended.complaint == "interrupted: 0 submitted"
    else:
        assert ended.err == ""


def test_no_key_and_the_right_one(tmp_path, locked_server):
    """From the environment, which takes precedence over .env."""
    cli = CommandLine(tmp_path, url=locked_server.url)
    assert cli.run("list").complaint.endswith("(no key in TASKFLOW_API_KEY)")
    cli.ok("list", TASKFLOW_API_KEY=KEY)
    (tmp_path / ".env").write_text(f"TASKFLOW_API_KEY={KEY}\nTASKFLOW_URL=http://127.0.0.1:1\n")
    cli.ok("list")
    elsewhere = CommandLine(tmp_path, url=None)
    assert elsewhere.run("list", "--timeout", "0.1").code == 3
    elsewhere.ok("list", "--url", locked_server.url)
    assert cli.run("list", TASKFLOW_API_KEY="a b").code == 2


def test_the_default_service_is_local(tmp_path):
    ended = CommandLine(tmp_path, url=None).run("list", "--timeout", "0.1")
    assert ended.code in (0, 3)  # a service may be running there
    if ended.code:
        assert ended.complaint.startswith("http://127.0.0.1:8080: ")


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["lost"], "No such command 'lost'."),
        (["sumbit"], "No such command 'sumbit'. Did you mean submit?"),
        (["ls"], "No such command 'ls'. Did you mean list?"),
        (["tail"], "No such command 'tail'. Did you mean events?"),
        (["schedules", "puase"], "No such command 'puase'. Did you mean pause?"),
        (["key", "add"], "No such command 'add'."),
        (["list", "--colour"], "No such option"),
        (["list", "--status", "LOST"], "Invalid value for '--status'"),
        (["list", "--since", "yesterday"], "Invalid value for '--since'"),
        (["list", "--since", "99999999999999d"], "Invalid value for '--since'"),
        (["list", "--tag", "x"], "Invalid value for '--tag'"),
        (["list", "--tag", "x=1", "--tag", "x=2"], "--tag is given twice for the same name"),
        (["submit"], "give URLs, or a file with -f, or - for standard input"),
        (["submit", "-f", "x", "http://x/"], "give URLs, or a file"),
        (["submit", "-f", "x", "-d", "y"], "the lines describe the requests"),
        (["submit", "-f", "x", "--idempotency-key", "y"], "--idempotency-key is for URLs"),
        (["submit", "x", "-H", "nonsense"], "Invalid value for '--header'"),
        (["submit", "x", "-d", "@none"], "--data: none cannot be read"),
        (["submit", "x", "--idempotency-key", "\xe9"], "idempotency_key must be printable ASCII"),
        (["show"], "Missing argument 'ID'."),
        (["show", ID, "-r", "-a"], "--result can be combined with --watch only"),
        (["list", "--url", "nonsense"], "'nonsense' is not the address of a service"),
        (["completion", "tcsh"], "Invalid value for"),
        (["key", "new", "a b"], "Invalid value for NAME"),
        (["serve", "--workers", "0"], "Invalid value for '--workers'"),
        (["queues", "lost"], "No such command 'lost'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_that_cannot_be_used(cli, command, complaint):
    ended = cli.run(*command)
    assert (ended.code, ended.out) == (2, "")
    assert ended.complaint.startswith(complaint)


def commands(group: click.Command, *path: str):
    """Yield every command with its path."""
    if isinstance(group, click.Group):
        ctx = click.Context(group)
        for name in group.list_commands(ctx):
            yield from commands(group.get_command(ctx, name), *path, name)
    if path:
        yield path, group


ALL = dict(commands(main))


EXAMPLE = re.compile(r"(?:\$ +| +)(?:\(.*; )?(?:[a-z]+ .*\| |[A-Z_]+=\S+ )?(taskflow .*)")


def examples(text: str):
    """Yield the commands in a text, split as a shell does."""
    for line in re.sub(r" \\\n +", " ", text).splitlines():
        if found := EXAMPLE.fullmatch(re.sub(r"\$\(.*?\)", ID, line)):
            for part in re.split(r" \| ", found[1].rstrip(")")):
                words = shlex.split(re.split(r" >>? |;|  +#", part)[0])
                if words[0] == "taskflow":
                    yield words[1:]


def parsed(words: list[str]) -> None:
    """Parse a command line without running it."""
    command, ctx = main, click.Context(main, info_name="taskflow")
    while isinstance(command, click.Group) and words:
        name, command, words = command.resolve_command(ctx, words)
        ctx = click.Context(command, info_name=name, parent=ctx)
    command.parse_args(ctx, words)


@pytest.mark.parametrize("path", [*ALL, ("docs",)], ids=names)
def test_examples_can_be_used(path, tmp_path, monkeypatch):
    """Examples in the help texts and in docs/cli.md parse."""
    (tmp_path / "proxy.url").write_text("http://proxy.example:3128")
    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs/cli.md").read_text("utf-8")
    found = list(examples(page if path == ("docs",) else ALL[path].help))
    assert found
    for words in found:
        if "--help" not in words:
            parsed(words)


@pytest.mark.parametrize("path", ALL, ids=names)
def test_every_command_has_an_example(path):
    command = ALL[path]
    with click.Context(command, info_name=names(path)) as ctx:
        shown = command.get_help(ctx)
    if path[0] == "completion":
        path = ("completion", "bash")
    assert re.search(
        rf"^ +(\(.*; |[a-z]+ .*\| |[A-Z_]+=\S+ )?taskflow {names(path)}", shown, re.MULTILINE
    )
    assert "\\b" not in shown


def test_no_option_accepts_a_key():
    """Other users of the machine can see command lines."""
    names = {name for command in ALL.values() for option in command.params for name in option.opts}
    keys_of_tasks = {"--idempotency-key", "--order-key", "--unique-key", "--debounce-key"}
    assert {name for name in names if "key" in name} == keys_of_tasks


def test_every_remote_command_is_tested():
    """No command that calls the service is missing above; ``tests/mcp_server`` tests ``mcp``."""
    for path, command in ALL.items():
        if path != ("mcp",) and any(option.name == "service_url" for option in command.params):
            assert any(one[: len(path)] == path for one in REMOTE), path


def test_the_help(cli):
    reported = cli.ok("--help")
    assert cli.ok("-h").out == cli.ok().out == reported.out
    for title in ("Service:", "Tasks:", "Operate:", "Set up:", "Exit status:"):
        assert title in reported.out
    for (name, *rest), command in ALL.items():
        if not rest:
            [summary] = re.findall(rf"^  {name} +(.*)$", reported.out, re.MULTILINE)
            with click.Context(command):
                assert command.help.startswith(summary.rstrip(".")), name


def test_the_documents_have_the_exit_statuses(cli):
    """The help and docs/cli.md list every exit status."""
    from taskflow.cli.exit_status import ExitStatus

    document = (REPOSITORY / "docs/cli.md").read_text("utf-8")
    reported = cli.ok("--help").out
    for status in ExitStatus:
        assert f"| {int(status)} |" in document
        if status is not ExitStatus.PIPE_CLOSED:
            assert re.search(rf"^    {int(status)}  ", reported, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cli, shell):
    assert "_TASKFLOW_COMPLETE" in cli.ok("completion", shell).out


def test_bash_completes_by_the_script(cli):
    """In a real bash, with a command of this name on the path."""
    (cli.folder / "taskflow").write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n')
    (cli.folder / "taskflow").chmod(0o755)
    script = """
        eval "$(taskflow completion bash)"
        complete_as() {
            COMPREPLY=() COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _taskflow_completion taskflow
            echo "${COMPREPLY[@]}"
        }
        complete_as taskflow s
        complete_as taskflow queues p
        complete_as taskflow list --statu
    """
    output = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd=cli.folder,
        env={**cli.environ, "PATH": f"{cli.folder}:{cli.environ['PATH']}"},
    )
    assert output.stderr == ""
    first, second, third = output.stdout.splitlines()
    assert set(first.split()) == {"serve", "submit", "show", "schedules", "stats", "secret", "skip"}
    assert set(second.split()) == {"put", "pause", "purge"}
    assert third == "--status"


IMPORTED = """
import sys
from taskflow.cli import main
for arguments in {commands!r}:
    try:
        main(arguments, prog_name="taskflow")
    except SystemExit:
        pass
    found = {{name.partition(".")[0] for name in sys.modules}}
    print(*arguments, sorted(found & set({packages!r})), file=sys.stderr)
"""
SERVICE = ("quart", "hypercorn", "asks", "psycopg", "structlog", "trio_asyncio", "cronsim")


@pytest.mark.parametrize(
    ("commands", "packages"),
    [
        (["--help", "completion bash"], [*SERVICE, "httpx", "trio", "rich", "msgspec"]),
        (["list", "bench -n 1", "schedules", "stats"], SERVICE),
        (["serve --help"], ["httpx"]),
    ],
    ids=str,
)
def test_modules_that_are_not_imported(cli, commands, packages):
    """The list of commands imports no command, and remote commands do not import the service."""
    words = [command.split() for command in commands]
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(commands=words, packages=packages)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd=cli.folder,
        env=cli.environ,
    )
    reported = ended.stderr.splitlines()
    assert [line for line in reported if line.endswith("]")] == [f"{one} []" for one in commands]


def test_the_help_is_fast(cli):
    """Measured in processor time, beside an interpreter that only imports Click."""
    import resource

    def seconds_of(run: Callable[[], object]) -> float:
        def once() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)

        return min(once() for _ in range(3))

    click = seconds_of(lambda: subprocess.run([sys.executable, "-c", "import click"], check=True))
    assert seconds_of(lambda: cli.ok("--help")) < 5 * click
    assert seconds_of(lambda: cli.ok("list")) < 25 * click


def test_a_terminal_that_only_knows_ascii(cli, memory_server):
    from tests.cli.test_finding import hand_in

    hand_in(
        memory_server, payload="http://x.invalid/\u65e5\u672c", queue="ascii", delay_seconds=3600
    )
    ended = cli.ok("list", "--queue", "ascii", PYTHONIOENCODING="ascii")
    assert "\\u65e5\\u672c" in ended.out
