"""Settings, and the errors for invalid ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskflow.model.errors import SettingsError
from taskflow.settings import Settings, examine, load

ADDRESS = "an address and a port such as 127.0.0.1:8080 or [::1]:8080, or unix:/a/path"
HOSTS = "names without ports, or * for any, separated by commas"
ORIGINS = "origins such as https://app.example, separated by commas"
REPOSITORY = Path(__file__).parents[1]


def read(tmp_path, environ=None, dotenv=""):
    path = tmp_path / ".env"
    path.write_text(dotenv)
    return load(environ or {}, path)


def test_defaults(tmp_path):
    """Nothing set: the Go program's defaults, and nothing to warn of."""
    settings, warnings = read(tmp_path)
    assert settings == Settings()
    assert (settings.workers, settings.queue_size, settings.bind) == (5, 100, "127.0.0.1:8080")
    assert settings.fetch_timeout_seconds == 5
    assert settings.drain_deadline_seconds == 6
    assert warnings == []


def test_the_environment_overrides_dotenv(tmp_path):
    """.env gives defaults; the environment overrides them."""
    settings, _ = read(
        tmp_path,
        {"TASKFLOW_WORKERS": "7"},
        "TASKFLOW_WORKERS=3\nTASKFLOW_DRAIN_SECONDS=2.5\nDATABASE_URL=memory://\n",
    )
    assert (settings.workers, settings.drain_seconds) == (7, 2.5)
    assert settings.database_url == "memory://"


