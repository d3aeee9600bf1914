"""``/openapi.json``: a valid document, of every route, that says what is really answered."""

from __future__ import annotations

import contextlib
import json
import re
import uuid

import jsonschema_rs
import openapi_spec_validator
import psycopg
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from taskflow.api.app import ROUTES, create_app
from taskflow.api.document.openapi import document
from taskflow.model.errors import TaskFlowError
from taskflow.service import MEMORY_URL, open_store
from taskflow.settings import Settings
from taskflow.store.memory.store import MemoryStore
from taskflow.version import __version__
from tests.api.documented import (
    DOCUMENT,
    OPERATIONS,
    PARAMETER_IN_PATH,
    check,
    complaints,
    parts,
    resolved,
)
from tests.api.live import LiveServer

TWO_LENGTHS = {"content-length": "5", "transfer-encoding": "chunked"}


@contextlib.asynccontextmanager
async def open_app_without_workers(settings, shutdown):
    """An app that knows that nothing runs its tasks."""
    async with open_store(settings) as store:
        yield create_app(store, settings, lambda: False)


class TestDocument:
    def test_it_is_served(self, server):
        """As JSON, the same as the code makes it, with the version that runs."""
        answer = server.ask("GET", "/openapi.json")
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        assert answer.json == json.loads(json.dumps(document(ROUTES, has_keys=False)))
        assert answer.json["info"]["version"] == __version__

    async def test_it_has_every_route_and_nothing_else(self):
        """The methods and paths of the app, but for HEAD and OPTIONS, which come by themselves."""
        app = create_app(MemoryStore(), Settings(), lambda: True)
        routes = {
            (method.lower(), re.sub(r"<(?:\w+:)?\w+>", "{}", rule.rule))
            for rule in app.url_map.iter_rules()
            for method in rule.methods - {"HEAD", "OPTIONS"}
            # What is for people is no part of the API.
            if rule.rule != "/" and not rule.rule.startswith("/ui")
        }
        assert routes == {(m, PARAMETER_IN_PATH.sub("{}", path)) for m, path in OPERATIONS}

    def test_it_is_valid(self):
        """It is valid by the schema of the OpenAPI Initiative, and its schemas by JSON Schema."""
        for has_keys in (True, False):
            reported = document(ROUTES, has_keys=has_keys)
            jsonschema_rs.Draft202012Validator(OPENAPI_31).validate(reported)
            openapi_spec_validator.OpenAPIV31SpecValidator(reported).validate()
        for part in parts(DOCUMENT):
            if "schema" in part:
                jsonschema_rs.meta.validate(part["schema"])
        for schema in DOCUMENT["components"]["schemas"].values():
            jsonschema_rs.meta.validate(schema)

    def test_references_are_valid(self):
        """References lead somewhere, links to operations, names are unique and none is unused."""
        references = [part["$ref"] for part in parts(DOCUMENT) if "$ref" in part]
        assert all(resolved({"$ref": reference}) for reference in references)
        names = [operation["operationId"] for operation in OPERATIONS.values()]
        assert len(set(names)) == len(names)
        used = {tag for operation in OPERATIONS.values() for tag in operation["tags"]}
        assert used == {tag["name"] for tag in DOCUMENT["tags"]}
        assert ("get", DOCUMENT["externalDocs"]["url"]) in OPERATIONS
        linked = [link for part in parts(DOCUMENT) for link in part.get("links", {}).values()]
        assert {link["operationId"] for link in linked} <= set(names)
        reported = {
            f"#/components/{kind}/{name}"
            for kind in ("schemas", "responses", "headers")
            for name in DOCUMENT["components"][kind]
        }
        # A method that a path does not take is no operation.
        assert reported - set(references) == {"#/components/responses/Problem405"}

    @pytest.mark.parametrize(("method", "path"), OPERATIONS)
    def test_parameters_in_paths(self, method, path):
        """Each name in braces is a required parameter in the path, and the other way round."""
        reported = [one for one in OPERATIONS[method, path]["parameters"] if one["in"] == "path"]
        assert [one["name"] for one in reported] == PARAMETER_IN_PATH.findall(path)
        assert all(one["required"] for one in reported)

    def test_examples(self):
        """Each example is valid by the schema that stands beside it."""
        count = 0
        for part in parts(DOCUMENT):
            given = part.get("examples", {})
            examples = (
                given if isinstance(given, list) else [one["value"] for one in given.values()]
            )
            for example in [*examples, *([part["example"]] if "example" in part else [])]:
                assert complaints(example, part.get("schema", part)) == []
                count += 1
        assert count > 60

    def test_everything_is_explained(self):
        """Operations, parameters, answers, types and their fields have a description in prose."""
        reported = [part for part in parts(DOCUMENT) if "operationId" in part and "tags" in part]
        reported += [part for part in parts(DOCUMENT) if {"name", "in"} <= part.keys()]
        reported += DOCUMENT["components"]["responses"].values()
        answers = [part for part in parts(DOCUMENT) if {"description", "headers"} <= part.keys()]
        reported += [header for answer in answers for header in answer["headers"].values()]
        reported = [resolved(part) for part in reported]
        for schema in DOCUMENT["components"]["schemas"].values():
            reported += [schema, *schema.get("properties", {}).values()]
        for part in reported:
            assert part.get("description", "").endswith("."), part
            assert "``" not in part["description"]
            assert "Attributes:" not in part["description"]

    def test_every_error_is_documented(self):
        """Each status of an exception class is among the problems."""
        kinds = [TaskFlowError]
        for kind in kinds:  # grows as it goes
            kinds += kind.__subclasses__()
        statuses = {kind.status for kind in kinds} - {None}
        reported = {
            int(name.removeprefix("Problem")) for name in DOCUMENT["components"]["responses"]
        }
        assert len(statuses) > 10
        assert statuses <= reported

    def test_moments(self):
        """All times have the format date-time."""
        moments = [
            (name, field, reported)
            for name, schema in DOCUMENT["components"]["schemas"].items()
            for field, reported in schema.get("properties", {}).items()
            if field.endswith(("_at", "_after", "_before")) or field in ("at", "until")
        ]
        assert len(moments) > 20
        for name, field, reported in moments:
            formats = {kind.get("format") for kind in reported.get("anyOf", [reported])}
            assert "date-time" in formats, (name, field)

    def test_each_value_is_explained(self):
        """Enumerations say what each of their values means, in their description, too."""
        schemas = DOCUMENT["components"]["schemas"]
        enums = [schema for schema in schemas.values() if "enum" in schema]
        assert len(enums) >= 5
        for schema in enums:
            meanings = schema["x-enumDescriptions"]
            assert list(meanings) == schema["enum"]
            for value, meaning in meanings.items():
                assert f"- `{value}`: {meaning}" in schema["description"]
                assert meaning.endswith(".")


