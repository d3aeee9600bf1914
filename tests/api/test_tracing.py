"""One trace from POST to settle: real stores, real API, real target; spans kept in memory."""

from __future__ import annotations

import json
import logging
import uuid
from collections import Counter
from functools import partial

import msgspec
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from taskflow.fetch.interface import FetchRequest
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import Canceled, Interrupted, Parked
from taskflow.model.task import Claim
from taskflow.service import MEMORY_URL
from taskflow.store.base.claims import Release
from taskflow.store.base.parking import Parking
from taskflow.tracing import otel
from tests.api.live import LiveServer
from tests.api.recorder import Recorder
from tests.api.test_requests import received
from tests.receiver import Receiver
from tests.service.processes import REPOSITORY, wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
JSON = {"content-type": "application/json"}


class Spans:
    """What was exported."""

    def __init__(self):
        self._exporter = InMemorySpanExporter()
        self.processor = SimpleSpanProcessor(self._exporter)

    @property
    def all(self):
        return self._exporter.get_finished_spans()

    def of(self, trace=TRACE):
        """Return the spans of a trace, in the order of their starts."""
        mine = [span for span in self.all if f"{span.context.trace_id:032x}" == trace]
        return sorted(mine, key=lambda span: span.start_time)

    def named(self, name, trace=TRACE):
        return [span for span in self.of(trace) if span.name == name]

    def wait_for(self, name, times=1, trace=TRACE):
        """Wait until there are ``count`` spans of this name."""
        wait_until(lambda: len(self.named(name, trace)) >= times)
        return self.named(name, trace)


@pytest.fixture
def spans(monkeypatch):
    """What a server exports that is started after this."""
    spans = Spans()
    monkeypatch.setattr(otel, "start", partial(otel.start, spans.processor))
    yield spans
    document = (REPOSITORY / "docs" / "tracing.md").read_text("utf-8")
    reported = {name for span in spans.all for name in span.attributes}
    assert [name for name in reported if f"`{name}`" not in document] == []


@pytest.fixture
def traced(spans):
    with LiveServer(database_url=MEMORY_URL, traces="on") as server:
        yield server


@pytest.fixture
def recorder():
    with Recorder() as recorder:
        yield recorder


def post(server, payload, headers=None, **beside):
    body = json.dumps({"payload": payload, **beside}).encode()
    answer = server.ask("POST", "/tasks", body, {**JSON, "traceparent": PARENT, **(headers or {})})
    assert answer.status == 201, answer
    return answer.json["id"]


def parent_of(span):
    return span.parent.span_id


def test_from_post_to_settle(empty_url, spans, recorder):
    """Each part is a span under the one that it belongs to; the target hears of the fetch."""
    with LiveServer(database_url=empty_url, traces="on") as server:
        task = post(server, f"{recorder.url}/a?key=s3cr3t", {"tracestate": "a=1"})
        spans.wait_for("process")
        spans.wait_for("POST /tasks")
    by_name = {span.name: span for span in spans.of()}
    assert by_name.keys() == {"POST /tasks", "add", "process", "claim", "GET", "settle"}
    request, add, process = (by_name[name] for name in ["POST /tasks", "add", "process"])
    fetch = by_name["GET"]
    assert f"{parent_of(request):016x}" == "00f067aa0ba902b7"
    assert parent_of(add) == request.context.span_id
    assert parent_of(process) == add.context.span_id
    for name in ["claim", "GET", "settle"]:
        assert parent_of(by_name[name]) == process.context.span_id
    _, fields, _ = received(recorder, "/a")
    assert fields["traceparent"] == f"00-{TRACE}-{fetch.context.span_id:016x}-01"
    assert fields["tracestate"] == "a=1"
    kinds = {name: span.kind.name for name, span in by_name.items()}
    assert kinds == {
        "POST /tasks": "SERVER",
        "add": "PRODUCER",
        "process": "CONSUMER",
        "claim": "INTERNAL",
        "GET": "CLIENT",
        "settle": "INTERNAL",
    }
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/tasks",
        "http.response.status_code": 201,
        "url.path": "/tasks",
        "url.scheme": "http",
    }
    assert dict(add.attributes) == {
        "messaging.system": "taskflow",
        "messaging.operation.name": "add",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": 1,
        "messaging.destination.name": "default",
        "messaging.message.id": task,
    }
    assert dict(process.attributes) == {
        "messaging.system": "taskflow",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": task,
        "taskflow.attempt": 1,
        "taskflow.max_attempts": 1,
        "taskflow.move": "complete",
    }
    host, port = recorder.host.split(":")
    assert dict(fetch.attributes) == {
        "http.request.method": "GET",
        "url.full": f"{recorder.url}/a?***",
        "server.address": host,
        "server.port": int(port),
        "http.response.status_code": 200,
        "http.response.body.size": 4,
    }
    assert dict(by_name["claim"].attributes) == {"messaging.batch.message_count": 1}
    assert dict(by_name["settle"].attributes) == {"taskflow.move": "complete"}
    assert {span.status.status_code for span in spans.of()} == {StatusCode.UNSET}
    assert process.start_time <= by_name["claim"].start_time <= fetch.start_time
    assert fetch.end_time <= by_name["settle"].start_time <= process.end_time