def test_empty_is_the_default(tmp_path):
    """An empty variable, as compose files leave them, is as good as none."""
    settings, warnings = read(tmp_path, {"TASKFLOW_WORKERS": "", "TASKFLOW_DRAIN_SECONDS": " "})
    assert settings == Settings()
    assert warnings == []


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("TASKFLOW_WORKERS", "many", "a whole number from 1 to 1000"),
        ("TASKFLOW_WORKERS", "0", "a whole number from 1 to 1000"),
        ("TASKFLOW_WORKERS", "1001", "a whole number from 1 to 1000"),
        ("TASKFLOW_WORKERS", "2.5", "a whole number from 1 to 1000"),
        ("TASKFLOW_FETCH_TIMEOUT_SECONDS", "0", "a number above 0 and up to 86400"),
        ("TASKFLOW_FETCH_TIMEOUT_SECONDS", "nan", "a number above 0 and up to 86400"),
        ("TASKFLOW_FETCH_TIMEOUT_SECONDS", "inf", "a number above 0 and up to 86400"),
        ("TASKFLOW_FETCH_TIMEOUT_SECONDS", "5s", "a number above 0 and up to 86400"),
        ("TASKFLOW_DRAIN_SECONDS", "-1", "a number from 0 to 86400"),
        ("TASKFLOW_MAX_BODY_BYTES", "1MiB", "a whole number from 1 to 67108864"),
        ("TASKFLOW_BIND", "8080", ADDRESS),
        ("TASKFLOW_BIND", "::1:8080", ADDRESS),
        ("TASKFLOW_ALLOW_ANONYMOUS", "perhaps", "1 or 0"),
        ("TASKFLOW_ALLOWED_HOSTS", "example.com:80", HOSTS),
        ("TASKFLOW_ALLOWED_HOSTS", "https://example.com", HOSTS),
        ("TASKFLOW_CORS_ORIGINS", "*", ORIGINS),
        ("TASKFLOW_CORS_ORIGINS", "https://app.example/", ORIGINS),
        ("TASKFLOW_CORS_ORIGINS", "app.example", ORIGINS),
        ("TASKFLOW_LOG_LEVEL", "loud", "one of debug, info, warning, error"),
    ],
)
def test_a_value_that_cannot_be_used_stops_the_start(tmp_path, variable, value, allowed):
    """The message names the variable, what it was and what it may be."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, {variable: value})
    assert str(caught.value) == f"{variable}={value!r} cannot be used: it must be {allowed}"


def test_a_lease_must_outlast_heartbeats(tmp_path):
    """Values that are right alone but not together are refused too."""
    with pytest.raises(SettingsError, match="TASKFLOW_LEASE_SECONDS must be at least twice"):
        read(tmp_path, {"TASKFLOW_LEASE_SECONDS": "6", "TASKFLOW_HEARTBEAT_SECONDS": "5"})


def test_a_burst_is_one_of_a_rate(tmp_path):
    """A burst without a rate is an error, because it would limit nothing."""
    with pytest.raises(SettingsError, match="TASKFLOW_RATE_BURST requires"):
        read(tmp_path, {"TASKFLOW_RATE_BURST": "10"})
    with pytest.raises(SettingsError, match=r"SIGN_REQUESTS requires .* `taskflow secret new`"):
        read(tmp_path, {"TASKFLOW_SIGN_REQUESTS": "1"})
    with pytest.raises(SettingsError, match="TASKFLOW_READ_RATE_BURST requires"):
        read(tmp_path, {"TASKFLOW_READ_RATE_BURST": "10"})


@pytest.mark.parametrize("place", ["environ", "dotenv"])
def test_a_misspelt_name_is_warned_about(tmp_path, place):
    """The nearest right name is said; other programs' variables are none of our business."""
    if place == "environ":
        _, warnings = read(tmp_path, {"TASKFLOW_WORKER": "3", "WORKRES": "3"})
    else:
        _, warnings = read(tmp_path, {}, "TASKFLOW_WORKER=3\nWORKRES=3\n")
    assert warnings == [
        "TASKFLOW_WORKER is not a setting of TaskFlow; did you mean TASKFLOW_WORKERS?"
    ]
    _, warnings = read(tmp_path, {"TASKFLOW_XYZZY": "1"})
    assert warnings == ["TASKFLOW_XYZZY is not a setting of TaskFlow"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TASKFLOW_PORT", "TASKFLOW_BIND=HOST:PORT"),
        ("TASKFLOW_HOST", "TASKFLOW_BIND=HOST:PORT"),
        ("TASKFLOW_CONCURRENCY", "TASKFLOW_WORKERS"),
        ("TASKFLOW_TIMEOUT", "TASKFLOW_FETCH_TIMEOUT_SECONDS"),
        ("TASKFLOW_MAX_RETRIES", "TASKFLOW_MAX_ATTEMPTS"),
        ("TASKFLOW_SECRET", "TASKFLOW_WEBHOOK_SECRETS"),
        ("TASKFLOW_DATABASE_URL", "DATABASE_URL"),
        ("TASKFLOW_LEASE", "TASKFLOW_LEASE_SECONDS"),
        ("TASKFLOW__WORKERS", "TASKFLOW_WORKERS"),
        ("TASKFLOWWORKERS", "TASKFLOW_WORKERS"),
        ("taskflow_workers", "TASKFLOW_WORKERS"),
        ("TASKFLOW-WORKERS", "TASKFLOW_WORKERS"),
        ("Taskflow_Port", "TASKFLOW_BIND=HOST:PORT"),
    ],
)
def test_a_name_that_another_program_would_have(tmp_path, name, meant):
    """The setting that does it is said, in one line."""
    _, warnings = read(tmp_path, {name: "1"})
    assert warnings == [f"{name} is not a setting of TaskFlow; did you mean {meant}?"]


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "is_tracing"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", **ENDPOINT}, False),
        ({"OTEL_SDK_DISABLED": "true", **ENDPOINT}, False),
        ({"OTEL_SERVICE_NAME": "tasks"}, False),
        ({"TASKFLOW_TRACES": "off", **ENDPOINT}, False),
        ({"TASKFLOW_TRACES": "on"}, True),
        ({"TASKFLOW_TRACES": "off", "OTEL_TRACES_EXPORTER": "zipkin"}, False),
    ],
)
def test_variables_that_enable_tracing(tmp_path, environ, is_tracing):
    """OpenTelemetry's own variables or TaskFlow's, which takes precedence."""
    settings, warnings = read(tmp_path, environ)
    assert settings.is_tracing is is_tracing
    assert warnings == []


def test_dotenv_cannot_configure_opentelemetry(tmp_path):
    """OpenTelemetry does not read its endpoint from .env."""
    assert not read(tmp_path, {}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318")[0].is_tracing


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **ENDPOINT}, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", **ENDPOINT}, "http/protobuf"),
    ],
)
def test_traces_that_cannot_be_sent(tmp_path, environ, allowed):
    """The message names the variable, what it was, what it may be, and how to do without."""
    [(variable, value), *_] = environ.items()
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, environ)
    assert str(caught.value) == (
        f"{variable}={value!r} cannot be used: it must be {allowed}; or set TASKFLOW_TRACES=off"
    )