class TestAnswers:
    @pytest.mark.parametrize("path", ["/json", "/text", "/binary", "/deep", "/204", "/404", "/500"])
    def test_tasks_at_their_end(self, server, target, path):
        """Results and failures of each kind are as the document says, as are their attempts."""
        url = json.dumps(target.url + path).encode()
        answer = server.post(b'{"payload": ' + url + b', "max_attempts": 1}')
        check(answer, "post", "/tasks")
        task_id = answer.json["id"]
        server.wait(task_id)
        check(server.ask("GET", f"/tasks/{task_id}"), "get", "/tasks/{id}")
        attempts = server.ask("GET", f"/tasks/{task_id}/attempts")
        check(attempts, "get", "/tasks/{id}/attempts")
        assert len(attempts.json) == 1
        result = server.ask("GET", f"/tasks/{task_id}/result")
        check(result, "get", "/tasks/{id}/result")
        page = server.ask("GET", "/tasks?limit=2")
        check(page, "get", "/tasks")

    def test_actions_on_tasks(self, server, target):
        """Tasks that were moved, and refusals to move them, are as the document says."""
        failed = server.run(b"1")["id"]
        completed = server.run(json.dumps(f"{target.url}/json").encode())["id"]
        for verb, task_id, status in [
            ("cancel", failed, 409),
            ("retry", completed, 409),
            ("retry", failed, 200),
        ]:
            answer = server.ask("POST", f"/tasks/{task_id}/{verb}")
            assert answer.status == status
            check(answer, "post", f"/tasks/{{id}}/{verb}")
        answer = server.ask("DELETE", f"/tasks/{completed}")
        assert answer.status == 204
        check(answer, "delete", "/tasks/{id}")

    @pytest.mark.parametrize("path", ["/stats", "/livez", "/readyz", "/openapi.json"])
    def test_the_others(self, server, path):
        """What takes no parameters answers as the document says."""
        check(server.ask("GET", path), "get", path)

    @pytest.mark.parametrize(
        ("status", "method", "target", "body", "headers"),
        [
            (400, "POST", "/tasks", b"{}", {}),
            (400, "GET", "/livez", b"0\r\n\r\n", TWO_LENGTHS),
            (404, "GET", f"/tasks/{uuid.UUID(int=0)}", None, {}),
            (404, "GET", "/tasks/x/attempts", None, {}),
            (404, "GET", "/tasks/x/result", None, {}),
            (404, "POST", "/tasks/x/cancel", None, {}),
            (404, "POST", f"/tasks/{uuid.UUID(int=0)}/retry", b"", {}),
            (404, "DELETE", f"/tasks/{uuid.UUID(int=0)}", None, {}),
            (413, "POST", "/tasks/x/cancel", b" " * (2**20 + 1), {}),
            (413, "POST", "/tasks", b" " * (2**20 + 1), {}),
            (414, "GET", "/readyz?" + "x" * 9000, None, {}),
            (415, "POST", "/tasks", b"", {"content-encoding": "gzip"}),
            (422, "POST", "/tasks", b'{"payload": 1, "priority": 101}', {}),
            (422, "GET", "/tasks?limit=0", None, {}),
            (422, "GET", "/stats?queue=", None, {}),
            (431, "GET", "/openapi.json", None, {"x": "x" * 9000}),
        ],
    )
    def test_problems(self, server, status, method, target, body, headers):
        """Each kind of refusal is among the answers that the document has for its operation."""
        answer = server.ask(method, target, body, headers)
        assert answer.status == status
        path, _, _ = target.partition("?")
        check(answer, method.lower(), re.sub("(?<=/tasks/)[^/]+", "{id}", path))

    def test_a_key(self, server):
        """The first task, its replays, and another request with its key."""
        head = {"idempotency-key": f'"{uuid.uuid4()}"'}
        for status, payload in ((201, 1), (200, 1), (422, 2)):
            answer = server.ask("POST", "/tasks", b'{"payload": %d}' % payload, head)
            assert answer.status == status
            check(answer, "post", "/tasks")

    def test_a_task_that_is_gone(self, database_uri):
        """410 says that there was one."""
        head = {"idempotency-key": "key"}
        with LiveServer(database_url=database_uri) as server:
            for status in (201, 410):
                answer = server.ask("POST", "/tasks", b'{"payload": 1}', head)
                assert answer.status == status
                check(answer, "post", "/tasks")
                with psycopg.connect(database_uri) as connection:
                    connection.execute("DELETE FROM taskflow_tasks")

    def test_faults(self, server):
        """Each has a place and words."""
        answer = server.post(b'{"payload": {"headers": {"a": 1}}, "priority": null, "tags": [1]}')
        check(answer, "post", "/tasks")
        assert len(answer.json["errors"]) == 4

    def test_a_whole_task(self, server):
        """With all that one may say it is as the document has it, to be sent and as shown."""
        output = {
            "payload": {"url": "x:", "headers": {"A": "b"}, "body": {"base64": "aGk="}},
            "queue": "a",
            "priority": -1,
            "max_attempts": 2,
            "delay_seconds": 0.5,
            "expires_at": "2999-12-31T23:59:59Z",
            "backoff": {"initial_seconds": 1, "factor": 2.5, "max_seconds": None},
            "retry_on": [404, "5xx"],
            "success_on": ["2xx"],
            "tags": {"a": 1, "b": "c", "d": True},
            "retention_seconds": 60,
            "callback_url": "http://127.0.0.1:9/",
        }
        body = OPERATIONS["post", "/tasks"]["requestBody"]["content"]["application/json"]
        assert complaints(output, body["schema"]) == []
        answer = server.post(json.dumps(output).encode())
        assert answer.status == 201
        check(answer, "post", "/tasks")
        check(server.ask("GET", f"/tasks/{answer.json['id']}"), "get", "/tasks/{id}")

    def test_not_ready(self):
        """503 says when to come back, as the document has it."""
        with LiveServer(database_url=MEMORY_URL, open_app=open_app_without_workers) as server:
            answer = server.ask("GET", "/readyz")
            assert answer.status == 503
            check(answer, "get", "/readyz")
