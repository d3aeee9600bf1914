"""Tasks for the comparison of the ways to submit them: valid and nearly valid ones."""

from __future__ import annotations

from hypothesis import strategies as st

KNOWN_GROUP = "01a20c58-b6fd-77bf-9328-1ccde011d8db"
CLOSED_GROUP = "01a20c58-b6fd-77bf-9328-1ccde011d8dc"
KNOWN_TASK = "01a20c58-b6fd-77bf-9328-1ccde011d8dd"
UNKNOWN = "01a20c58-b6fd-77bf-9328-1ccde011d8de"

HOSTS = [
    *("example.com", "Example.COM.", "a_b.example", "localhost", "192.0.2.1", "192.0.2.01"),
    *("1.2.3", "0x7f.1", "a..b", "-", "x" * 64, ".".join(["a" * 60] * 5), "", "a b", "user@host"),
    *(
        "[::1]",
        "[2001:DB8::0:1]",
        "[::ffff:192.0.2.1]",
        "[::102:304]",
        "[::1%25eth0]",
        "[::1",
        "[1]",
    ),
    *("[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7::]", "[1::3:0:0:6:7:8]", "[::]", "[fe80::]x", "[1:2]"),
]
PORTS = ["", ":80", ":443", ":8443", ":0", ":65536", ":65535", ":080", ":", ":x"]
PATHS = ["", "/", "/a?b=c#d", "/\xe9", "/a b", "/\u200b", "?token=***", "?page=***", "/\\"]
SCHEMES = ["http://", "https://", "HTTPS://", "ftp://", "http:/", "//", ""]

hosts = st.sampled_from(HOSTS) | st.builds(
    lambda words: f"[{':'.join(words)}]",
    st.lists(st.sampled_from(["", "0", "1", "ffff", "1.2.3.4", "00ab"]), min_size=2, max_size=9),
)
urls = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(SCHEMES),
    hosts,
    st.sampled_from(PORTS),
    st.sampled_from(PATHS),
) | st.just("http://x/")

