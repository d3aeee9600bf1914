"""``Settings``: each setting is a field whose type carries its bounds and its documentation."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from taskflow.model.errors import SettingsError

PREFIX: Final = "TASKFLOW_"
_MAX_PORT: Final = 65_535
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
# Never shown in logs or errors.
SECRETS: Final = frozenset(
    {"database_url", "api_keys", "webhook_secrets", "encryption_keys", "egress_proxy", "smtp_url"}
)
LogLevel = Literal["debug", "info", "warning", "error"]
# What a node reports of itself, so that nodes can be compared: what should be the same on all of
# them, and how much each can run. Nothing secret, and no names of hosts or networks.
REPORTED: Final = (
    *("workers", "queue_size", "database_connections", "max_per_host", "max_pending"),
    *("breaker_failures", "endpoint_disable_seconds", "fetch_timeout_seconds", "max_redirects"),
    *("max_result_bytes", "failed_body_bytes", "max_body_bytes", "poll_seconds"),
    *("heartbeat_seconds", "lease_seconds", "max_rescues", "max_attempts", "backoff_seconds"),
    *("max_backoff_seconds", "max_retry_after_seconds", "retention_seconds"),
    *("archive_after_seconds", "audit_retention_days", "idempotency_seconds"),
    *("sign_requests", "encrypt", "public_url"),
)
# What a node reports a fingerprint of: it names hosts and networks.
FINGERPRINTED: Final = ("allow_networks", "allow_hosts", "deny_hosts", "allow_ports")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings with their defaults. ``load`` reads them."""

    database_url: Annotated[
        str,
        Meta(
            description="Task store: postgresql://... is your server (of several hosts, the one "
            "that accepts writes), memory:// is lost at exit, empty is a PostgreSQL server that "
            "TaskFlow runs itself"
        ),
    ] = ""
    cells_file: Annotated[
        str,
        Meta(
            description="File with the cells, a name and a URL per line: the tasks are divided "
            "among these databases, and DATABASE_URL is not used (docs/how-to/use-cells.md)"
        ),
    ] = ""
    cells: Annotated[
        tuple[Annotated[str, Meta(title="names of cells")], ...],
        Meta(
            description="Names of the cells whose tasks this node runs, all if empty; it serves "
            "the API for all cells"
        ),
    ] = ()
    data_dir: Annotated[
        str,
        Meta(
            description="Data directory of that PostgreSQL server; empty is taskflow in the user's "
            "data directory (/var/lib/taskflow for root)"
        ),
    ] = ""
    bind: Annotated[
        str,
        Meta(
            pattern=r"^((\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}|unix:[^\s]+)$",
            title="an address and a port such as 127.0.0.1:8080 or [::1]:8080, or unix:/a/path",
            description="Address and port of the API, for `taskflow serve`",
        ),
    ] = "127.0.0.1:8080"
    public_url: Annotated[
        str,
        Meta(
            pattern=r"^(|https?://[^\s/?#@]+(/[^\s?#]*[^\s?#/])?)$",
            title="a URL without a slash at its end, such as https://tasks.example.com",
            description="Public URL of the API: the issuer of ID tokens (credentials of the kind "
            "oidc), below which targets report outcomes (completion); the same on all nodes",
        ),
    ] = ""
    metrics_bind: Annotated[
        str,
        Meta(
            pattern=r"^(|(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}|unix:[^\s]+)$",
            title="an address and a port such as 127.0.0.1:8081 or [::1]:8081, or unix:/a/path",
            description="Address and port of `/metrics`, for `taskflow worker`, with the same "
            "access rules; empty is off",
        ),
    ] = ""
    api_keys: Annotated[
        str,
        Meta(
            description="API keys, as name:key or name:role:key, separated by commas; the role is "
            "read, write (default) or admin; queues=mail,reports-*: before the key limits it to "
            "these queues"
        ),
    ] = ""
    api_keys_file: Annotated[
        str,
        Meta(description="File with more API keys, one per line, as created by `taskflow key new`"),
    ] = ""
    webhook_secrets: Annotated[
        str,
        Meta(
            description="Secrets that sign requests and callbacks, as `taskflow secret new` prints "
            "them, separated by commas: two during a rotation; the same on all nodes. If none is "
            "set, callback_url and sign are rejected"
        ),
    ] = ""
    webhook_secrets_file: Annotated[
        str, Meta(description="File with more of these secrets, one per line")
    ] = ""
    sign_requests: Annotated[
        bool,
        Meta(
            description="1 to sign all requests of tasks with these secrets; `sign` of a queue or "
            "a task takes precedence"
        ),
    ] = False
    encryption_keys: Annotated[
        str,
        Meta(
            description="Keys that encrypt data at rest, created by `taskflow secret new "
            "--encryption`, separated by commas: the first key encrypts, all keys decrypt; the "
            "same on all nodes"
        ),
    ] = ""
    encryption_keys_file: Annotated[
        str, Meta(description="File with more of these keys, one per line")
    ] = ""
    encrypt: Annotated[
        tuple[Literal["payloads", "results"], ...],
        Meta(
            description="What to encrypt in the database with these keys: payloads, results, or "
            "both, separated by a comma; empty is neither"
        ),
    ] = ()
    allow_anonymous: Annotated[
        bool,
        Meta(description="1 to serve without API keys on addresses that other machines can reach"),
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
            description="Host names to serve in addition to localhost and IP addresses; empty is "
            "any name with API keys, and the name in TASKFLOW_BIND without",
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
        Meta(description="Origins whose pages may use the API (CORS)"),
    ] = ()
    rate_limit: Annotated[
        Annotated[float, Meta(ge=0.001, le=1_000_000)] | None,
        Meta(
            description="Maximum POST requests per second and process for each API key (without "
            "keys, for each address); empty is unlimited"
        ),
    ] = None
    rate_burst: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(
            description="Burst: maximum number of these requests at once after a pause; empty is "
            "one second's worth"
        ),
    ] = None
    read_rate_limit: Annotated[
        Annotated[float, Meta(ge=0.001, le=1_000_000)] | None,
        Meta(
            description="Maximum GET and HEAD requests per second and process for each API key "
            "(without keys, for each address); empty is unlimited"
        ),
    ] = None
    read_rate_burst: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(
            description="Burst: maximum number of these requests at once after a pause; empty is "
            "one second's worth"
        ),
    ] = None
    max_pending: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="Backlog limit: maximum number of pending tasks; empty is unlimited"),
    ] = None
    workers: Annotated[
        int, Meta(ge=1, le=1000, description="Maximum number of concurrent fetches in a process")
    ] = 5
    processes: Annotated[
        str,
        Meta(
            pattern=r"^(auto|[1-9][0-9]?)$",
            title="a number from 1 to 99, or auto",
            description="Number of processes of `taskflow serve`, each a node with its own workers "
            "and connections; auto is one for each CPU",
        ),
    ] = "1"
    queue_size: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Maximum number of claimed tasks that wait for a worker in a process",
        ),
    ] = 100
    max_per_host: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(
            description="Maximum number of concurrent fetches from a host (and port), across all "
            "nodes; empty is unlimited, and a host gets its fair share of the workers"
        ),
    ] = None
    breaker_failures: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Consecutive failures (connection errors, 429 or 503) after which the "
            "circuit breaker of a host opens; then one task at a time probes it; 0 is never",
        ),
    ] = 20
    endpoint_disable_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=31_536_000,
            description="How long the attempts of an endpoint of a topic may fail, without a "
            "success, before it is disabled",
        ),
    ] = 432_000.0
    fetch_timeout_seconds: Annotated[
        Seconds, Meta(description="Timeout of a fetch, including redirects and body")
    ] = 5.0
    drain_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)] | None,
        Meta(
            description="Time for fetches in flight to finish at shutdown; empty is the fetch "
            "timeout plus one second",
        ),
    ] = None
    max_redirects: Annotated[int, Meta(ge=0, le=50, description="Maximum number of redirects")] = 5
    max_result_bytes: Annotated[
        int, Meta(ge=1, le=64 * 2**20, description="Maximum size of a decoded response body")
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
            description="Maximum size of a request body, or of a line in a stream of tasks",
        ),
    ] = 2**20
    max_array_bytes: Annotated[
        int,
        Meta(
            ge=1,
            le=256 * 2**20,
            description="Maximum size of a request body that is an array of tasks",
        ),
    ] = 16 * 2**20
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="Connection limit of a process (at most half of its file descriptors); "
            "further connections receive 503",
        ),
    ] = 1000
    keep_alive_seconds: Annotated[
        Seconds,
        Meta(
            description="Idle timeout of client connections; behind a proxy, slightly longer than "
            "the proxy's"
        ),
    ] = 5.0
    request_seconds: Annotated[
        Seconds,
        Meta(
            description="Timeout for a client to send a request body, and to read the response "
            "(plus one second for each 64 KiB)"
        ),
    ] = 30.0
    poll_seconds: Annotated[
        Seconds,
        Meta(description="Polling interval for due tasks when no notification arrives"),
    ] = 2.0
    heartbeat_seconds: Annotated[
        Seconds,
        Meta(
            description="Interval at which a node renews its lease and rescues tasks of dead nodes"
        ),
    ] = 5.0
    lease_seconds: Annotated[
        Seconds, Meta(description="Time after the last heartbeat at which a node counts as dead")
    ] = 20.0
    max_rescues: Annotated[
        int, Meta(ge=1, le=1000, description="Number of rescues after which a task fails as poison")
    ] = 5
    max_attempts: Annotated[
        int,
        Meta(ge=1, le=100, description="Default maximum number of attempts of a task"),
    ] = 1
    backoff_seconds: Annotated[
        Seconds,
        Meta(description="Maximum delay before the second attempt; doubled for each further one"),
    ] = 1.0
    max_backoff_seconds: Annotated[
        Seconds, Meta(description="Upper limit of the doubled delay")
    ] = 600.0
    max_retry_after_seconds: Annotated[
        Seconds, Meta(description="Upper limit of a target's Retry-After")
    ] = 3600.0
    retention_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=10 * 365 * 86_400)] | None,
        Meta(description="How long finished tasks are kept; empty is forever"),
    ] = None
    archive_after_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=10 * 365 * 86_400)] | None,
        Meta(description="When finished tasks are moved to the archive; empty is never"),
    ] = None
    audit_retention_days: Annotated[
        Annotated[int, Meta(ge=1, le=3650)] | None,
        Meta(description="How long entries of the audit log are kept; empty is forever"),
    ] = 365
    idempotency_seconds: Annotated[
        float,
        Meta(gt=0, le=31_536_000, description="How long the Idempotency-Key of a POST is stored"),
    ] = 86_400.0
    database_connections: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Connections to PostgreSQL in a process, in addition to two reserved ones",
        ),
    ] = 4
    database_timeout_seconds: Annotated[
        Seconds,
        Meta(description="Timeout for connecting to a host of PostgreSQL and for each statement"),
    ] = 5.0
    database_pooler: Annotated[
        Literal["none", "transaction"],
        Meta(
            description="transaction if DATABASE_URL points to PgBouncer in transaction mode: no "
            "prepared statements, and polling every TASKFLOW_POLL_SECONDS instead of LISTEN"
        ),
    ] = "none"
    allow_networks: Annotated[
        tuple[Annotated[str, Meta(title="networks such as 10.1.0.0/16 or ::1/128")], ...],
        Meta(
            description="Networks to allow as targets although they are not public; link-local and "
            "metadata addresses must be listed explicitly"
        ),
    ] = ()
    allow_hosts: Annotated[
        Hosts,
        Meta(description="Host names to allow as targets although their addresses are not public"),
    ] = ()
    deny_hosts: Annotated[Hosts, Meta(description="Hosts to deny as targets")] = ()
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
            description="Ports to allow as targets; empty is 80, 443, and ports from 1024 up "
            "except ports of well-known services other than web servers"
        ),
    ] = ()
    smtp_url: Annotated[
        str,
        Meta(
            title="a URL such as smtp://user:password@smtp.example:587 (STARTTLS), or smtps://...",
            description="Mail server for e-mail of alerts: smtp:// with STARTTLS, smtps:// with "
            "TLS, with a user and a password if it needs them; smtp://host:25?tls=none is a relay "
            "without both; the same on all nodes; empty is none",
        ),
    ] = ""
    smtp_from: Annotated[
        str,
        Meta(
            pattern=r"^(|[^\s@<>,;\"]+@[^\s@<>,;\"]+)$",
            title="an address such as taskflow@example.com",
            description="Address of the sender of this e-mail; required with TASKFLOW_SMTP_URL",
        ),
    ] = ""
    egress_proxy: Annotated[
        str,
        Meta(
            title="a URL such as http://user:password@proxy.example:3128, or https://...",
            description="Proxy through which tasks fetch, http:// or https://, with a user and a "
            "password if it needs them; empty is none",
        ),
    ] = ""
    egress_no_proxy: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    pattern=r"^[^\s@?#]+$",
                    title="names such as example.com or .example.com, addresses and networks, each "
                    "with a port if it is for that port only, or *",
                ),
            ],
            ...,
        ],
        Meta(
            description="Targets to fetch without that proxy: names with all names below them, "
            "addresses, networks"
        ),
    ] = ()
    masked_headers: Annotated[
        tuple[
            Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", title="header names")],
            ...,
        ],
        Meta(
            description="Headers and query parameters to mask, in addition to those named like "
            "credentials"
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
        int,
        Meta(ge=1, le=1000, description="Maximum number of concurrent DNS lookups in a process"),
    ] = 64
    log_level: Annotated[LogLevel, Meta(description="Minimum level of logged events")] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Meta(
            description="Format of log lines: console (for people) or json (for programs); auto is "
            "console on a terminal and json elsewhere"
        ),
    ] = "auto"

    traces: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Export of spans to an OpenTelemetry collector; auto is on if the "
            "environment has OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_TRACES_EXPORTER (docs/tracing.md)"
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        """Check what the types cannot express."""
        for network in self.allow_networks:
            _check_network(network)
        _check_port("BIND", self.bind)
        if self.metrics_bind:
            _check_port("METRICS_BIND", self.metrics_bind)
        if self.cells and not self.cells_file:
            raise SettingsError(f"{PREFIX}CELLS needs {PREFIX}CELLS_FILE, which names the cells")
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise SettingsError(
                f"{PREFIX}LEASE_SECONDS must be at least twice {PREFIX}HEARTBEAT_SECONDS, "
                "so that one late heartbeat does not end the lease"
            )
        if self.sign_requests and not self.has_webhook_secrets:
            raise SettingsError(
                f"{PREFIX}SIGN_REQUESTS requires {PREFIX}WEBHOOK_SECRETS: set it to what "
                "`taskflow secret new` prints"
            )
        if self.encrypt and not self.has_encryption_keys:
            raise SettingsError(
                f"{PREFIX}ENCRYPT requires {PREFIX}ENCRYPTION_KEYS: set it to what "
                "`taskflow secret new --encryption` prints"
            )
        if self.rate_burst is not None and self.rate_limit is None:
            raise SettingsError(f"{PREFIX}RATE_BURST requires {PREFIX}RATE_LIMIT")
        if self.read_rate_burst is not None and self.read_rate_limit is None:
            raise SettingsError(f"{PREFIX}READ_RATE_BURST requires {PREFIX}READ_RATE_LIMIT")

    def __repr__(self) -> str:
        """Return the fields that differ from their defaults, without secrets."""
        defaults = {field.name: field.default for field in msgspec.structs.fields(self)}
        shown = [
            f"{name}={'...' if name in SECRETS else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
            if value != defaults[name]
        ]
        return f"Settings({', '.join(shown)})"

    @property
    def has_keys(self) -> bool:
        """True if clients need an API key."""
        return bool(self.api_keys or self.api_keys_file)

    @property
    def has_webhook_secrets(self) -> bool:
        """True if requests and callbacks can be signed."""
        return bool(self.webhook_secrets or self.webhook_secrets_file)

    @property
    def has_encryption_keys(self) -> bool:
        """True if credentials can be stored."""
        return bool(self.encryption_keys or self.encryption_keys_file)

    @property
    def is_tracing(self) -> bool:
        """True if spans are exported; ``load`` has replaced ``auto`` by then."""
        return self.traces == "on"

    @property
    def drain_deadline_seconds(self) -> float:
        """Time for fetches in flight to finish at shutdown."""
        if self.drain_seconds is None:
            return self.fetch_timeout_seconds + 1.0
        return self.drain_seconds


def _check_port(name: str, bind: str) -> None:
    port = bind.rpartition(":")[2]
    if not bind.startswith("unix:") and int(port) > _MAX_PORT:
        raise SettingsError(
            f"{PREFIX}{name}={bind!r} cannot be used: the maximum port is {_MAX_PORT}"
        )


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(
            f"{PREFIX}ALLOW_NETWORKS: {error}; write networks such as 10.1.0.0/16 or ::1/128"
        ) from None
