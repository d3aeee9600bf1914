"""What the README says of the API is so."""

from __future__ import annotations

import re
import time

from taskflow.model.signing import Signer, secret_of
from tests.api.conftest import open_database
from tests.loopback import SECRET
from tests.readme import PYTHON, README, Session, examples, live, python_blocks, shape_of

LOGGED = re.compile(r"\d{4}-\d\d-\d\dT|\d{4}-\d\d-\d\d ")  # by the services, in this very process


def test_the_examples_of_the_api(postgres_server):
    """Each command of the chapter prints what the README says, in shape.

    Two nodes on one PostgreSQL are asked in turn, so what the one was told is asked of the other.
    """
    lines = README.read_text("utf-8").splitlines()
    with open_database(postgres_server) as url, live(url, nodes=2) as session:
        different = [told for example in examples(lines) if (told := difference(session, example))]
    assert different == []


def difference(session: Session, example) -> str | None:
    """What is printed, if that is not what the README says."""
    output = session.run(example)
    if shape_of(output) == shape_of(example.output):
        return None
    return "\n".join(["$ " + example.command, *output])


def test_it_finds_differences():
    """A missing field, another status and other words are differences; other ids are not."""
    said = ['{"id":"01a20c58-b6fd-77bf-9328-1ccde011d8da","status":"PENDING","size":3,"ms":1.5}']
    same = ['{"id":"01a20d1e-2a79-7000-94e9-546a72be57d8","status":"PENDING","size":3,"ms":2}']
    assert shape_of(same) == shape_of(said)
    for other in (
        said[0].replace(',"ms":1.5', ""),
        said[0].replace("PENDING", "FAILED"),
        said[0].replace('"size":3', '"size":4'),
        said[0].replace("1.5", '"1.5"'),
    ):
        assert shape_of([other]) != shape_of(said)
    assert shape_of(["HTTP/1.1 201"]) != shape_of(["HTTP/1.1 200"])
    assert shape_of(["etag: a", "x: 1"]) != shape_of(["etag: a"])


def received() -> dict[str, object]:
    """What the receiver of a callback has."""
    body = b'{"status": "COMPLETED"}'
    fields = Signer([secret_of(SECRET)]).headers("id", body, timestamp=int(time.time()))
    return {"secret": SECRET, "headers": dict(fields), "body": body}


def test_the_examples_in_python(postgres_server, capsys):
    """They run, one after the other, and print what is said beside each ``print``."""
    lines = PYTHON.read_text("utf-8").splitlines()
    with open_database(postgres_server) as url, live(url, nodes=2) as session:
        names: dict[str, object] = received()
        for block in python_blocks(README.read_text("utf-8").splitlines() + lines):
            comments = re.findall(r"^\s*print\(.*\)  # (.*)$", block, re.MULTILINE)
            said = [line for comment in comments for line in re.split(r", (?=#)", comment)]
            program = session.translated(block).replace("postgresql://localhost/tasks", url)
            capsys.readouterr()
            exec(compile(program, str(PYTHON), "exec"), names)
            printed = capsys.readouterr().out.splitlines()
            assert [line for line in printed if not LOGGED.match(line)] == said
