"""Settings of a role, a database or the environment change nothing, or are one clear line."""

from __future__ import annotations

import subprocess
import uuid

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskflow import enqueue
from taskflow.model.errors import TaskFlowError
from taskflow.settings import Settings
from taskflow.store.postgres.store import open_postgres
from tests import forking
from tests.service.database import url_of
from tests.service.processes import clean_environ, running, wait_until
from tests.store.contract import new_task

SETTINGS = Settings(database_timeout_seconds=5.0, database_connections=1)
HARMLESS = {
    "client_encoding": ["LATIN1", "SQL_ASCII"],
    "datestyle": ["SQL, DMY", "German", "Postgres"],
    "intervalstyle": ["iso_8601"],
    "timezone": ["Asia/Kolkata"],
    "bytea_output": ["escape"],
    "extra_float_digits": ["-15"],
    "default_transaction_isolation": ["serializable", "repeatable read"],
    "default_transaction_deferrable": ["on"],
    "client_min_messages": ["error", "debug5"],
    "array_nulls": ["off"],
    "transform_null_equals": ["on"],
    "standard_conforming_strings": ["off"],
    "quote_all_identifiers": ["on"],
    "statement_timeout": ["1ms"],
    "lock_timeout": ["1ms"],
    "idle_session_timeout": ["1ms"],
    "row_security": ["off"],
    "enable_indexscan": ["off"],
    "xmloption": ["document"],
    "transaction_timeout": ["1ms"],
    "idle_in_transaction_session_timeout": ["1ms"],
    "default_tablespace": ["missing"],
    "default_table_access_method": ["missing"],
    "exit_on_error": ["on"],
    "search_path": ["pg_temp, public", "public, pg_catalog", "information_schema, public"],
}
# An ordinary run takes the first value of each setting.
MATRIX = [
    pytest.param(name, value, marks=pytest.mark.long if number else ())
    for name, values in HARMLESS.items()
    for number, value in enumerate(values)
]
SHORT = {
    "statement_timeout",
    "idle_session_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
}
# Settings of a caller's connection; the others belong to the caller.
CALLERS = {
    "client_encoding": ["LATIN1", "SQL_ASCII"],
    "session_replication_role": ["replica"],
    "default_transaction_read_only": ["on"],
    "search_path": ["", "missing"],
}


@pytest.fixture
def database_url(empty_database_url):
    """A database whose tables the roles of the tests create."""
    return empty_database_url


@pytest.fixture
def admin(database_url):
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def role(database_url, admin):
    """A role of its own that owns the schema, and how it connects."""
    name = f"r_{uuid.uuid4().hex[:12]}"
    admin.execute(f"CREATE ROLE {name} LOGIN")
    admin.execute(f"ALTER SCHEMA public OWNER TO {name}")
    yield name
    admin.execute(f"ALTER SCHEMA public OWNER TO {admin.info.user}")
    admin.execute(f"DROP OWNED BY {name} CASCADE")
    admin.execute(f"DROP ROLE {name}")


@pytest.fixture
def role_url(database_url, role):
    return make_conninfo(database_url, user=role)


def alter(admin, role, name, value):
    if name == "transaction_timeout" and admin.info.server_version < 170_000:
        pytest.skip("PostgreSQL 17 and later have it")
    if name == "search_path" and value:  # a list, not one name
        admin.execute(f"ALTER ROLE {role} SET search_path = {value}")
        return
    admin.execute(
        psycopg.sql.SQL("ALTER ROLE {} SET {} = {}").format(
            psycopg.sql.Identifier(role), psycopg.sql.Identifier(name), psycopg.sql.Literal(value)
        )
    )


def migrate(folder, url, **environ) -> subprocess.CompletedProcess[str]:
    return run_command("migrate", folder, url, **environ)


def run_command(name, folder, url, **environ) -> subprocess.CompletedProcess[str]:
    return forking.run(
        [*forking.ARGUMENTS, name],
        cwd=folder,
        env=clean_environ(DATABASE_URL=url_of(url), **environ),
        text=True,
        timeout=60,
    )


async def use(conninfo, settings=SETTINGS) -> None:
    """What a node does: add, find, claim, settle."""
    async with open_postgres(conninfo, settings) as store:
        await store.check()
        [task] = await store.add([new_task(tags={"żółw": "日本"})])
        assert await store.get(task.id) == task
        node = await store.register("there", lease_seconds=30)
        [claim] = await store.claim(node, limit=1)
        assert claim.task_id == task.id
        await store.renew(node)
        assert await store.shared_secret("one") == await store.shared_secret("one")


