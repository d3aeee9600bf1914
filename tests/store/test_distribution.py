"""A schema can be distributed by Citus: the rules that it keeps, and its distributed form.

Citus is no part of the suite. The distributed form works on any PostgreSQL; ``test_citus.py``
needs a cluster.
"""

from __future__ import annotations

import re

import psycopg
import pytest

from taskflow import enqueue
from taskflow.settings import Settings
from taskflow.store.postgres import distribution
from taskflow.store.postgres.distribution import distribute, statements_of
from taskflow.store.postgres.migrate import migrate, migrations
from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.scoped_statements import scoped_variants
from taskflow.store.postgres.store import open_postgres
from tests.store.alerts_contract import AlertContract
from tests.store.callbacks_contract import CallbacksContract
from tests.store.contract import completed, new_task
from tests.store.credentials_contract import CredentialsContract
from tests.store.flow_contract import FlowContract
from tests.store.graphs_contract import GraphContract
from tests.store.groups_contract import GroupContract
from tests.store.heartbeats_contract import HeartbeatsContract
from tests.store.monitoring_contract import MonitoringContract
from tests.store.order_keys_contract import OrderContract
from tests.store.parking_contract import ParkingContract
from tests.store.signing_keys_contract import SigningKeysContract
from tests.store.topics_contract import TopicContract
from tests.store.uniqueness_contract import UniquenessContract