def test_repr_hides_the_password(tmp_path):
    """What a log may show of the settings has no secret in it."""
    settings, _ = read(
        tmp_path, {"DATABASE_URL": "postgresql://me:secret@db/x", "TASKFLOW_WORKERS": "3"}
    )
    assert repr(settings) == "Settings(database_url=..., workers=3)"


def test_repr_hides_keys(tmp_path):
    """So it is with keys; where their file is may be seen."""
    settings, _ = read(
        tmp_path, {"TASKFLOW_API_KEYS": "me:secret", "TASKFLOW_API_KEYS_FILE": "/etc/keys"}
    )
    assert repr(settings) == "Settings(api_keys=..., api_keys_file='/etc/keys')"


def test_lists_are_parted_by_commas(tmp_path):
    """Spaces do not matter, nor does a comma too many; each item must be right."""
    settings, _ = read(tmp_path, {"TASKFLOW_ALLOW_HOSTS": " *.Example.com ,b,"})
    assert settings.allow_hosts == ("*.Example.com", "b")
    assert read(tmp_path, {"TASKFLOW_ALLOW_HOSTS": ""})[0].allow_hosts == ()


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("ALLOW_HOSTS", "a b", "it must be names such as api.example.com or *.example.com"),
        ("ALLOW_NETWORKS", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("ALLOW_NETWORKS", "ten", "'ten' does not appear to be an IPv4 or IPv6 network"),
        ("ALLOW_PORTS", "http", "it must be ports and ranges such as 8000-8999"),
        ("CORS_ORIGINS", "app.example", "it must be origins such as https://app.example"),
        ("ALLOWED_HOSTS", "a:80", "it must be names without ports, or * for any"),
        ("MASKED_HEADERS", "a b", "it must be header names"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, variable, text, complaint):
    """The complaint names the variable and what its items may be."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, {f"TASKFLOW_{variable}": text})
    assert f"TASKFLOW_{variable}" in str(caught.value)
    assert complaint in str(caught.value)


def test_env_example_can_be_used_as_it_is(tmp_path):
    """Copied to .env, with every line made active, it gives the defaults."""
    text = (REPOSITORY / ".env.example").read_text()
    active = re.sub(r"^#(\w+=)", r"\1", text, flags=re.MULTILINE)
    settings, warnings = read(tmp_path, {}, active)
    assert settings == Settings()
    assert warnings == []


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:8080", "localhost:0", "[::1]:8080", "unix:/run/taskflow.sock"]
)
def test_addresses_that_can_be_bound(tmp_path, bind):
    """IPv4, IPv6, a name, a socket in the file system."""
    assert read(tmp_path, {"TASKFLOW_BIND": bind})[0].bind == bind
    assert read(tmp_path, {"TASKFLOW_METRICS_BIND": bind})[0].metrics_bind == bind


@pytest.mark.parametrize("bind", ["8081", "127.0.0.1", "localhost:65536", "http://localhost:8081"])
def test_addresses_that_cannot_be_bound(tmp_path, bind):
    """Each is refused with the name of its setting; for the metrics none at all will do."""
    for variable in ("TASKFLOW_BIND", "TASKFLOW_METRICS_BIND"):
        with pytest.raises(SettingsError, match=variable):
            read(tmp_path, {variable: bind})
    assert read(tmp_path, {"TASKFLOW_METRICS_BIND": ""})[0].metrics_bind == ""


def test_settings_of_clients_are_known(tmp_path):
    """One .env may be shared by the service and its clients."""
    _, warnings = read(tmp_path, {"TASKFLOW_URL": "http://x"}, "TASKFLOW_API_KEY=k\n")
    assert warnings == []


def test_all_invalid_settings_are_reported(tmp_path):
    """``examine`` reports all; ``load`` stops at the first."""
    bad = {"TASKFLOW_WORKERS": "x", "TASKFLOW_RATE_BURST": "3", "TASKFLOW_POLL_SECONDS": "-1"}
    examined = examine(bad, tmp_path / "no.env")
    assert examined.settings is None
    assert [error.partition("=")[0].split()[0] for error in examined.errors] == [
        "TASKFLOW_WORKERS",
        "TASKFLOW_POLL_SECONDS",
        "TASKFLOW_RATE_BURST",
    ]