@pytest.mark.parametrize(("name", "value"), MATRIX)
async def test_settings_of_the_role_do_not_matter(admin, role, role_url, name, value):
    """What they set is pinned by the first message of each connection."""
    alter(admin, role, name, value)
    await use(role_url)
    with psycopg.connect(role_url) as connection:
        if name in CALLERS and name != "search_path":
            with pytest.raises(TaskFlowError, match=name):
                enqueue(connection, "http://127.0.0.1/")
        elif name not in SHORT:
            task = enqueue(connection, "http://127.0.0.1/ż", tags={"a": "żółw"})
            assert task.created_at.utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGCLIENTENCODING", "SQL_ASCII"),
        ("PGDATESTYLE", "German"),
        ("PGTZ", "Asia/Tokyo"),
        ("PGOPTIONS", "-c datestyle=German -c default_transaction_isolation=serializable"),
    ],
)
async def test_the_environment_does_not_matter(database_url, monkeypatch, name, value):
    """Nor do the variables that libpq reads, two of which it sends after all options."""
    monkeypatch.setenv(name, value)
    await use(database_url)


@pytest.mark.parametrize(("name", "values"), CALLERS.items())
@pytest.mark.parametrize("is_in_transaction", [True, False])
async def test_settings_that_a_caller_must_not_change(
    database_url, name, values, is_in_transaction
):
    """Enqueue names the setting; the tasks of the caller are as they were."""
    await use(database_url)
    for value in values:
        with psycopg.connect(database_url, autocommit=not is_in_transaction) as connection:
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
            connection.commit()
            with pytest.raises(TaskFlowError, match=name):
                enqueue(connection, "http://127.0.0.1/")


