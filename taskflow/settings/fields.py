"""``Settings``: every setting is a field, whose type carries its bounds and its meaning."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from taskflow.model.errors import SettingsError

PREFIX: Final = "TASKFLOW_"
_LAST_PORT: Final = 65_535
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Hosts = tuple[
    Annotated[
        str,
        Meta(
            pattern=r"^[^\s/@?#]+$",
            title="names such as api.example.com or *.example.com",
        ),
    ],
    ...,
]
# These are never shown.
SECRETS: Final = frozenset({"database_url", "api_keys", "webhook_secrets"})
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set, with its default. ``load`` reads it."""

    database_url: Annotated[
        str,
        Meta(
            description="Where tasks live: postgresql://... is your server, memory:// is gone "
            "at exit, empty is a PostgreSQL that TaskFlow runs itself"
        ),
    ] = ""
    data_dir: Annotated[
        str,
        Meta(
            description="Where that PostgreSQL keeps its data; empty is taskflow in the user's "
            "data directory (/var/lib/taskflow for root)"
        ),
    ] = ""
    bind: Annotated[
        str,
        Meta(
            pattern=r"^((\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}|unix:[^\s]+)$",
            title="an address and a port such as 127.0.0.1:8080 or [::1]:8080, or unix:/a/path",
            description="Address and port to serve on, for `taskflow serve`",
        ),
    ] = "127.0.0.1:8080"
    metrics_bind: Annotated[
        str,
        Meta(
            pattern=r"^(|(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}|unix:[^\s]+)$",
            title="an address and a port such as 127.0.0.1:8081 or [::1]:8081, or unix:/a/path",
            description="Address and port to serve `/metrics` on, for `taskflow worker`, by the "
            "same rules of access; empty is nowhere",
        ),
    ] = ""
    api_keys: Annotated[
        str,
        Meta(
            description="Keys that clients must send, name:key or name:role:key, separated by "
            "commas; a role is read, write or admin, and write if not given"
        ),
    ] = ""
    api_keys_file: Annotated[
        str,
        Meta(
            description="A file with further keys, a line each, as `taskflow key new NAME` makes it"
        ),
    ] = ""
    webhook_secrets: Annotated[
        str,
        Meta(
            description="Secrets that callbacks are signed with, as `taskflow secret new` makes "
            "them, separated by commas: two while one takes the other's place; the same on all "
            "nodes. Without any no callback_url is taken"
        ),
    ] = ""
    webhook_secrets_file: Annotated[
        str, Meta(description="A file with further secrets for callbacks, a line each")
    ] = ""
    allow_anonymous: Annotated[
        bool,
        Meta(description="1 to serve without keys, too, on addresses that others can reach"),
    ] = False
    allowed_hosts: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    pattern=r"^(\*|[^\s,:/*\[\]]+)$",
                    title="names without ports, or * for any",
                ),
            ],
            ...,
        ],
        Meta(
            description="Names that Host may have beside localhost and addresses; empty is any "
            "with keys, and that of TASKFLOW_BIND without",
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://[^\s,/*]+$",
                    title="origins such as https://app.example",
                ),
            ],
            ...,
        ],
        Meta(description="Origins whose pages may ask and read the answers"),
    ] = ()
    rate_limit: Annotated[
        Annotated[float, Meta(ge=0.001, le=1_000_000)] | None,
        Meta(
            description="How many POSTs a second each key (without keys, each address) may make "
            "to a process; empty is any number"
        ),
    ] = None
    rate_burst: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(
            description="How many of them may come at once after a pause; empty is those of a "
            "second"
        ),
    ] = None
    read_rate_limit: Annotated[
        Annotated[float, Meta(ge=0.001, le=1_000_000)] | None,
        Meta(
            description="How many GET and HEAD requests a second each key (without keys, each "
            "address) may make to a process; empty is any number"
        ),
    ] = None
    read_rate_burst: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(
            description="How many of them may come at once after a pause; empty is those of a "
            "second"
        ),
    ] = None
    max_pending: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="How many tasks may wait before POST is refused; empty is any number"),
    ] = None
    workers: Annotated[
        int, Meta(ge=1, le=1000, description="How many fetches may run at once in a process")
    ] = 5
    queue_size: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="How many claimed tasks may wait for a worker in a process, at most",
        ),
    ] = 100
    max_per_host: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(
            description="How many fetches from one host (and port) may run at once, on all nodes "
            "together; empty is no bound, and then a host gets its fair share of the workers"
        ),
    ] = None
    breaker_failures: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="After so many failures in a row, of connections or with a 429 or 503, "
            "a host is left alone for a while, then tried by one task at a time; 0 is never",
        ),
    ] = 20
    fetch_timeout_seconds: Annotated[
        Seconds, Meta(description="How long a fetch may take, redirects and body included")
    ] = 5.0
    drain_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)] | None,
        Meta(
            description="How long fetches in flight may go on at shutdown; empty is the fetch "
            "timeout and one second",
        ),
    ] = None
    max_redirects: Annotated[
        int, Meta(ge=0, le=50, description="How many redirects are followed")
    ] = 5
    max_result_bytes: Annotated[
        int, Meta(ge=1, le=64 * 2**20, description="How long a body may be to be kept, decoded")
    ] = 2**20
    failed_body_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=65_536,
            description="Maximum number of bytes that are kept of the body of a response to a "
            "failed attempt; 0 keeps status and headers only",
        ),
    ] = 16_384
    max_body_bytes: Annotated[
        int,
        Meta(
            ge=1,
            le=64 * 2**20,
            description="How long the body of a request may be, or a line of a stream of tasks",
        ),
    ] = 2**20
    max_array_bytes: Annotated[
        int,
        Meta(ge=1, le=256 * 2**20, description="How long it may be if it is an array of tasks"),
    ] = 16 * 2**20
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="How many clients may be connected to a process at once (never more than "
            "half of the files it may open); the next ones are answered 503",
        ),
    ] = 1000
    keep_alive_seconds: Annotated[
        Seconds,
        Meta(
            description="How long a connection may be idle; behind a proxy a little longer than "
            "the proxy keeps it"
        ),
    ] = 5.0
    request_seconds: Annotated[
        Seconds,
        Meta(
            description="How long a client may take to send the body of a request, and again to "
            "read the answer (a second more for each 64 KiB)"
        ),
    ] = 30.0
    poll_seconds: Annotated[
        Seconds,
        Meta(description="How often to look for work when no notification says there is some"),
    ] = 2.0
    heartbeat_seconds: Annotated[
        Seconds, Meta(description="How often a node renews its lease and looks for dead nodes")
    ] = 5.0
    lease_seconds: Annotated[
        Seconds, Meta(description="How long after its last heartbeat a node counts as dead")
    ] = 20.0
    max_rescues: Annotated[
        int, Meta(ge=1, le=1000, description="A task whose node died this often ends FAILED")
    ] = 5
    max_attempts: Annotated[
        int,
        Meta(ge=1, le=100, description="How many attempts a task gets whose POST does not say"),
    ] = 1
    backoff_seconds: Annotated[
        Seconds,
        Meta(description="How long to wait before a second attempt, at most; doubled each time"),
    ] = 1.0
    max_backoff_seconds: Annotated[Seconds, Meta(description="What that doubling ends at")] = 600.0
    max_retry_after_seconds: Annotated[
        Seconds, Meta(description="How much of a target's Retry-After is honoured, at most")
    ] = 3600.0
    retention_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=10 * 365 * 86_400)] | None,
        Meta(description="How long tasks are kept after their end; empty is for ever"),
    ] = None
    idempotency_seconds: Annotated[
        float,
        Meta(gt=0, le=31_536_000, description="How long the Idempotency-Key of a POST is known"),
    ] = 86_400.0
    database_connections: Annotated[
        int,
        Meta(ge=1, le=100, description="Connections to PostgreSQL in a process, two more aside"),
    ] = 4
    database_timeout_seconds: Annotated[
        Seconds, Meta(description="How long PostgreSQL may take to connect or for a statement")
    ] = 5.0
    database_pooler: Annotated[
        Literal["none", "transaction"],
        Meta(
            description="transaction if DATABASE_URL leads through PgBouncer in transaction mode: "
            "no prepared statements, and looking for work every TASKFLOW_POLL_SECONDS instead of "
            "LISTEN"
        ),
    ] = "none"
    allow_networks: Annotated[
        tuple[Annotated[str, Meta(title="networks such as 10.1.0.0/16 or ::1/128")], ...],
        Meta(
            description="Networks that tasks may be fetched from although they are not public; "
            "link-local and metadata addresses only if they are named by themselves"
        ),
    ] = ()
    allow_hosts: Annotated[
        Hosts, Meta(description="Names that tasks may be fetched from although they lead inside")
    ] = ()
    deny_hosts: Annotated[Hosts, Meta(description="Hosts that tasks may not be fetched from")] = ()
    allow_ports: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    pattern=r"^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$",
                    title="ports and ranges such as 8000-8999",
                ),
            ],
            ...,
        ],
        Meta(
            description="Ports that tasks may be fetched from; empty is 80, 443, and those from "
            "1024 up that belong to no well-known service that is no website"
        ),
    ] = ()
    masked_headers: Annotated[
        tuple[
            Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", title="header names")],
            ...,
        ],
        Meta(
            description="Headers and query parameters whose values are masked, beside those named "
            "like credentials"
        ),
    ] = (
        "authorization",
        "proxy-authorization",
        "authentication-info",
        "cookie",
        "set-cookie",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-amz-security-token",
    )
    resolver_threads: Annotated[
        int, Meta(ge=1, le=1000, description="How many names may be resolved at once in a process")
    ] = 64
    log_level: Annotated[LogLevel, Meta(description="The least level that is logged")] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Meta(
            description="Log lines for people (console) or for programs (json); auto is for people "
            "on a terminal, and json elsewhere"
        ),
    ] = "auto"

    traces: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Whether spans are sent to an OpenTelemetry collector; auto is on if the "
            "environment has OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_TRACES_EXPORTER (docs/tracing.md)"
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        for network in self.allow_networks:
            _check_network(network)
        _check_port("BIND", self.bind)
        if self.metrics_bind:
            _check_port("METRICS_BIND", self.metrics_bind)
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise SettingsError(
                f"{PREFIX}LEASE_SECONDS must be at least twice {PREFIX}HEARTBEAT_SECONDS, "
                "so that one late heartbeat does not end the lease"
            )
        if self.rate_burst is not None and self.rate_limit is None:
            raise SettingsError(f"{PREFIX}RATE_BURST means nothing without {PREFIX}RATE_LIMIT")
        if self.read_rate_burst is not None and self.read_rate_limit is None:
            raise SettingsError(
                f"{PREFIX}READ_RATE_BURST means nothing without {PREFIX}READ_RATE_LIMIT"
            )

    def __repr__(self) -> str:
        """Say which fields differ from their defaults, without the secrets."""
        defaults = {field.name: field.default for field in msgspec.structs.fields(self)}
        shown = [
            f"{name}={'...' if name in SECRETS else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
            if value != defaults[name]
        ]
        return f"Settings({', '.join(shown)})"

    @property
    def has_keys(self) -> bool:
        """Whether clients must have a key."""
        return bool(self.api_keys or self.api_keys_file)

    @property
    def has_webhook_secrets(self) -> bool:
        """Whether callbacks can be signed."""
        return bool(self.webhook_secrets or self.webhook_secrets_file)

    @property
    def is_tracing(self) -> bool:
        """Whether spans are wanted; ``load`` has put ``on`` in the place of ``auto`` by then."""
        return self.traces == "on"

    @property
    def drain_deadline_seconds(self) -> float:
        """How long fetches in flight may go on at shutdown."""
        if self.drain_seconds is None:
            return self.fetch_timeout_seconds + 1.0
        return self.drain_seconds


def _check_port(name: str, bind: str) -> None:
    port = bind.rpartition(":")[2]
    if not bind.startswith("unix:") and int(port) > _LAST_PORT:
        raise SettingsError(f"{PREFIX}{name}={bind!r} cannot be used: ports go up to {_LAST_PORT}")


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(
            f"{PREFIX}ALLOW_NETWORKS: {error}; write networks such as 10.1.0.0/16 or ::1/128"
        ) from None
