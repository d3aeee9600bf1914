"""What the documentation says is so: its blocks are run, its links lead somewhere."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.api.conftest import open_database
from tests.pages import REPOSITORY, all_pages, name_of
from tests.pages.blocks import Block, blocks_of, examples, parts_of
from tests.pages.links import anchors, dead_links
from tests.pages.names import unknown_names
from tests.pages.reading import READERS
from tests.pages.running import fault_of, run_page
from tests.pages.shapes import are_alike, is_begun, shape_of
from tests.smoke import local_httpbin

OTHERS = ("CHANGELOG.md", "SECURITY.md", "benchmarks/RESULTS.md", "tests/upgrade/README.md")
HELP = sorted((REPOSITORY / "taskflow" / "cli").rglob("*.py"))
LINKED = [*all_pages(), *(REPOSITORY / name for name in OTHERS)]


@pytest.mark.parametrize("page", all_pages(), ids=name_of)
def test_every_block_is_run_or_excused(page):
    """By its language, or by what the page says of it."""
    blocks = blocks_of(page.read_text("utf-8").splitlines())
    errors = [f"line {block.first}: {error}" for block in blocks if (error := fault_of(block))]
    assert errors == []


@pytest.fixture(scope="module")
def httpbin() -> Iterator[str]:
    """The target of the pages."""
    with local_httpbin() as url:
        yield url


@pytest.mark.parametrize("page", all_pages(), ids=name_of)
def test_the_outputs_of_a_page(page, postgres_server, httpbin):
    """Each command prints what the page shows, except for what differs between runs.

    A page that needs a service uses two nodes on one PostgreSQL in turn, so it also proves that
    each node returns what was sent to the other.
    """
    with open_database(postgres_server) as url:
        assert [str(one) for one in run_page(page, url, httpbin)] == []


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page):
    """Those to files and headings of the repository."""
    assert dead_links(page) == []


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_the_names_in_a_page_exist(page):
    """Settings, tests, and files of the repository."""
    assert unknown_names(page) == []


def test_files_with_keys_are_ignored_by_git(tmp_path):
    """The files that pages and help texts write into the working directory."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    names = {name for path in (*all_pages(), *HELP) for name in key_files(path.read_text("utf-8"))}
    assert {"keys", "prometheus-key", "secret", "secrets", "webhook-secrets"} <= names
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    shutil.copy(REPOSITORY / ".gitignore", tmp_path)
    command = ["git", "-C", tmp_path, "check-ignore", *names, ".env"]
    ignored = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert set(ignored) == {*names, ".env"}


def key_files(text: str) -> list[str]:
    """The relative paths that keys and secrets are redirected to."""
    commands = re.findall(r"\b(?:secret|key) new\b[^\n`|]*", text)
    return [name for command in commands for name in re.findall(r"> *([\w.-][\w./-]*)", command)]


def test_names_of_nothing(tmp_path):
    """A setting, a test, a file and a folder that there are not, beside some that there are."""
    page = tmp_path / "page.md"
    nothing = [
        "TASKFLOW_NO" + "THING",
        "test_of_no" + "thing_at_all",
        "fetch/nothing.py",
        "tests/none/",
    ]
    there = ["TASKFLOW_BIND", "test_names_of_nothing", "fetch/guard.py", "tests/pages/", "./run.sh"]
    page.write_text(" ".join(f"`{name}`" for name in [*nothing, *there]), "utf-8")
    assert unknown_names(page) == sorted(nothing)


def test_it_finds_differences():
    """A missing field, another status and other words are differences; other ids are not."""
    output = ['{"id":"01a20c58-b6fd-77bf-9328-1ccde011d8da","status":"PENDING","size":3,"ms":1.5}']
    same = ['{"id":"01a20d1e-2a79-7000-94e9-546a72be57d8","status":"PENDING","size":3,"ms":2}']
    assert shape_of(same) == shape_of(output)
    for other in (
        output[0].replace(',"ms":1.5', ""),
        output[0].replace("PENDING", "FAILED"),
        output[0].replace('"size":3', '"size":4'),
        output[0].replace("1.5", '"1.5"'),
    ):
        assert shape_of([other]) != shape_of(output)
    assert shape_of(["HTTP/1.1 201"]) != shape_of(["HTTP/1.1 200"])
    assert shape_of(["etag: a", "x: 1"]) != shape_of(["etag: a"])