class TestAtTheStart:
    """One line that says what to run, and no traceback."""

    def check(self, folder, url, *words, has_doctor=True):
        for name in ("migrate", "serve", "worker"):
            ended = run_command(name, folder, url, TASKFLOW_BIND="127.0.0.1:0")
            assert ended.returncode == 1
            assert "crashed" not in ended.stderr
            assert "Traceback" not in ended.stderr
            [line] = [one for one in ended.stderr.splitlines() if one.startswith("taskflow: ")]
            for word in words:
                assert word in line
        if not has_doctor:  # it changes nothing, so it cannot meet this
            return
        ended = run_command("doctor", folder, url, TASKFLOW_BIND="127.0.0.1:0")
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        output = " ".join(ended.stdout.split())
        for word in words:
            assert word in output

    @pytest.mark.parametrize("value", ["", "missing"])
    def test_no_schema(self, tmp_path, admin, role, role_url, value):
        alter(admin, role, "search_path", value)
        self.check(tmp_path, role_url, "search_path", "run CREATE SCHEMA")

    def test_no_create(self, tmp_path, admin, role, role_url):
        admin.execute(f"ALTER SCHEMA public OWNER TO {admin.info.user}")
        admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        self.check(tmp_path, role_url, "GRANT USAGE, CREATE ON SCHEMA")

    def test_no_usage(self, tmp_path, admin, role, role_url):
        admin.execute(f"ALTER SCHEMA public OWNER TO {admin.info.user}")
        admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        self.check(tmp_path, role_url, "GRANT USAGE ON SCHEMA")

    def test_only_select(self, tmp_path, database_url, admin, role, role_url):
        assert migrate(tmp_path, database_url).returncode == 0
        admin.execute(f"ALTER SCHEMA public OWNER TO {admin.info.user}")
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        self.check(tmp_path, role_url, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES")

    def test_no_table(self, tmp_path, database_url, admin, role, role_url):
        assert migrate(tmp_path, database_url).returncode == 0
        admin.execute(f"ALTER SCHEMA public OWNER TO {admin.info.user}")
        self.check(tmp_path, role_url, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES")

    def test_no_connect(self, tmp_path, admin, role, role_url):
        database = conninfo_to_dict(role_url)["dbname"]
        admin.execute(f'REVOKE CONNECT ON DATABASE "{database}" FROM PUBLIC')
        self.check(tmp_path, role_url, "GRANT CONNECT ON DATABASE")

    def test_no_role(self, tmp_path, database_url):
        self.check(tmp_path, make_conninfo(database_url, user="nobody_here"), "run `createuser")

    def test_no_database(self, tmp_path, database_url):
        url = make_conninfo(database_url, dbname="nowhere")
        self.check(tmp_path, url, "run `createdb")

    @pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
    def test_another_encoding(self, tmp_path, admin, database_url, encoding):
        name = f"other_{uuid.uuid4().hex[:12]}"
        admin.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 "
            "LOCALE_PROVIDER libc LOCALE 'C'"
        )
        try:
            url = make_conninfo(database_url, dbname=name)
            self.check(tmp_path, url, encoding, "createdb -E UTF8")
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def test_read_only(self, tmp_path, admin, role, role_url):
        alter(admin, role, "default_transaction_read_only", "on")
        self.check(tmp_path, role_url, "RESET default_transaction_read_only")

    @pytest.mark.parametrize("schema", ["pg_catalog", "information_schema"])
    def test_only_a_schema_of_the_system(self, tmp_path, admin, role, role_url, schema):
        alter(admin, role, "search_path", schema)
        self.check(tmp_path, role_url, "search_path", "run CREATE SCHEMA")

    @pytest.mark.parametrize(
        ("spoil", "word"),
        [
            ("CREATE TABLE taskflow_tasks (x int)", "restore the whole schema"),
            ("CREATE TABLE taskflow_migrations (x int)", "run CREATE SCHEMA"),
            ("CREATE VIEW taskflow_migrations AS SELECT 1 AS x", "run CREATE SCHEMA"),
        ],
    )
    def test_tables_of_another_program(self, tmp_path, role, role_url, spoil, word):
        with psycopg.connect(role_url) as connection:
            connection.execute(spoil)
        self.check(tmp_path, role_url, word, has_doctor="migrations" in spoil)

    def test_ddl_is_forbidden(self, tmp_path, admin, role_url):
        admin.execute(
            "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no DDL today'; END $$"
        )
        admin.execute("CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no()")
        try:
            self.check(tmp_path, role_url, "no DDL today", "nothing was", has_doctor=False)
        finally:
            admin.execute("DROP EVENT TRIGGER no")

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            ("DROP TABLE taskflow_tasks CASCADE", ("taskflow_tasks is missing", "restore")),
            ("DROP TABLE taskflow_attempts CASCADE", ("taskflow_attempts is missing", "restore")),
            ("DROP FUNCTION taskflow_announce", ("taskflow_announce() is missing", "restore")),
            (
                "ALTER TABLE taskflow_tasks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
                ("row level security", "taskflow_tasks", "BYPASSRLS"),
            ),
        ],
    )
    def test_what_was_there(self, tmp_path, role_url, spoil, words):
        assert migrate(tmp_path, role_url).returncode == 0
        with psycopg.connect(role_url) as connection:
            connection.execute(spoil)
        self.check(tmp_path, role_url, *words)

    def test_no_execute(self, tmp_path, database_url, admin, role, role_url):
        assert migrate(tmp_path, database_url).returncode == 0
        admin.execute(
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; "
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}; "
            "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC"
        )
        self.check(tmp_path, role_url, "GRANT EXECUTE ON ALL FUNCTIONS")

    @pytest.mark.parametrize(
        ("name", "value", "word"),
        [
            ("PGOPTIONS", "-c default_transaction_read_only=on", "PGOPTIONS"),
            ("PGOPTIONS", "-c search_path=missing", "PGOPTIONS"),
            ("PGOPTIONS", "-c nosuch=1", "correct nosuch"),
            ("PGTZ", "Nowhere/Else", "PGTZ"),
        ],
    )
    def test_settings_of_the_environment(self, tmp_path, role_url, monkeypatch, name, value, word):
        monkeypatch.setenv(name, value)
        self.check(tmp_path, role_url, word)

    @pytest.mark.parametrize(
        ("statement", "word"),
        [
            ("ALTER ROLE {role} CONNECTION LIMIT 0", "CONNECTION LIMIT -1"),
            ("ALTER ROLE {role} NOLOGIN", "LOGIN"),
            ("ALTER ROLE {role} SET session_preload_libraries = 'missing'", "preload"),
        ],
    )
    def test_rejected_connections(self, tmp_path, admin, role, role_url, statement, word):
        admin.execute(statement.format(role=role))
        self.check(tmp_path, role_url, word)


