"""What an operator can set: one frozen object, validated at the edge.

This is the only module that reads the environment. Every setting is a field of
``Settings``: its type carries bounds and one line of meaning, from which ``.env.example``
and the README's table are written.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import dotenv
import msgspec
from msgspec import Meta

from taskflow.model.errors import SettingsError

PREFIX: Final = "TASKFLOW_"
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Hosts = tuple[
    Annotated[
        str,
        Meta(
            pattern=r"^(\*\.)?[A-Za-z0-9_:-]+(\.[A-Za-z0-9_-]+)*\.?$",
            title="names such as api.example.com or *.example.com",
        ),
    ],
    ...,
]
# These are never shown.
SECRETS: Final = frozenset({"database_url", "api_keys"})
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
        Annotated[float, Meta(gt=0, le=1_000_000)] | None,
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
    max_body_bytes: Annotated[
        int, Meta(ge=1, le=64 * 2**20, description="How long the body of a request may be")
    ] = 2**20
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
        Meta(description="Header fields of answers whose values are not kept, but masked"),
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
        Meta(description="Log lines for people or for programs; auto is console on a terminal"),
    ] = "auto"

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        for network in self.allow_networks:
            _check_network(network)
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise SettingsError(
                f"{PREFIX}LEASE_SECONDS must be at least twice {PREFIX}HEARTBEAT_SECONDS, "
                "so that one late heartbeat does not end the lease"
            )
        if self.rate_burst is not None and self.rate_limit is None:
            raise SettingsError(f"{PREFIX}RATE_BURST means nothing without {PREFIX}RATE_LIMIT")

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
    def drain_deadline_seconds(self) -> float:
        """How long fetches in flight may go on at shutdown."""
        if self.drain_seconds is None:
            return self.fetch_timeout_seconds + 1.0
        return self.drain_seconds


class Setting(msgspec.Struct, frozen=True):
    """One setting as an operator sees it.

    Attributes:
        variable: Its name in the environment.
        field: Its name in ``Settings``.
        default: As it would be written in the environment; empty is what empty means.
        meaning: One line.
        allowed: What it may be, in words.
    """

    variable: str
    field: str
    default: str
    meaning: str
    allowed: str


def catalogue() -> list[Setting]:
    """Every setting, in the order in which they are documented."""
    return [
        Setting(
            variable=variable_of(field.name),
            field=field.name,
            default=_as_text(field.default),
            meaning=" ".join(meta.description for meta in _metas(hint) if meta.description),
            allowed=_allowed(hint),
        )
        for field, hint in zip(msgspec.structs.fields(Settings), _hints().values(), strict=True)
    ]


def variable_of(field: str) -> str:
    """The environment variable of a field."""
    return "DATABASE_URL" if field == "database_url" else PREFIX + field.upper()


def load(
    environ: Mapping[str, str] | None = None,
    dotenv_path: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> tuple[Settings, list[str]]:
    """Read the settings, and say what is odd about them.

    Args:
        environ: The environment; the process's own if not given.
        dotenv_path: A file of defaults under it; ``.env`` in the working directory if not
            given. It need not exist.
        overrides: Variables that go before all others, from the command line.

    Returns:
        The settings, and a line for each variable that looks misspelt.

    Raises:
        SettingsError: A value cannot be used; names the variable and what is allowed.
    """
    found = {
        **_read_dotenv(Path(".env") if dotenv_path is None else dotenv_path),
        **(os.environ if environ is None else environ),
        **(overrides or {}),
    }
    settings = catalogue()
    values = {
        setting.field: _parse(setting, text)
        for setting in settings
        if (text := (found.get(setting.variable) or "").strip())
    }
    return Settings(**values), list(_misspelt(found, [one.variable for one in settings]))


def _read_dotenv(path: Path) -> Mapping[str, str | None]:
    try:
        return dotenv.dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(
            f"{PREFIX}ALLOW_NETWORKS: {error}; write networks such as 10.1.0.0/16 or ::1/128"
        ) from None


def _parse(setting: Setting, text: str) -> Any:
    hint = _hints()[setting.field]
    value = _items_of(text) if _item_of(hint) else text
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError:
        raise SettingsError(
            f"{setting.variable}={text!r} cannot be used: it must be {setting.allowed}"
        ) from None


def _items_of(text: str) -> list[str]:
    return [item for part in text.split(",") if (item := part.strip())]


def _misspelt(found: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    # Without the prefix, which would make all names look alike.
    names = [variable.removeprefix(PREFIX) for variable in known]
    for variable in sorted(found):
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
            right = known[names.index(near[0])] if near else None
            hint = f"; did you mean {right}?" if right else ""
            yield f"{variable} is not a setting of TaskFlow{hint}"


def _hints() -> dict[str, Any]:
    return typing.get_type_hints(Settings, include_extras=True)


def _metas(hint: Any) -> list[Meta]:
    return [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta)]


def _allowed(hint: Any) -> str:
    """What a value may be, in words, read off its type."""
    if item := _item_of(hint):
        return f"{_allowed(item)}, separated by commas"
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return _allowed(typing.get_args(kind)[0])
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(typing.get_args(kind))}"
    if kind is bool:
        return "1 or 0"
    return _allowed_text(hint) if kind is str else _allowed_number(kind, hint)


def _allowed_text(hint: Any) -> str:
    return " or ".join(meta.title for meta in _metas(hint) if meta.title) or "text"


def _allowed_number(kind: Any, hint: Any) -> str:
    number = "a whole number" if kind is int else "a number"
    for meta in _metas(hint):
        if meta.gt is not None:
            return f"{number} above {meta.gt:g} and up to {meta.le:g}"
        if meta.ge is not None:
            return f"{number} from {meta.ge:g} to {meta.le:.0f}"
    return number


def _item_of(hint: Any) -> Any:
    """What a list has items of; ``None`` if it is no list."""
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