FAILURES = {
    "/a?status=404": ("404", "http_status", 404),
    "/a?seconds=60": ("timeout", "timeout", None),
}


@pytest.mark.parametrize("path", FAILURES)
def test_a_fetch_that_fails(traced, spans, recorder, path):
    """The fetch and the attempt are errors, of the type that the API shows; the API's are not."""
    of_fetch, of_attempt, status = FAILURES[path]
    payload = {"url": recorder.url + path, "timeout_seconds": 0.5 if of_fetch == "timeout" else 60}
    post(traced, payload)
    [process] = spans.wait_for("process")
    [fetch] = spans.named("GET")
    assert fetch.status.status_code is process.status.status_code is StatusCode.ERROR
    assert fetch.attributes["error.type"] == of_fetch
    assert fetch.attributes.get("http.response.status_code") == status
    assert process.attributes["error.type"] == of_attempt
    assert process.attributes["taskflow.move"] == "fail"
    assert process.status.description.startswith(("http error", "timeout"))
    assert spans.named("settle")[0].status.status_code is StatusCode.UNSET


def test_rejected_requests(traced, spans):
    """A target that is not fetched from has a span, without secrets; no URL at all has none."""
    for payload in ["http://10.0.0.1/?key=s3cr3t", "http://ada:s3cr3t@10.0.0.1/?s3cr3t", 12345]:
        post(traced, payload)
    processes = spans.wait_for("process", 3)
    types = [span.attributes["error.type"] for span in processes]
    assert sorted(types) == ["blocked", "invalid_url", "invalid_url"]
    urls = {span.attributes["url.full"] for span in spans.named("GET")}
    assert urls == {"http://10.0.0.1/?***", "http://***@10.0.0.1/?***"}
    assert "s3cr3t" not in "".join(span.to_json() for span in spans.all)


def test_each_attempt_is_a_span(traced, spans, recorder):
    """A retry is in the same trace, and says how often it was tried before."""
    post(traced, f"{recorder.url}/a?status=503", max_attempts=2, backoff=[0.01])
    first, second = spans.wait_for("process", 2)
    assert [first.attributes["taskflow.attempt"], second.attributes["taskflow.attempt"]] == [1, 2]
    assert [first.attributes["taskflow.move"], second.attributes["taskflow.move"]] == [
        "retry",
        "fail",
    ]
    assert first.attributes["taskflow.retry_seconds"] >= 0
    assert parent_of(first) == parent_of(second) == spans.named("add")[0].context.span_id
    again = spans.named("GET")[1]
    assert again.attributes["http.request.resend_count"] == 1
    heard = [
        dict(line.split(b": ", 1) for line in one.split(b"\r\n") if b": " in line)[b"traceparent"]
        for one in recorder.received("/a")
    ]
    assert heard[1].decode() == f"00-{TRACE}-{again.context.span_id:016x}-01"


def test_unsampled_requests_are_not_recorded(traced, spans, recorder):
    """The flag of the client's trace is kept, and handed on with the trace."""
    post(traced, f"{recorder.url}/a", {"traceparent": PARENT.removesuffix("01") + "00"})
    wait_until(lambda: recorder.received("/a"))
    _, fields, _ = received(recorder, "/a")
    assert fields["traceparent"].startswith(f"00-{TRACE}-")
    assert fields["traceparent"].endswith("-00")
    post(traced, f"{recorder.url}/b", {"traceparent": PARENT.replace("4bf", "4ba")})
    spans.wait_for("process", trace=TRACE.replace("4bf", "4ba"))
    assert spans.of() == []