async def test_a_policy_that_permits_all_is_enough(database_url, admin, role, role_url):
    """Row level security hides nothing then."""
    await use(role_url)
    admin.execute(
        "ALTER TABLE taskflow_tasks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; "
        f"CREATE POLICY all_rows ON taskflow_tasks TO {role} USING (true)"
    )
    async with open_postgres(role_url, SETTINGS) as store:
        await store.check()
        assert len((await store.page(limit=10)).tasks) == 1


@pytest.mark.parametrize("schema", ['"My App"', '"we""ird, \'x\\y$"', '"$user"'])
async def test_names_of_schemas(admin, role, role_url, schema):
    """Whatever a schema is called, the tables are in it."""
    name = f'"{role}"' if schema == '"$user"' else schema
    admin.execute(f"CREATE SCHEMA {name} AUTHORIZATION {role}")
    alter(admin, role, "search_path", schema)
    await use(role_url)
    query = "SELECT to_regclass(%s) IS NOT NULL"
    assert admin.execute(query, [f"{name}.taskflow_tasks"]).fetchone() == (True,)


def test_a_role_that_may_only_write_is_enough(tmp_path, database_url, admin, role, role_url):
    """Once the tables are there no right to create is needed."""
    assert migrate(tmp_path, database_url).returncode == 0
    admin.execute(f"ALTER SCHEMA public OWNER TO {admin.info.user}")
    admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    admin.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}; "
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    )
    assert migrate(tmp_path, role_url).returncode == 0


