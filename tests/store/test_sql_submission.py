"""The functions that submit tasks with SQL: their generated parts, and who may call them."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from taskflow.client.options import KNOWN
from taskflow.enqueuing import enqueue
from taskflow.settings.fields import Settings
from taskflow.store.postgres.migrate import migrate
from tests.databases import new_database, new_schemas
from tools.sql_submission import newest_with, parts, parts_in

SCHEMAS = ("taskflow", "other")
TASK = '"https://example.com/"'
Connection = psycopg.Connection[Any]
PROMISED = {
    "taskflow_enqueue": [
        "payload jsonb",
        "queue text DEFAULT 'default'::text",
        "max_attempts integer DEFAULT NULL::integer",
        "priority integer DEFAULT NULL::integer",
        "run_at timestamp with time zone DEFAULT NULL::timestamp with time zone",
        "delay_seconds double precision DEFAULT NULL::double precision",
        "expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone",
        "backoff jsonb DEFAULT NULL::jsonb",
        "retry_on jsonb DEFAULT NULL::jsonb",
        "success_on jsonb DEFAULT NULL::jsonb",
        "sign boolean DEFAULT NULL::boolean",
        "credential text DEFAULT NULL::text",
        '"unique" jsonb DEFAULT NULL::jsonb',
        "debounce jsonb DEFAULT NULL::jsonb",
        "tags jsonb DEFAULT NULL::jsonb",
        "completion jsonb DEFAULT NULL::jsonb",
        "callback_url text DEFAULT NULL::text",
        "retention_seconds double precision DEFAULT NULL::double precision",
        "order_key text DEFAULT NULL::text",
        "on_failure text DEFAULT NULL::text",
        '"group" uuid DEFAULT NULL::uuid',
        "name text DEFAULT NULL::text",
        "after uuid[] DEFAULT NULL::uuid[]",
        "on_parent_failure text DEFAULT NULL::text",
        "idempotency_key text DEFAULT NULL::text",
    ],
    "taskflow_enqueue_many": ["tasks jsonb", "idempotency_key text DEFAULT NULL::text"],
}
_BODY = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'executed as %', current_user; END $$"
# Each with a call that executes it, unless that is refused.
OVERLOADS = {
    f"CREATE FUNCTION taskflow.format(text, text, text) RETURNS text {_BODY}": (
        "enqueue('1', priority => 500)"
    ),
    f"CREATE FUNCTION taskflow.format(text, integer, text) RETURNS text {_BODY}": (
        "enqueue_many('[]')"
    ),
    f"CREATE FUNCTION taskflow.jsonb_build_array(jsonb) RETURNS jsonb {_BODY}": "enqueue('1')",
    f"CREATE FUNCTION taskflow.joined(text, bigint) RETURNS text {_BODY};"
    "CREATE OPERATOR taskflow.|| (LEFTARG = text, RIGHTARG = bigint, FUNCTION = taskflow.joined)": (
        "enqueue_many('[1]')"
    ),
}


@pytest.fixture(scope="module")
def urls(postgres_server: str) -> Iterator[list[str]]:
    """Two installations in schemas of one database: one has the name taskflow."""
    with new_schemas(postgres_server, SCHEMAS) as urls:
        yield urls


@pytest.fixture
def owner(urls: list[str]) -> Iterator[Connection]:
    with psycopg.connect(urls[0], autocommit=True) as connection:
        yield connection


@pytest.fixture
def caller(owner: Connection, urls: list[str]) -> Iterator[Connection]:
    """A connection of a role that is a member of taskflow_enqueuer and nothing else."""
    with as_new_role(owner, urls[0]) as (name, connection):
        owner.execute(sql.SQL("GRANT taskflow_enqueuer TO {}").format(sql.Identifier(name)))
        yield connection


@contextlib.contextmanager
def as_new_role(owner: Connection, url: str) -> Iterator[tuple[str, Connection]]:
    """A connection of a new role without privileges, with an ordinary search path."""
    name = f"caller_{uuid.uuid4().hex}"
    role = sql.Identifier(name)
    owner.execute(sql.SQL("CREATE ROLE {}").format(role))
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
            connection.execute("SET search_path = public")
            yield name, connection
    finally:
        owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
        owner.execute(sql.SQL("DROP ROLE {}").format(role))


def one(connection: Connection, statement: str, *parameters: object) -> Any:
    """The only value of a query."""
    [(value,)] = connection.execute(statement, parameters).fetchall()  # type: ignore[arg-type]
    return value


def is_stored(owner: Connection, task_id: uuid.UUID, schema: str = "taskflow") -> bool:
    return one(owner, f"SELECT EXISTS (SELECT FROM {schema}.taskflow_tasks WHERE id = %s)", task_id)


class TestGenerated:
    @pytest.mark.parametrize("name", parts())
    def test_a_part_says_what_the_declarations_say(self, name):
        """If not: `python -m tools.sql_submission`, in a new migration if this one is released."""
        assert parts_in(newest_with(name))[name] == parts()[name]

    def test_the_database_has_the_newest_parts(self, owner):
        """The functions of the database are the ones of these parts."""
        names = one(owner, "SELECT taskflow_submission_rules() #> '{task,names}'")
        assert set(names) == KNOWN | {"payload"}

    def test_the_arguments_are_the_fields_of_a_task(self, owner):
        """In the schema taskflow both names exist, elsewhere the one with the prefix."""
        found = owner.execute(
            "SELECT p.pronamespace::regnamespace::text || '.' || p.proname, p.proargnames"
            " FROM pg_proc AS p WHERE p.proname IN ('enqueue', 'taskflow_enqueue') ORDER BY 1"
        ).fetchall()
        expected = KNOWN | {"payload", "idempotency_key"}
        assert {name: set(arguments) for name, arguments in found} == {
            "other.taskflow_enqueue": expected,
            "taskflow.enqueue": expected,
            "taskflow.taskflow_enqueue": expected,
        }

    @pytest.mark.parametrize("name", PROMISED)
    def test_the_promised_arguments(self, owner, name):
        """Callers of earlier versions rely on them: a change needs two minor versions (how-to)."""
        found = one(owner, "SELECT pg_get_function_arguments(%s::regproc)", f"taskflow.{name}")
        arguments = found.split(", ")
        assert [one for one in PROMISED[name] if one not in arguments] == []
        assert arguments[0] == PROMISED[name][0]
        assert name == "taskflow_enqueue_many" or arguments[1].startswith("queue text")


class TestPermissions:
    def test_a_member_submits(self, owner, caller):
        """It submits tasks, one and several, and their events are recorded at the commit."""
        owner.execute(
            "INSERT INTO taskflow_event_log (recorded_until) VALUES (now()) ON CONFLICT DO NOTHING"
        )
        owner.execute("UPDATE taskflow_event_log SET recorded_until = now() + interval '1 hour'")
        with caller.transaction():
            task_id = one(caller, "SELECT taskflow.enqueue(%s)", TASK)
            more = caller.execute(
                "SELECT taskflow.enqueue_many(%s)", [f'[{{"payload": {TASK}}}, {{"payload": 1}}]']
            ).fetchall()
        ids = [task_id, *(one for (one,) in more)]
        recorded = owner.execute(
            "SELECT task_id FROM taskflow_events WHERE task_id = ANY (%s) ORDER BY id", [ids]
        )
        assert [found for (found,) in recorded] == ids

    def test_a_member_can_do_nothing_else(self, owner, caller):
        """It has no privilege on tables and sequences, and no other function has some."""
        for schema in SCHEMAS:
            relations = owner.execute(
                "SELECT c.oid, c.relkind FROM pg_class AS c"
                " WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')",
                [schema],
            ).fetchall()
            assert relations
            for oid, kind in relations:
                privileges = (
                    "USAGE, SELECT, UPDATE"
                    if kind == "S"
                    else "SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"
                )
                function = "has_sequence_privilege" if kind == "S" else "has_table_privilege"
                assert not one(caller, f"SELECT {function}(%s::oid, %s)", oid, privileges), oid
            assert not one(caller, "SELECT has_schema_privilege(%s, 'CREATE')", schema)
        definers = owner.execute(
            "SELECT DISTINCT p.proname FROM pg_proc AS p WHERE p.prosecdef"
            " AND p.pronamespace::regnamespace::text = ANY (%s)"
            " AND has_function_privilege('taskflow_enqueuer', p.oid, 'EXECUTE')",
            [list(SCHEMAS)],
        ).fetchall()
        allowed = {"enqueue", "enqueue_many"}
        assert {name for (name,) in definers} == allowed | {f"taskflow_{name}" for name in allowed}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            caller.execute("SELECT FROM taskflow.taskflow_tasks")

    def test_another_role_can_do_nothing(self, owner, urls):
        """PUBLIC may execute none of them, and use no schema of TaskFlow."""
        functions = owner.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.prosecdef"
            " AND p.pronamespace::regnamespace::text = ANY (%s)",
            [list(SCHEMAS)],
        ).fetchall()
        with as_new_role(owner, urls[0]) as (name, other):
            for (function,) in functions:
                assert not one(
                    owner, "SELECT has_function_privilege(%s, %s, 'EXECUTE')", name, function
                )
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute("SELECT taskflow.enqueue(%s)", [TASK])

    def test_other_schemas(self, owner, caller):
        """A task is stored in the schema of the function, whatever the search path is."""
        caller.execute("SET search_path = taskflow")
        task_id = one(caller, "SELECT other.taskflow_enqueue(%s)", TASK)
        assert is_stored(owner, task_id, "other")
        assert not is_stored(owner, task_id)

    def test_a_role_of_its_own(self, owner, urls):
        """A role for one installation only, as the how-to says."""
        with as_new_role(owner, urls[0]) as (name, connection):
            grants = (
                "GRANT USAGE ON SCHEMA other TO {0};"
                "GRANT EXECUTE ON FUNCTION other.taskflow_enqueue TO {0}"
            )
            owner.execute(sql.SQL(grants).format(sql.Identifier(name)))
            assert is_stored(
                owner, one(connection, "SELECT other.taskflow_enqueue(%s)", TASK), "other"
            )
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT taskflow.enqueue(%s)", [TASK])

    def test_without_the_privilege_to_create_roles(self, postgres_server):
        """The migration does without the role; the statements of the how-to make up for it."""
        owner = f"owner_{uuid.uuid4().hex}"
        with (
            new_database(postgres_server, is_migrated=False) as url,
            psycopg.connect(url) as connection,
        ):
            connection.execute("ALTER ROLE taskflow_enqueuer RENAME TO former_enqueuer")
            connection.execute(f"CREATE ROLE {owner}; CREATE SCHEMA taskflow AUTHORIZATION {owner}")
            connection.execute(f"SET ROLE {owner}; SET search_path = taskflow")
            migrate(connection)
            roles = "SELECT count(*) FROM pg_roles WHERE rolname = 'taskflow_enqueuer'"
            assert one(connection, roles) == 0
            connection.execute("RESET ROLE; CREATE ROLE taskflow_enqueuer NOLOGIN")
            connection.execute(
                "GRANT USAGE ON SCHEMA taskflow TO taskflow_enqueuer;"
                "GRANT EXECUTE ON FUNCTION taskflow.enqueue TO taskflow_enqueuer"
            )
            connection.execute("SET ROLE taskflow_enqueuer; SET search_path = public")
            assert one(connection, "SELECT taskflow.enqueue(%s)", TASK)
            connection.rollback()

    def test_the_default_privileges(self, owner, caller):
        """PUBLIC may execute the functions, after a restore without privileges: calls fail."""
        owner.execute("GRANT EXECUTE ON FUNCTION other.taskflow_enqueue_many TO PUBLIC")
        try:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="every role may submit"):
                caller.execute("SELECT other.taskflow_enqueue(%s)", [TASK])
            assert caller.execute("SELECT taskflow.enqueue(%s)", [TASK]).fetchall()
        finally:
            owner.execute("REVOKE ALL ON FUNCTION other.taskflow_enqueue_many FROM PUBLIC")


class TestAttacks:
    """Nothing that a caller creates or sets decides what the functions execute."""

    def test_objects_of_the_caller(self, owner, caller):
        """Functions, operators and tables of the same names, also temporary ones, are not used."""
        user = sql.Identifier(one(caller, "SELECT current_user::text"))
        owner.execute(sql.SQL("CREATE SCHEMA evil AUTHORIZATION {}").format(user))
        owner.execute(
            sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(
                sql.Identifier(conninfo_to_dict(owner.info.dsn)["dbname"]), user
            )
        )
        try:
            caller.execute(EVIL)
            caller.execute("SET search_path = evil, pg_temp, pg_catalog, taskflow")
            with caller.transaction():
                task_id = one(caller, "SELECT taskflow.enqueue(%s, tags => '{\"a\": 1}')", TASK)
            assert is_stored(owner, task_id)
            caller.execute("SET search_path = pg_catalog")
            for table in ("pg_temp.taskflow_tasks", "pg_temp.taskflow_tags", "evil.called"):
                assert one(caller, f"SELECT count(*) FROM {table}") == 0
        finally:
            owner.execute("DROP SCHEMA evil CASCADE")

    def test_settings_of_the_caller(self, owner, caller):
        """Settings that triggers, formats and notifications depend on have no effect."""
        before = one(owner, COUNTED)
        with psycopg.connect(owner.info.dsn, autocommit=True) as listening:
            listening.execute("LISTEN taskflow_work")
            for name, value in SETTINGS.items():
                caller.execute("SELECT set_config(%s, %s, false)", [name, value])
            run_at = "2099-01-02 03:04:05+00"
            task_id = one(
                caller,
                "SELECT taskflow.enqueue(%s, run_at => %s, delay_seconds => NULL)",
                TASK,
                run_at,
            )
            kept = one(
                owner,
                "SELECT run_at = %s::timestamptz FROM taskflow_tasks WHERE id = %s",
                run_at,
                task_id,
            )
            assert kept
            assert one(owner, COUNTED) == before + 1
            assert next(listening.notifies()).channel == "taskflow_work"
        for name, value in SETTINGS.items():
            assert one(caller, "SELECT current_setting(%s)", name).startswith(value)

    def test_the_trigger_of_events_cannot_be_borrowed(self, owner, caller):
        """A trigger on a table of the caller cannot write events."""
        owner.execute("CREATE SCHEMA mine")
        try:
            owner.execute(
                sql.SQL("ALTER SCHEMA mine OWNER TO {}").format(
                    sql.Identifier(one(caller, "SELECT current_user::text"))
                )
            )
            caller.execute("CREATE TABLE mine.t (id uuid, queue text, tags json)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                caller.execute(
                    "CREATE TRIGGER t AFTER INSERT ON mine.t FOR EACH ROW"
                    " EXECUTE FUNCTION taskflow.taskflow_record_enqueued()"
                )
        finally:
            owner.execute("DROP SCHEMA mine CASCADE")


class TestOverloads:
    """A better match in the schema of the tables than the function of pg_catalog is not called."""

    @pytest.fixture
    def attacked(self, postgres_server: str) -> Iterator[tuple[Connection, Connection, str]]:
        """The owner, a caller that may create objects in the schema, and its name."""
        with (
            new_schemas(postgres_server, SCHEMAS[:1]) as [url],
            psycopg.connect(url, autocommit=True) as owner,
            as_new_role(owner, url) as (name, caller),
        ):
            owner.execute(
                sql.SQL(
                    "GRANT taskflow_enqueuer TO {0}; GRANT CREATE, USAGE ON SCHEMA taskflow TO {0}"
                ).format(sql.Identifier(name))
            )
            yield owner, caller, name

    @pytest.mark.parametrize(("overload", "call"), OVERLOADS.items())
    @pytest.mark.parametrize("is_revoked", [False, True])
    def test_an_overload(self, attacked, overload, call, is_revoked):
        """Neither while its owner may create more of them, nor afterwards."""
        owner, caller, name = attacked
        caller.execute(overload)
        if is_revoked:
            owner.execute(f"REVOKE CREATE ON SCHEMA taskflow FROM {name}")
        message = "of the role" if is_revoked else f"{name} may create functions in the schema"
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=message) as caught:
            caller.execute(f"SELECT taskflow.{call}")
        assert caught.value.diag.message_hint
        owner.execute(f"DROP OWNED BY {name}")
        owner.execute(f"GRANT taskflow_enqueuer TO {name}")
        assert one(caller, "SELECT taskflow.enqueue(%s)", TASK)

    def test_public_may_create(self, attacked):
        """As in databases that were made by PostgreSQL 14; the API and others are not affected."""
        owner, caller, name = attacked
        owner.execute(
            f"REVOKE CREATE ON SCHEMA taskflow FROM {name};"
            "GRANT CREATE ON SCHEMA taskflow TO PUBLIC"
        )
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match="PUBLIC may create"
        ) as found:
            caller.execute("SELECT taskflow.enqueue(%s)", [TASK])
        assert found.value.diag.message_hint == "REVOKE CREATE ON SCHEMA taskflow FROM PUBLIC"
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="PUBLIC may create"):
            owner.execute("SELECT taskflow.enqueue(%s)", [TASK])
        assert enqueue(owner, "no url").id
        owner.execute("REVOKE CREATE ON SCHEMA taskflow FROM PUBLIC")
        assert one(caller, "SELECT taskflow.enqueue(%s)", TASK)

    def test_other_functions_of_other_roles(self, attacked):
        """A function of a name that is not called does not matter, once no more can be made."""
        owner, caller, name = attacked
        caller.execute("CREATE FUNCTION taskflow.shop_total() RETURNS integer RETURN 1")
        owner.execute(f"REVOKE CREATE ON SCHEMA taskflow FROM {name}")
        assert one(caller, "SELECT taskflow.enqueue(%s)", TASK)

    def test_owners_and_superusers(self, attacked):
        """Roles that have the privileges of the owner anyway may create objects."""
        owner, caller, name = attacked
        owner.execute(f"ALTER ROLE {name} SUPERUSER")
        try:
            assert one(caller, "SELECT taskflow.enqueue(%s)", TASK)
        finally:
            owner.execute(f"ALTER ROLE {name} NOSUPERUSER")

    def test_the_role_is_not_granted(self, postgres_server):
        """The migration grants nothing while other roles may create functions, and works."""
        with (
            new_database(postgres_server, is_migrated=False) as url,
            psycopg.connect(url) as connection,
        ):
            connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
            migrate(connection)
            may = (
                "SELECT has_function_privilege('taskflow_enqueuer', p.oid, 'EXECUTE')"
                " FROM pg_proc AS p WHERE proname = 'taskflow_enqueue'"
            )
            assert not one(connection, may)
            assert enqueue(connection, "no url").id


class TestRejections:
    def test_encrypted_payloads(self, owner):
        """While nodes encrypt payloads, SQL stores none in plain text."""
        owner.execute("INSERT INTO taskflow_sql_submission (encrypts_payloads) VALUES (true)")
        try:
            with pytest.raises(psycopg.Error, match="SQL cannot encrypt payloads") as caught:
                owner.execute("SELECT taskflow.enqueue(%s)", [TASK])
            assert caught.value.sqlstate == "TF422"
        finally:
            owner.execute("DELETE FROM taskflow_sql_submission")

    @pytest.mark.parametrize(
        ("tasks", "message"),
        [
            ("{}", "tasks is not a JSON array"),
            ("[" + ", ".join(["{}"] * 10_001) + "]", "an array has 1 to 10000 tasks, not 10001"),
        ],
    )
    def test_arrays(self, owner, tasks, message):
        with pytest.raises(psycopg.Error, match=message):
            owner.execute("SELECT taskflow.enqueue_many(%s)", [tasks])

    @pytest.mark.parametrize(("tasks", "shown"), [("[]", "0"), (None, "NULL")])
    def test_no_tasks(self, owner, tasks, shown):
        """An array without tasks is invalid, as in the API."""
        message = f"an array has 1 to 10000 tasks, not {shown}"
        with pytest.raises(psycopg.Error, match=message) as caught:
            owner.execute("SELECT taskflow.enqueue_many(%s)", [tasks])
        assert caught.value.sqlstate == "TF422"

    def test_a_task_that_is_too_large(self, owner):
        """The limit of the API by default: 413, and 422 with its place in an array."""
        limit = Settings().max_body_bytes
        around = len(json.dumps({"queue": "default", "payload": ""}))
        largest, larger = (json.dumps("x" * (limit - around + more)) for more in (0, 1))
        message = f"the task is longer than {limit} bytes"
        assert owner.execute("SELECT taskflow.enqueue(%s)", [largest]).fetchall()
        with pytest.raises(psycopg.Error, match=message) as caught:
            owner.execute("SELECT taskflow.enqueue(%s)", [larger])
        assert caught.value.sqlstate == "TF413"
        assert json.loads(caught.value.diag.message_detail)["type"] == "/problems/body-too-large"
        tasks = f'[{{"payload": 1}}, {{"payload": {larger}, "queue": "default"}}]'
        with pytest.raises(psycopg.Error, match=message) as caught:
            owner.execute("SELECT taskflow.enqueue_many(%s)", [tasks])
        assert caught.value.sqlstate == "TF422"
        assert json.loads(caught.value.diag.message_detail)["errors"] == [
            {"pointer": "#/1", "detail": f"[1]: {message}"}
        ]

    def test_a_depth_that_cannot_be_kept(self, owner):
        nested = "[" * 501 + "]" * 501
        with pytest.raises(psycopg.Error, match="nested more than 500 levels deep"):
            owner.execute("SELECT taskflow.enqueue(%s)", [nested])
        text = json.dumps(["[{" * 600] * 3)
        assert owner.execute("SELECT taskflow.enqueue(%s)", [text]).fetchall()

    def test_a_replica_session(self, owner):
        """The triggers would not run."""
        with owner.transaction(), pytest.raises(psycopg.Error, match="replica"):
            owner.execute("SET LOCAL session_replication_role = replica")
            owner.execute("SELECT taskflow.enqueue(%s)", [TASK])


EVIL = """
CREATE TABLE evil.called (name text);
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN INSERT INTO evil.called VALUES ('now'); RETURN NULL; END $$;
CREATE FUNCTION evil.jsonb_typeof(jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN INSERT INTO evil.called VALUES ('jsonb_typeof'); RETURN 'string'; END $$;
CREATE FUNCTION evil.taskflow_submit(jsonb, boolean, text) RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN INSERT INTO evil.called VALUES ('taskflow_submit'); RETURN NULL; END $$;
CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN INSERT INTO evil.called VALUES ('='); RETURN true; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
CREATE TABLE evil.taskflow_tasks (id uuid);
CREATE TEMPORARY TABLE taskflow_tasks (id uuid, payload json);
CREATE TEMPORARY TABLE taskflow_tags (name text, value text, task_id uuid);
CREATE TEMPORARY TABLE taskflow_event_log (recorded_until timestamptz);
INSERT INTO evil.called SELECT 'x' WHERE false;
"""
SETTINGS = {
    "taskflow.is_archiving": "on",
    "taskflow.commits_later": "x",
    "taskflow.announces_later": "on",
    "TimeZone": "America/New_York",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-15",
    "transform_null_equals": "on",
    "bytea_output": "escape",
    "check_function_bodies": "off",
}
COUNTED = (
    "SELECT sum(tasks) FROM"
    " (SELECT change FROM taskflow_changes UNION ALL SELECT count FROM taskflow_counts) AS t(tasks)"
)