def test_lines_that_are_left_out():
    """They may be any; those beside them must be there, in their order."""
    assert are_alike(["a", "...", "d"], ["a", "b", "c", "d"])
    assert are_alike(["a", "...", "b"], ["a", "b", "a", "b"])
    assert not are_alike(["a", "...", "d"], ["a", "b"])
    assert not are_alike(["a", "...", "d"], ["a", "d", "e"])
    assert not are_alike(["...", "b", "...", "a"], ["a", "b"])
    assert is_begun(["a", "...", "c"], ["a", "b", "c", "d"])
    assert not is_begun(["a", "...", "c"], ["a", "b"])


def test_blocks_are_found():
    """With what is said of each, also where they are indented; and each command of a console."""
    page = [
        *("<!-- file: x.py -->", "```python", "a = 1", "```", "", "1. so", "   ```console"),
        *("   $ a \\", "       b", "   c", "   $ d", "   ```", "<!-- stop: x -->"),
    ]
    saved, console, stop = parts_of(page)
    assert saved == Block("python", ["a = 1"], 2, {"file": "x.py"})
    assert [(one.command, one.output) for one in examples(console)] == [
        ("a \\\n    b", ["c"]),
        ("d", []),
    ]
    assert (stop.kind, stop.text) == ("stop", "x")


@pytest.mark.parametrize(
    "lines",
    [
        ["```python", "a"],
        ["<!-- ends: x -->"],
        ["<!-- not run: because -->", "text", "```", "```"],
    ],
)
def test_pages_that_say_nonsense(lines):
    """A block without an end, a comment that means nothing, one that is about no block."""
    with pytest.raises(ValueError, match=r"line \d"):
        parts_of(lines)


@pytest.mark.parametrize(
    ("language", "notes", "is_well"),
    [
        ("console", {}, True),
        ("python", {}, True),
        ("yaml", {}, True),
        ("", {}, False),
        ("cobol", {}, False),
        ("cobol", {"not run": "there is no such machine here"}, True),
        ("cobol", {"not run": "docker"}, False),
        ("cobol", {"run by": "tests/test_pages.py"}, True),
        ("cobol", {"run by": "tests/test_nothing.py"}, False),
    ],
)
def test_excuses(language, notes, is_well):
    """A block is run by its language, or there is a reason, or a test that there is."""
    assert (fault_of(Block(language, ["x"], 1, notes)) is None) == is_well


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("json", "{"),
        ("yaml", "a: [b"),
        ("toml", "a ="),
        ("ini", "a = b"),
        ("env", "TASKFLOW_BEND=1"),
        ("sh", "if true"),
        ("go", "func a() {"),
        ("mermaid", "drawing\n  a"),
    ],
)
def test_invalid_blocks(language, text):
    """Each reader reports what is wrong with a block."""
    with pytest.raises((ValueError, yaml.YAMLError, configparser.Error)):
        READERS[language](text)


def test_terminals(tmp_path):
    """A command prints for a terminal where the page says so, and else for none."""
    page = tmp_path / "page.md"
    command = "$ if [ -t 1 ]; then echo $COLUMNS; else echo none; fi"
    blocks = ["```console", command, "none", "```", "<!-- terminal: 77 -->"]
    page.write_text("\n".join([*blocks, "```console", command, "77", "```"]), "utf-8")
    assert run_page(page, None) == []


def test_headings_as_they_are_linked(tmp_path):
    """The way GitHub makes them."""
    page = tmp_path / "page.md"
    page.write_text("# What's *this*?\n## A `b` c\n## A `b` c\n```\n# no heading\n```\n", "utf-8")
    assert anchors(page) == {"whats-this", "a-b-c", "a-b-c-1"}
