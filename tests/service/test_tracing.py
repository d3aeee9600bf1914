"""Traces of real processes: joined in a real collector, and no harm without one."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import timeit

import pytest

from taskflow.tracing import NO_TRACING
from tests.collector import Collector
from tests.service.processes import clean_environ, running, started, wait_until
from tests.service.test_shutdown import check_is_clean

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
DRAIN_SECONDS = 1.0


def post(service, url, *, parent=None):
    """Submit a task with a trace, and return its id."""
    with contextlib.closing(service.connect()) as client:
        body = f'{{"payload": "{url}"}}'
        head = ["POST /tasks HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        head += ["Content-Type: application/json", "Connection: close"]
        head += [f"traceparent: 00-{TRACE}-{parent}-01"] if parent else []
        client.sendall("\r\n".join([*head, "", body]).encode())
        output = b""
        while more := client.recv(65536):
            output += more
    assert output.startswith(b"HTTP/1.1 201 ")


def test_a_trace_goes_through_two_processes(tmp_path, tasks, target):
    """One takes the task, another one runs it: a collector has one trace, from both."""
    with Collector() as collector, contextlib.ExitStack() as stack:
        settings = {
            "DATABASE_URL": tasks.url,
            "TASKFLOW_WORKERS": 1,
            "TASKFLOW_FETCH_TIMEOUT_SECONDS": 60,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": 50,
        }
        accepting = stack.enter_context(running("serve", tmp_path, **settings))
        post(accepting, f"{target.url}/held")  # it is the only node
        target.wait_for("/held")
        working = stack.enter_context(running("worker", tmp_path, **settings))
        post(accepting, f"{target.url}/now", parent="00f067aa0ba902b7")

        def joined():
            return {span.name: span for span in collector.spans if span.trace == TRACE}

        spans = wait_until(lambda: len(joined()) == 6 and joined())
        target.release()
        assert working.end().code == 0
        assert accepting.end().code == 0
    request, add, process = (spans[name] for name in ["POST /tasks", "add", "process"])
    assert request.parent == "00f067aa0ba902b7"
    assert (add.parent, process.parent) == (request.id, add.id)
    assert {spans[name].parent for name in ["claim", "GET", "settle"]} == {process.id}
    assert spans["GET"].attributes["http.response.status_code"] == 200
    nodes = {
        span.resource["service.instance.id"].rpartition(":")[2]: span.resource["service.name"]
        for span in [add, process]
    }
    assert nodes == {
        str(accepting.process.pid): "taskflow",
        str(working.process.pid): "taskflow",
    }


@pytest.mark.parametrize("name", ["serve", "hypercorn"])
def test_remaining_spans_are_sent_at_the_end(tmp_path, target, name):
    """Spans that are queued for export are sent when the process ends."""
    with Collector() as collector:
        settings = {
            "DATABASE_URL": "memory://",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces",
            "OTEL_BSP_SCHEDULE_DELAY": 60_000,
            "OTEL_SERVICE_NAME": "queue of the shop",
        }
        with running(name, tmp_path, **settings) as service:
            service.post(f"{target.url}/now")
            service.wait_for_log("tracing enabled")
            target.wait_for("/now")
            check_is_clean(service.end())
        assert {"POST /tasks", "add", "process", "GET", "settle"} <= {
            s.name for s in collector.spans
        }
        assert {s.resource["service.name"] for s in collector.spans} == {"queue of the shop"}


def check_goes_on(tmp_path, target, endpoint, *, is_asked):
    """Tasks run, the log stays short, and the process ends in time."""
    settings = {
        "DATABASE_URL": "memory://",
        "TASKFLOW_WORKERS": 20,
        "TASKFLOW_DRAIN_SECONDS": DRAIN_SECONDS,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": 50,
        "OTEL_BSP_MAX_QUEUE_SIZE": 100,
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 50,
    }
    with running("serve", tmp_path, **settings) as service:
        urls = [f"{target.url}/now"] * 400
        tasks = [{"payload": url, "queue": "many"} for url in urls]
        assert service.ask("POST", "/tasks", tasks).status == 201

        def all_ended():
            return service.ask("GET", "/queues/many").body["counts"]["COMPLETED"] == len(urls)

        wait_until(all_ended)
        wait_until(is_asked)
        ended = service.end()
    assert ended.code == 0
    assert "spans could not be exported" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) < 20, ended.stderr
    assert ended.stderr.splitlines()[-1].split("]")[1].split()[0] == "stopped"


def test_a_collector_that_is_away(tmp_path, target):
    """No process listens there."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        check_goes_on(tmp_path, target, endpoint, is_asked=lambda: True)


def test_a_collector_that_hangs(tmp_path, target):
    """It takes what it is sent and never answers."""
    with Collector(is_silent=True) as collector:
        check_goes_on(tmp_path, target, collector.url, is_asked=collector.is_asked.is_set)


PROGRAM = """
import os, sys
import trio
from taskflow import asgi, cli, service
from taskflow.serving.shutdown import Shutdown

async def main():
    settings = service.configured_settings()
    async with service.open_service(settings, Shutdown()):
        pass

for environ in {environs!r}:
    os.environ |= environ
    trio.run(main)
    print([name for name in sys.modules if name.startswith("opentelemetry")][:3])
"""
ENVIRONS = [
    {},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "TASKFLOW_TRACES": "off"},
    {"TASKFLOW_TRACES": "auto"},
]


def test_off_is_the_default(tmp_path):
    """Nothing of OpenTelemetry is imported, be it installed or not; nor if it is to be off."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(environs=ENVIRONS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=clean_environ(DATABASE_URL="memory://"),
    )
    default, off, on = ended.stdout.splitlines()
    assert default == off == "[]"
    assert on != "[]"


def test_the_cost_when_off():
    """A task goes through the hooks in the time of fifteen calls of a method that does nothing."""

    def run_task():
        NO_TRACING.claiming(None)
        NO_TRACING.claimed(())
        trace = NO_TRACING.attempt(None)
        trace.fetching(None)
        trace.fetched(None)
        trace.settled(None, is_late=False)

    class Nothing:
        def call(self, argument):
            pass

    def seconds_of(call):
        return min(timeit.repeat(call, number=1000, repeat=50, timer=time.thread_time))

    nothing = Nothing()
    assert seconds_of(run_task) < 15 * seconds_of(lambda: nothing.call(None))


def test_settings_that_opentelemetry_refuses(tmp_path):
    """They end the start with a line, too."""
    settings = {
        "DATABASE_URL": "memory://",
        "TASKFLOW_TRACES": "on",
        "OTEL_BSP_MAX_QUEUE_SIZE": 10,
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 100,
    }
    with started("worker", tmp_path, **settings) as service:
        ended = service.wait_for_end()
    assert ended.code == 2
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("taskflow: ")]
    assert "max_export_batch_size must be less than or equal to max_queue_size" in line
    assert "Traceback" not in ended.stderr