async def test_tables_stay_where_they_are(database_url, admin, role, role_url):
    """A schema that comes first on the path later does not hide the tables."""
    await use(role_url)
    admin.execute(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
    async with open_postgres(role_url, SETTINGS) as store:
        assert len((await store.page(limit=10)).tasks) == 1
    query = "SELECT count(*) FROM pg_class WHERE relname = 'taskflow_tasks'"
    assert admin.execute(query).fetchone() == (1,)


class TestReadiness:
    """/readyz is 503 whenever a POST would be, and both recover without a restart."""

    @pytest.fixture
    def service(self, tmp_path, role_url):
        with running("serve", tmp_path, DATABASE_URL=url_of(role_url)) as service:
            yield service

    @pytest.mark.parametrize("setting", ["default_transaction_read_only"])
    def test_read_only(self, service, admin, role, setting):
        self.check_red_and_back(
            service,
            lambda: (alter(admin, role, setting, "on"), self.cut(admin, role)),
            lambda: admin.execute(f"ALTER ROLE {role} RESET {setting}"),
            setting,
        )

    @pytest.mark.parametrize("table", ["taskflow_tasks", "taskflow_changes"])
    def test_revoked(self, service, admin, role, table):
        self.check_red_and_back(
            service,
            lambda: admin.execute(f"REVOKE INSERT ON {table} FROM {role}"),
            lambda: admin.execute(f"GRANT INSERT ON {table} TO {role}"),
            "INSERT",
        )

    def test_dropped(self, service, admin):
        self.check_red_and_back(
            service,
            lambda: admin.execute("ALTER TABLE taskflow_tasks RENAME TO away"),
            lambda: admin.execute("ALTER TABLE away RENAME TO taskflow_tasks"),
            "tables",
        )

    @pytest.mark.parametrize(
        ("spoil", "mend"),
        [
            (
                "ALTER TABLE taskflow_tasks RENAME COLUMN host TO away",
                "ALTER TABLE taskflow_tasks RENAME COLUMN away TO host",
            ),
            (
                "ALTER FUNCTION taskflow_announce RENAME TO away",
                "ALTER FUNCTION away RENAME TO taskflow_announce",
            ),
            (
                "REVOKE EXECUTE ON FUNCTION taskflow_announce FROM PUBLIC, {role}",
                "GRANT EXECUTE ON FUNCTION taskflow_announce TO {role}",
            ),
            (
                "ALTER TABLE taskflow_tags RENAME TO away",
                "ALTER TABLE away RENAME TO taskflow_tags",
            ),
        ],
        ids=["column", "function", "privilege", "table"],
    )
    def test_an_object_that_a_submission_needs(self, service, admin, role, spoil, mend):
        """Before any POST has met it."""
        self.check_red_and_back(
            service,
            lambda: admin.execute(spoil.format(role=role)),
            lambda: admin.execute(mend.format(role=role)),
            "task store",
        )

    def test_a_lock(self, service, admin):
        with admin.transaction():
            admin.execute("LOCK TABLE taskflow_tasks")
            assert service.ask("GET", "/readyz").status == 503
        wait_until(lambda: service.ask("GET", "/readyz").status == 200)

    def test_errors_that_only_a_write_shows(self, service, admin):
        """A full disk, a trigger, a quota: what the last POST met is tried again, taken back."""
        admin.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$"
        )
        assert service.ask("GET", "/readyz").status == 200
        admin.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON taskflow_tasks EXECUTE FUNCTION full_disk()"
        )
        assert self.post(service) == 503
        assert service.ask("GET", "/readyz").status == 503
        admin.execute("DROP TRIGGER full_disk ON taskflow_tasks")
        assert service.ask("GET", "/readyz").status == 200
        assert self.post(service) == 201
        [(count,)] = admin.execute("SELECT count(*) FROM taskflow_tasks").fetchall()
        assert count == 1

    def test_hidden(self, service, admin):
        force = "ALTER TABLE taskflow_tasks {0} ROW LEVEL SECURITY, {1} ROW LEVEL SECURITY"
        self.check_red_and_back(
            service,
            lambda: admin.execute(force.format("ENABLE", "FORCE")),
            lambda: admin.execute(force.format("DISABLE", "NO FORCE")),
            "row level security",
        )

    @pytest.mark.parametrize("table", ["taskflow_tasks", "taskflow_nodes"])
    def test_a_trigger_that_raises(self, service, admin, table):
        """Whatever statement it meets, the node goes on when it is gone."""
        admin.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'not now'; END $$"
        )
        task = self.new_task(service)
        admin.execute(
            f"CREATE TRIGGER no BEFORE INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION no()"
        )
        service.ask("POST", "/tasks", {"payload": "http://127.0.0.1:9/"})
        service.wait_for_log("not now")
        admin.execute(f"DROP TRIGGER no ON {table}")
        self.wait_for_end(service, task)
        self.wait_for_end(service, self.new_task(service))
        assert "crashed" not in service.log

    def test_settings_of_the_server(self, service, admin):
        """ALTER SYSTEM while it runs, and connections that it makes anew after that."""
        names = {
            "idle_in_transaction_session_timeout": "1ms",
            "idle_session_timeout": "1ms",
            "lock_timeout": "1ms",
            "statement_timeout": "1ms",
            "datestyle": "German",
            "default_transaction_isolation": "serializable",
        }
        if admin.info.server_version >= 170_000:
            names["transaction_timeout"] = "1ms"
        for name in names:  # this connection keeps what it has
            admin.execute("SELECT set_config(%s, current_setting(%s), false)", [name, name])
        try:
            for name, value in names.items():
                admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            admin.execute("SELECT pg_reload_conf()")
            self.wait_for_end(service, self.new_task(service))
            role = conninfo_to_dict(admin.info.dsn).get("user")
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename <> %s",
                [role],
            )
            wait_until(lambda: service.ask("GET", "/readyz").status == 200)
            self.wait_for_end(service, self.new_task(service))
        finally:
            for name in names:
                admin.execute(f"ALTER SYSTEM RESET {name}")
            admin.execute("SELECT pg_reload_conf()")
        assert "crashed" not in service.log

    def new_task(self, service) -> str:
        requested = {"payload": "http://127.0.0.1:9/", "max_attempts": 1}
        answer = wait_until(
            lambda: (
                found if (found := service.ask("POST", "/tasks", requested)).status == 201 else None
            )
        )
        return answer.body["id"]

    def wait_for_end(self, service, task):
        def has_ended():
            answer = service.ask("GET", f"/tasks/{task}")
            return answer.status == 200 and answer.body["status"] in {"COMPLETED", "FAILED"}

        wait_until(has_ended)

    def check_red_and_back(self, service, spoil, mend, word):
        assert self.post(service) == 201
        assert service.ask("GET", "/readyz").status == 200
        spoil()
        answer = service.ask("GET", "/readyz")
        assert answer.status == 503
        assert word in answer.body["detail"]
        assert self.post(service) == 503
        mend()
        wait_until(lambda: service.ask("GET", "/readyz").status == 200)
        assert self.post(service) == 201
        assert "crashed" not in service.log

    def post(self, service) -> int:
        requested = {"payload": "http://127.0.0.1:9/", "tags": {"needs": "all tables"}}
        return service.ask("POST", "/tasks", requested).status

    def cut(self, admin, role):
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
            [role],
        )