numbers = st.sampled_from([-1, 0, 0.0005, 0.5, 1, 1.0, 1.5, 2, 100, 101, 1e9, 1e300, 1e-320, 86400])
texts = st.sampled_from(
    [
        "",
        "x",
        "a-b.c_D",
        "-x",
        "x" * 64,
        "x" * 65,
        "a\nb",
        "a\n",
        "\xe9",
        "'\"\\",
        "5xx",
        KNOWN_TASK,
    ]
)
moments = st.sampled_from(
    [
        *("2026-11-24T06:57:50Z", "2000-01-01 00:00:00.1234567+01:30", "2099-12-31T23:59:59-0100"),
        *(
            "2026-02-30T00:00:00Z",
            "2026-11-24T06:57:50",
            "2026-11-24T24:00:00Z",
            "tomorrow",
            "infinity",
        ),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.9999999-23:59", "2026-11-24t06:57:60z"),
        *("2026-11-24T06:57:50.999999Z", "0000-01-01T00:00:00Z", "2026-11-24T06:57:50+24:00"),
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts | moments,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


def members(**known: st.SearchStrategy) -> st.SearchStrategy:
    """An object with some of these members, valid or not, and hardly ever with others."""
    names = st.sets(st.sampled_from(sorted(known)), min_size=len(known) - 1)
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries({name: known[name] for name in sorted(chosen)})
    ) | st.fixed_dictionaries(
        known, optional={"delay": anything, "Key": anything, "onConflict": texts}
    )


statuses = st.sampled_from(["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELED", "pending"])
headers = st.dictionaries(
    st.sampled_from(
        [
            "X-A",
            "Host",
            "Accept-Encoding",
            "webhook-id",
            "X-TaskFlow-Completion-Url",
            "a b",
            "\xe9",
            "'",
        ]
    ),
    st.sampled_from(["v", "", " v", "\xe9", "***", "x" * 8193, 1, None, "a\tb"]),
    max_size=3,
)
parents = st.sampled_from(["a", KNOWN_TASK, KNOWN_TASK.upper(), "z"])
pointers = st.sampled_from(["", "/result/id", "result", "/~2", "/a~1b", "/" * 33, "/" + "x" * 1024])
in_texts = st.builds("{{{{{}:{}}}}}".format, parents, pointers)
referring = st.recursive(
    st.builds(lambda parent, pointer: {"$from": parent, "pointer": pointer}, parents, pointers)
    | st.just({"$from": 1, "pointer": ""}),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)
deep = st.integers(14, 18).map(lambda depth: nested({"$from": "a", "pointer": ""}, depth))
many = st.integers(99, 102).map(lambda count: [{"$from": "a", "pointer": ""}] * count)


def nested(value: object, depth: int) -> object:
    """A value within arrays."""
    for _ in range(depth):
        value = [value]
    return value


with_references = st.builds(
    "http://x{}{}".format, st.sampled_from(["/", "?", "", "#"]), in_texts
) | (
    st.fixed_dictionaries(
        {"url": st.builds("http://x/{}-{}".format, in_texts, in_texts) | st.just("http://x/")},
        optional={
            "headers": st.dictionaries(st.sampled_from(["X-A", "X/B"]), in_texts),
            "body": referring | deep | many,
        },
    )
)
bodies = anything | st.sampled_from(
    [{"base64": "YQ=="}, {"base64": "YQ"}, {"base64": 1}, {"base64": "YQ==", "a": 1}]
)
requests = members(
    url=urls | anything, method=st.sampled_from(["GET", "POST", "CONNECT", "get"])
) | (
    st.fixed_dictionaries(
        {"url": urls},
        optional={
            "headers": headers | anything,
            "body": bodies,
            "timeout_seconds": numbers | anything,
            "follow_redirects": st.booleans() | anything,
            "methode": texts,
            "priority": numbers,
            "timeout": numbers,
        },
    )
)
payloads = urls | requests | anything
tags = st.dictionaries(texts | st.sampled_from("abc"), numbers | texts | st.booleans(), max_size=3)
FIELDS = {
    "max_attempts": numbers,
    "priority": numbers | st.sampled_from([-100, 7, 2.0]),
    "queue": texts,
    "run_at": moments,
    "delay_seconds": numbers,
    "expires_at": moments,
    "backoff": st.just("webhook")
    | st.lists(numbers, max_size=3)
    | members(initial_seconds=numbers, factor=numbers, max_seconds=numbers),
    "retry_on": st.lists(st.sampled_from([404, "5xx", "0xx", 99, 503.0, True]), max_size=3),
    "success_on": st.lists(st.sampled_from([200, "2xx", 1000]), max_size=51),
    "sign": st.booleans(),
    "credential": st.just("billing"),
    "unique": members(
        key=texts,
        **{
            "while": st.lists(statuses, max_size=4),
            "on_conflict": st.sampled_from(["reject", "x"]),
        },
    ),
    "debounce": members(key=texts, delay_seconds=numbers, max_wait_seconds=numbers | st.none()),
    "tags": tags,
    "completion": members(mode=st.sampled_from(["callback", "poll", "x"]), within_seconds=numbers),
    "callback_url": urls | st.just("https://h/?token=***"),
    "retention_seconds": numbers,
    "order_key": texts,
    "on_failure": st.sampled_from(["continue", "hold", "x"]),
    "group": st.sampled_from([KNOWN_GROUP, KNOWN_GROUP.upper(), CLOSED_GROUP, UNKNOWN, "x"]),
    "name": texts,
    "after": st.lists(st.sampled_from([KNOWN_TASK, UNKNOWN, KNOWN_TASK.upper(), "a"]), max_size=3),
    "on_parent_failure": st.sampled_from(["run", "cancel", "x"]),
}
OTHERS = [
    "prio",
    "retries",
    "idempotency_key",
    "id",
    "status",
    "url",
    "method",
    "ttl",
    "callbackUrl",
]
OTHERS += ["x" * 65, "cron", "zzz", "delay-seconds", "a'b", "a\"b'c", "/~"]


def task_of(names: frozenset[str]) -> st.SearchStrategy:
    fields = {name: FIELDS.get(name, anything) for name in sorted(names)}
    return st.fixed_dictionaries({"payload": payloads, **fields}) | st.fixed_dictionaries(
        {"payload": payloads}, optional={name: kind | anything for name, kind in fields.items()}
    )


VALID = {
    "max_attempts": st.just(3),
    "priority": st.sampled_from([0, 5]),
    "queue": st.just("mail"),
    "run_at": st.sampled_from(["2000-01-01T00:00:00Z", "2099-01-01T00:00:00Z"]),
    "delay_seconds": st.sampled_from([0, 5]),
    "expires_at": st.just("2099-01-01T00:00:00Z"),
    "backoff": st.sampled_from(
        ["webhook", [1, 2.5], {"factor": 2}, {}, {"max_seconds": 7, "factor": 3}]
    ),
    "retry_on": st.sampled_from([[], [404, "5xx"]]),
    "success_on": st.just(["2xx", 404]),
    "sign": st.booleans(),
    "credential": st.just("billing"),
    "unique": st.sampled_from(
        [
            {"key": "k"},
            {"key": "k", "on_conflict": "reject", "while": ["RUNNING", "PENDING", "FAILED"]},
        ]
    ),
    "debounce": st.sampled_from(
        [
            {"key": "k", "delay_seconds": 60},
            {"key": "k", "delay_seconds": 5, "max_wait_seconds": 60},
        ]
    ),
    "tags": st.sampled_from([{}, {"a": 1, "b": True, "c": "\xe9"}]),
    "completion": st.just({"mode": "callback", "within_seconds": 60}),
    "callback_url": st.sampled_from(["https://Example.com:8443/done", "http://1.2.3/"]),
    "retention_seconds": st.just(60.5),
    "order_key": st.just("k"),
    "on_failure": st.sampled_from(["hold", "continue"]),
    "group": st.sampled_from([KNOWN_GROUP, KNOWN_GROUP.upper()]),
    "name": st.just("n"),
    "after": st.sampled_from([[KNOWN_TASK], [KNOWN_TASK.upper()], [], [UNKNOWN]]),
    "on_parent_failure": st.just("run"),
}


QUEUES = ["default", "mail", "x", "a-b.c_D", "x" * 64, "5xx", KNOWN_TASK]
"""All valid names of queues among the documents."""

documents = (
    st.frozensets(st.sampled_from([*FIELDS, *FIELDS, *OTHERS]), max_size=5).flatmap(task_of)
    # Fields in most combinations, each valid.
    | st.frozensets(st.sampled_from(sorted(FIELDS)), max_size=4).flatmap(
        lambda names: st.fixed_dictionaries(
            {"payload": st.just("http://x/"), **{name: VALID[name] for name in sorted(names)}}
        )
    )
    | st.fixed_dictionaries(
        {"payload": with_references, "after": st.lists(parents, min_size=1, max_size=2)}
    )
    | anything
)
in_graphs = st.fixed_dictionaries(
    {"payload": st.just("http://x/")},
    optional={
        "name": st.sampled_from("abc"),
        "after": st.lists(
            st.sampled_from(["a", "b", "c", "d", KNOWN_TASK]), max_size=2, unique=True
        ),
        "unique": st.fixed_dictionaries(
            {"key": st.sampled_from("xy"), "on_conflict": st.just("reject")}
        ),
        "group": st.sampled_from([KNOWN_GROUP, CLOSED_GROUP]),
        "order_key": st.just("k"),
        "max_attempts": st.sampled_from([1, 0]),
    },
)
arrays = st.lists(in_graphs, min_size=1, max_size=5) | st.lists(documents, min_size=1, max_size=4)