FEW = Settings(database_timeout_seconds=2.0, database_connections=2)
QUERIES = {**load_queries(), **scoped_variants(load_queries())}
FIRST_FOR_CITUS = 34
TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+(taskflow_\w+)\b(?!\()")
TRANSITION_TABLE = re.compile(r"\b(?:FROM|JOIN)\s+(?:after|before)\b")


@pytest.fixture
def distributed_url(database_url):
    """A database without Citus, whose schema has the form for it."""
    with psycopg.connect(database_url) as connection:
        assert distribute(connection, "public")
    return database_url


@pytest.fixture
def connection(distributed_url):
    with psycopg.connect(distributed_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def store(distributed_url):
    async with open_postgres(distributed_url, FEW) as store:
        yield store


# Rules for functions


def functions(connection):
    """Name, body, settings and result type of each function."""
    return connection.execute(
        "SELECT proname, prosrc, coalesce(proconfig, '{}'), prorettype::regtype::text FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace AND proname ^@ 'taskflow_'"
    ).fetchall()


def test_functions_have_a_search_path(connection):
    """On a worker no other path applies; functions that call none and read nothing need none."""
    unpinned = {
        name
        for name, body, settings, result in functions(connection)
        if (
            ("taskflow_" in body or result == "trigger")
            and not {"citus.allow_nested_distributed_execution=on"}.issubset(settings)
        )
        or ("taskflow_" in body and not any(one.startswith("search_path=") for one in settings))
    }
    assert len(functions(connection)) > 40
    assert unpinned == set()


def test_no_statement_reads_a_transition_table_and_a_table(connection):
    """Citus plans statements on tables anew, where transition tables do not exist."""
    mixed, read = [], 0
    for name, body, _, result in functions(connection):
        if result != "trigger":
            continue
        for statement in re.split(r";|\bTHEN\b", re.sub(r"--[^\n]*", "", body)):
            if TRANSITION_TABLE.search(statement):
                read += 1
                if TABLE.search(statement):
                    mixed.append(name)
    assert read > 5
    assert mixed == []


def test_functions_do_not_notify(connection):
    """A notification of a worker reaches no node."""
    notifying = [name for name, body, *_ in functions(connection) if "pg_notify" in body]
    assert notifying == []


def test_compared_numbers_are_no_numbers_of_sequences(connection):
    """Rows of columns with a sequence are numbered by a trigger, and events by their functions."""
    columns = connection.execute(
        "SELECT c.relname, a.attname, array_agg(t.tgname) FROM pg_attribute AS a "
        "JOIN pg_class AS c ON c.oid = a.attrelid LEFT JOIN pg_trigger AS t "
        "ON t.tgrelid = c.oid AND t.tgname ~ '_numbered$' WHERE a.attidentity <> '' GROUP BY 1, 2"
    ).fetchall()
    assert len(columns) == 5
    unnumbered = {table for table, _, triggers in columns if triggers == [None]}
    assert unnumbered == {"taskflow_events"}  # taskflow_last_event()


# Rules for statements


def test_functions_ask_for_no_generic_plans(connection):
    """Citus needs the values of parameters; a plain schema keeps the generic plans."""
    modes = {
        name: [one for one in settings if one.startswith("plan_cache_mode=")]
        for name, _, settings, _ in functions(connection)
    }
    asking = {name: mode for name, mode in modes.items() if mode}
    assert asking.keys() == {"taskflow_enqueue", "taskflow_enqueue_many"}
    assert all(mode == ["plan_cache_mode=force_custom_plan"] for mode in asking.values())


def test_statements_return_no_void(connection):
    """Citus refuses columns of the type void."""
    void = [name for name, *_, result in functions(connection) if result == "void"]
    arguments = r"\((?:[^()]|\([^()]*\))*\)"
    called = re.compile(rf"\b({'|'.join(void)}|pg_advisory_xact_lock){arguments}(?! IS NOT NULL)")
    returning = {name for name, text in QUERIES.items() if called.search(text)}
    # Executed on the coordinator, since they read no table.
    assert returning == {"make_room", "complete_held_group"}


def test_statements_on_tables_do_not_notify_or_lock_by_themselves():
    """Statements on tables are executed on a worker, and other ones on the coordinator."""
    for name, text in QUERIES.items():
        if TABLE.search(text):
            assert "pg_notify(" not in text, name
        elif re.search(r"pg_advisory|set_config\('(?!synchronous_commit)", text):
            raise AssertionError(f"{name} locks or sets on the coordinator only")


@pytest.mark.parametrize(
    ("clause", "reason"),
    [
        (r"DO UPDATE\s+SET[^()]*?\b(now|clock_timestamp)\(\)", "upserts set immutable values"),
        (r"\bRETURNING\b[^;)]*?\b(now|clock_timestamp)\(\)", "only immutable values are returned"),
        (r"MATERIALIZED \([^;]*?JOIN unnest\([^;]*?FOR (NO KEY )?UPDATE OF", "no locks in joins"),
        (r"WHERE known\.expires_at <= now\(\)", "upserts have immutable conditions"),
    ],
)
def test_statements_that_citus_cannot_plan(clause, reason):
    """What Citus 13 refuses in statements that write."""
    refused = [name for name, text in QUERIES.items() if re.search(clause, text)]
    assert refused == [], reason


def test_later_migrations_can_be_applied_to_a_distributed_schema():
    """One constraint per ALTER TABLE, and no identity columns."""
    later = [step for step in migrations() if step.version >= FIRST_FOR_CITUS]
    assert later
    for step in later:
        for statement in statements_of(re.sub(r"--[^\n]*", "", step.sql)):
            if "ADD CONSTRAINT" in statement:
                assert statement.count("ADD ") == 1, step.name
            assert "AS IDENTITY" not in statement, step.name


def test_scripts_are_split_into_statements():
    """Semicolons in functions, quoted text and comments do not end a statement."""
    script = "SELECT ';'; -- a; b\nDO $body$ BEGIN; $$ ; $$; END $body$; CREATE TABLE \"a;b\" ();\n"
    assert [one.strip() for one in statements_of(script)] == [
        "SELECT ';';",
        "-- a; b\nDO $body$ BEGIN; $$ ; $$; END $body$;",
        'CREATE TABLE "a;b" ();',
    ]
    for step in migrations():
        statements = list(statements_of(step.sql))
        assert "".join(statements).rstrip() == step.sql.rstrip()
        several = re.compile(r"^CREATE.*^CREATE", re.MULTILINE | re.DOTALL)
        assert not any(several.search(one) for one in statements)


# The form


def test_the_form_is_applied_once(connection, monkeypatch):
    """It is applied again after migrations, and if it or the name of the schema has changed."""
    assert not distribute(connection, "public")
    assert distribute(connection, "public", is_changed=True)
    assert not distribute(connection, "public")
    monkeypatch.setattr(distribution, "_script", lambda: "SELECT 1;")
    assert distribute(connection, "public")


def test_a_renamed_schema(connection):
    """Functions get the new name as their search path when the nodes start."""
    connection.execute("ALTER SCHEMA public RENAME TO moved")
    connection.execute("SET search_path = moved")
    insert = "INSERT INTO taskflow_tasks (payload, size_bytes) VALUES ('1', 1)"
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute(insert)
    assert distribute(connection, "moved")
    connection.execute(insert)


@pytest.mark.parametrize(
    "call",
    [
        *("taskflow_is_over(now())", "taskflow_after(1)", "taskflow_or_now(now())"),
        *("taskflow_now_if(true)", "taskflow_age(now())", "taskflow_notify('a', 'b')"),
    ],
)
def test_other_schemas_do_not_pay(database_url, call):
    """The planner replaces the functions that only Citus needs by their bodies."""
    with psycopg.connect(database_url) as connection:
        plan = connection.execute(f"EXPLAIN VERBOSE SELECT {call} FROM taskflow_tasks").fetchall()
    assert "taskflow_tasks" in str(plan)
    assert call.partition("(")[0] not in str(plan)


def test_migrations_leave_other_schemas_alone(database_url):
    """A schema that Citus does not distribute keeps the functions of the migrations."""
    with psycopg.connect(database_url) as connection:
        assert migrate(connection) == []
        assert connection.execute("SELECT taskflow_distributed_form()").fetchall() == [(None,)]
        [(pinned,)] = connection.execute(
            "SELECT count(proconfig) FROM pg_proc WHERE proname ^@ 'taskflow_' AND NOT prosecdef"
        )
        assert pinned == 0


def test_numbers_grow(connection):
    """Numbers of a session are different, and grow with the time."""
    rows = connection.execute(
        "SELECT taskflow_next_number() FROM generate_series(1, 1000)"
    ).fetchall()
    numbers = [number for (number,) in rows]
    assert sorted(set(numbers)) == numbers


def test_tables_without_a_key_can_be_moved(connection):
    """Their rows are identified by all columns; else none could be deleted during a move."""
    rows = connection.execute(
        "SELECT c.relname, c.relreplident FROM pg_class AS c WHERE c.relnamespace = "
        "'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT EXISTS ("
        "SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)"
    ).fetchall()
    assert len(rows) == 3
    assert {identity for _, identity in rows} == {"f"}


def test_functions_with_the_rights_of_the_owner_stay_so(connection, database_url):
    """And their search path ends with temporary tables, which the caller could have made."""
    rows = connection.execute(
        "SELECT proname, proconfig FROM pg_proc WHERE prosecdef AND proname ^@ 'taskflow_'"
    ).fetchall()
    assert {"taskflow_record_enqueued", "taskflow_enqueue", "taskflow_enqueue_many"} == {
        name for name, _ in rows
    }
    for _, settings in rows:
        [path] = [one for one in settings if one.startswith("search_path=")]
        assert path.endswith("pg_temp")


async def test_events_are_numbered_without_gaps(store):
    """The numbers of events follow one another, in the order of their commits."""
    first = await store.record_events()
    node = await store.register("here", lease_seconds=30)
    await store.add([new_task(), new_task()])
    claims = await store.claim(node, limit=2)
    await store.settle([completed(claim) for claim in claims])
    page = await store.events_after(first, limit=100)
    assert [event.id - first for event in page.events] == [1, 2, 3, 4, 5, 6]


async def test_other_nodes_are_notified(store, distributed_url):
    """Sessions send the notifications of their statements after the commit, on each channel."""
    with psycopg.connect(distributed_url, autocommit=True) as listener:
        listener.execute("LISTEN taskflow_work")
        listener.execute("LISTEN taskflow_events")
        await store.record_events()
        await store.add([new_task()])
        notes = list(listener.notifies(timeout=60, stop_after=2))
        assert {note.channel for note in notes} == {"taskflow_work", "taskflow_events"}


def test_an_enqueued_task_is_announced(distributed_url):
    """Programs ignore notices, so enqueue notifies by a statement of its own."""
    with (
        psycopg.connect(distributed_url, autocommit=True) as listener,
        psycopg.connect(distributed_url) as program,
    ):
        listener.execute("LISTEN taskflow_work")
        enqueue(program, "http://a.example/")
        program.commit()
        [note] = listener.notifies(timeout=60, stop_after=1)
        assert note.payload == ""


class DistributedContract(
    OrderContract,
    GraphContract,
    CallbacksContract,
    MonitoringContract,
    CredentialsContract,
    HeartbeatsContract,
    SigningKeysContract,
    TopicContract,
    AlertContract,
    UniquenessContract,
    ParkingContract,
):
    """The conformance suite, in part."""


@pytest.mark.long  # the functions of the plain schema are tested all the time
class TestDistributedForm(FlowContract, GroupContract, DistributedContract):
    """The functions of the distributed form do what the functions of the migrations do."""
