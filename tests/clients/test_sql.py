"""The example for Node of the page about SQL, run as it stands there, with ``pg`` from npm."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.clients.vectors import REPOSITORY
from tests.service.database import url_of

PAGE = REPOSITORY / "docs" / "how-to" / "submit-with-sql.md"
PACKAGE = Path(__file__).with_name("sql")
[EXAMPLE] = re.findall(
    r"^```javascript\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
)
INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
TABLE = "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text)"
STORED = "SELECT queue, payload::text FROM taskflow_tasks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with ``pg``, of the version in the lock."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node with npm: the example for Node is not tested")
    folder = tmp_path_factory.mktemp("sql")
    for file in PACKAGE.iterdir():
        shutil.copy(file, folder)
    done = subprocess.run(INSTALL, check=False, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        assert "EUSAGE" not in done.stderr, done.stderr  # the lock does not fit the package
        pytest.skip("npm cannot install pg: the example for Node is not tested")
    return folder


@pytest.fixture
def connection(migrated_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection


def run(folder: Path, url: str, program: str) -> subprocess.CompletedProcess[str]:
    (folder / "submit.mjs").write_text(program, "utf-8")
    return subprocess.run(
        ["node", "submit.mjs"],
        check=False,
        cwd=folder,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
    )


def test_the_example_for_node(folder, connection, migrated_url):
    """The order and its task are stored together."""
    done = run(folder, url_of(migrated_url), EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    [(order,)] = connection.execute("SELECT id FROM orders").fetchall()
    [(queue, payload)] = connection.execute(STORED).fetchall()
    assert queue == "orders"
    assert f'"id":"{order}"' in payload.replace(" ", "")


def test_a_rejected_task(folder, connection, migrated_url):
    """The example prints the reason with its place, and neither is stored."""
    assert EXAMPLE.count(', "orders"]') == 1
    done = run(folder, url_of(migrated_url), EXAMPLE.replace(', "orders"]', ', "no name"]'))
    assert done.returncode == 0
    assert "queue must be 1 to 64" in done.stderr
    assert "pointer: '#/queue'" in done.stderr
    for statement in ("SELECT FROM orders", STORED):
        assert connection.execute(statement).fetchall() == []