def test_a_trace_begins_with_the_post(traced, spans, recorder):
    """Without one of the client's the request begins it, and the attempt is in it."""
    body = json.dumps({"payload": f"{recorder.url}/a"}).encode()
    assert traced.ask("POST", "/tasks", body, JSON).status == 201
    wait_until(lambda: [span for span in spans.all if span.name == "process"])
    [request] = [span for span in spans.all if span.name == "POST /tasks"]
    [process] = [span for span in spans.all if span.name == "process"]
    assert request.parent is None
    assert process.context.trace_id == request.context.trace_id


def test_a_task_that_brings_its_own_trace(traced, spans, recorder):
    """What the payload says goes to the target."""
    own = PARENT.replace("4bf", "123")
    post(traced, {"url": f"{recorder.url}/a", "headers": {"traceparent": own}})
    spans.wait_for("process")
    _, fields, _ = received(recorder, "/a")
    assert fields["traceparent"] == own


@pytest.mark.parametrize("is_stream", [False, True])
def test_many_at_once(traced, spans, recorder, is_stream):
    """An array or a stream is submitted in one span, which is the parent of each task."""
    tasks = [json.dumps({"payload": f"{recorder.url}/a"}) for _ in range(3)]
    body = "\n".join(tasks) if is_stream else f"[{','.join(tasks)}]"
    kind = {"content-type": "application/x-ndjson"} if is_stream else JSON
    traced.ask("POST", "/tasks", body.encode(), {**kind, "traceparent": PARENT})
    processes = spans.wait_for("process", 3)
    [add] = spans.wait_for("add")
    [request] = spans.wait_for("POST /tasks")
    assert {parent_of(span) for span in processes} == {add.context.span_id}
    assert parent_of(add) == request.context.span_id
    if not is_stream:
        assert add.attributes["messaging.batch.message_count"] == 3
        assert add.attributes["messaging.destination.name"] == "default"


def test_callbacks_are_in_the_trace(empty_url, spans, recorder):
    """The callback is in the trace of its parent."""
    with Receiver() as receiver, LiveServer(database_url=empty_url, traces="on") as server:
        post(server, f"{recorder.url}/a", callback_url=f"{receiver.url}/done")
        task, callback = spans.wait_for("process", 2)
        assert parent_of(task) == parent_of(callback)
        [reported] = spans.named("POST")
        [came] = receiver.received
    headers = {name.lower(): value for name, value in came.headers.items()}
    assert headers["traceparent"] == f"00-{TRACE}-{reported.context.span_id:016x}-01"


def test_other_requests(traced, spans):
    """They are named by their route; refusals are no errors of ours; probes have no spans."""
    headers = {"traceparent": PARENT}
    for target in ["/livez", "/readyz", f"/tasks/{uuid.uuid4()}", "/nowhere?key=s3cr3t", "/stats"]:
        traced.ask("GET", target, headers=headers)
    traced.ask("POST", "/tasks", b"{", {**JSON, **headers})
    traced.ask("PURGE", "/tasks", headers=headers)
    spans.wait_for("HTTP")
    requests = [span for span in spans.of() if span.kind is SpanKind.SERVER]
    reported = [(span.name, span.attributes["http.response.status_code"]) for span in requests]
    assert reported == [
        ("GET /tasks/{id}", 404),
        ("GET", 404),
        ("GET /stats", 200),
        ("POST /tasks", 400),
        ("HTTP", 405),
    ]
    assert requests[-1].attributes["http.request.method_original"] == "PURGE"
    assert Counter(span.status.status_code for span in requests) == {StatusCode.UNSET: 5}
    [add] = spans.named("add")
    assert add.attributes["error.type"] == "BadRequest"
    assert "s3cr3t" not in "".join(span.to_json() for span in spans.all)


def test_a_fault_of_ours_is_an_error(spans, events):
    """A 500 is."""

    def break_it(app):
        async def broken():
            raise RuntimeError("broken")

        app.view_functions["listNodes"] = broken

    with LiveServer(database_url=MEMORY_URL, traces="on", configure=break_it) as server:
        assert server.ask("GET", "/nodes", headers={"traceparent": PARENT}).status == 500
        [request] = spans.wait_for("GET /nodes")
    assert request.status.status_code is StatusCode.ERROR
    assert request.attributes["error.type"] == "500"
    events.clear()


def claim_of(task_id, **beside):
    payload = msgspec.Raw(b'"http://example.com/"')
    return Claim(task_id, uuid.uuid4(), payload, 1, 3, **beside)


