"""What strangers hand in neither shows in the log nor forges its lines."""

from __future__ import annotations

import json

import pytest

from tests.service.processes import running, wait_until

SECRET = "s3cr3t"
FORGED = "\n2026-01-01T00:00:00Z [error    ] forged\x1b[2J"


def hostile_payloads(target_url):
    port = target_url.rpartition(":")[2]
    return [
        f"http://ada:{SECRET}@127.0.0.1:{port}/",
        f"{target_url}/now?key={SECRET}",
        f"{target_url}/missing?key={SECRET}",
        f"http://localhost:1/?key={SECRET}",
        f"http://{SECRET}.invalid/",
        f"http://127.0.0.1:{port}/{FORGED}",
        f"http://{FORGED}.example/",
        FORGED,
        {"url": SECRET},
    ]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_hostile_urls(tmp_path, target, log_format):
    """At the most talkative level: no secret, no control character, one event a line."""
    settings = {
        "DATABASE_URL": "memory://",
        "TASKFLOW_LOG_LEVEL": "debug",
        "TASKFLOW_LOG_FORMAT": log_format,
    }
    with running("serve", tmp_path, **settings) as service:
        payloads = hostile_payloads(target.url)
        for payload in payloads:
            service.post(payload)
        service.ask("GET", f"/tasks/%0A{SECRET}%1B")
        wait_until(lambda: service.log.count("task ended") == len(payloads))
        assert service.end().code == 0
        log = service.log
    assert SECRET not in log
    assert "forged" not in log
    assert not {c for c in log if not c.isprintable()} - {"\n"}
    if log_format == "json":
        assert all(json.loads(line)["event"] for line in log.splitlines())