def finished(tracing, claim, outcome):
    trace = tracing.attempt(claim)
    trace.fetching(FetchRequest("http://example.com/"))
    trace.fetched(outcome)
    trace.settled(Release(claim.task_id, claim.token), is_late=False)


def test_a_task_without_a_trace_has_one_of_its_own():
    """All its attempts are in it, on whatever nodes; other tasks are in others."""
    spans, task = Spans(), uuid.uuid4()
    for _ in range(2):
        finished(otel.start(spans.processor), claim_of(task), Interrupted())
    finished(otel.start(spans.processor), claim_of(uuid.uuid4()), Interrupted())
    traces = Counter(span.context.trace_id for span in spans.all if span.name == "process")
    assert sorted(traces.values()) == [1, 2]
    assert all(span.parent is None for span in spans.all if span.name == "process")


@pytest.mark.parametrize(
    ("authority", "url", "place"),
    [
        ("example.com", "http://example.com/", ("example.com", 80)),
        ("example.com", "HTTPS://example.com/", ("example.com", 443)),
        ("example.com:8443", "https://example.com:8443/", ("example.com", 8443)),
        ("[::1]", "http://[::1]/", ("::1", 80)),
        ("[::1]:81", "http://[::1]:81/", ("::1", 81)),
        ("", "nowhere", (None, None)),
    ],
)
def test_where_a_fetch_goes(authority, url, place):
    """Host and port are separate attributes, with the default port of the scheme."""
    spans = Spans()
    trace = otel.start(spans.processor).attempt(claim_of(uuid.uuid4(), authority=authority))
    trace.fetching(FetchRequest(url))
    trace.fetched(Interrupted())
    [fetch] = [span for span in spans.all if span.kind is SpanKind.CLIENT]
    attributes = fetch.attributes
    assert (attributes.get("server.address"), attributes.get("server.port")) == place


def test_a_parked_attempt():
    """Its spans end with the 202, which is no error."""
    spans = Spans()
    claim = claim_of(uuid.uuid4(), options=TaskOptions(traceparent=PARENT))
    trace = otel.start(spans.processor).attempt(claim)
    trace.fetching(FetchRequest("http://example.com/"))
    trace.fetched(Parked(60.0))
    trace.settled(Parking(claim.task_id, claim.token, 60.0), is_late=False)
    [fetch], [process] = spans.named("GET"), spans.named("process")
    assert fetch.attributes["http.response.status_code"] == 202
    assert process.attributes["taskflow.move"] == "park"
    assert {span.status.status_code for span in spans.all} == {StatusCode.UNSET}


def test_interrupted_attempts(monkeypatch):
    """An attempt that a shutdown or a cancel ended is no error; one that came too late is."""
    spans = Spans()
    tracing = otel.start(spans.processor)
    options = TaskOptions(traceparent=PARENT)
    for outcome in [Interrupted(), Canceled()]:
        finished(tracing, claim_of(uuid.uuid4(), options=options), outcome)
    assert [span.events[0].name for span in spans.named("GET")] == ["interrupted", "canceled"]
    assert {span.status.status_code for span in spans.of()} == {StatusCode.UNSET}
    assert {span.attributes["taskflow.move"] for span in spans.named("process")} == {"release"}
    late = tracing.attempt(claim_of(uuid.uuid4(), options=options))
    late.fetched(Interrupted())
    late.settled(None, is_late=True)
    assert spans.named("settle")[-1].attributes["error.type"] == "late"


def test_claims_are_forgotten(monkeypatch):
    """A node remembers when its last claims were made, and not all that it ever made."""
    monkeypatch.setattr(otel, "MAX_CLAIMS", 10)
    tracing = otel.start(Spans().processor)
    for _ in range(100):
        claim = claim_of(uuid.uuid4())
        tracing.claiming(uuid.uuid4())
        tracing.claiming(claim.token)
        tracing.claimed([claim])
    assert len(tracing._claim_starts) <= 10
    assert len(tracing._claims) == 10


def test_a_key_in_the_address_of_the_collector_is_not_logged(monkeypatch):
    """OpenTelemetry repeats the address when it cannot be reached."""
    output = []
    monkeypatch.setattr(otel, "emit_throttled", lambda _, reason: output.append(reason))
    otel.start(Spans().processor)
    complaint = "retries exceeded with url: /v1/traces?key=hunter2&a=b (Caused by %s)"
    logging.getLogger("opentelemetry.exporter").warning(complaint, "that")
    assert output == ["retries exceeded with url: /v1/traces?*** (Caused by that)"]
