"""Suggestions for unknown names of fields and parameters."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final

MAX_COMPARED_CHARACTERS: Final = 64
MIN_LIKENESS: Final = 0.75
"""Minimum ``difflib`` ratio at which a name counts as a misspelling of another."""

# Names here, and what other task queues, HTTP clients and people call them.
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "payload": "request task job message",
    "delay_seconds": "delay delay_secs delay_ms delay_in_seconds countdown defer wait_seconds",
    "run_at": "schedule_at scheduled_for scheduled_time schedule_time eta execute_at not_before "
    "run_after start_after at available_at",
    "expires_at": "expires expiry expiration expires_in expire_after deadline valid_until",
    "callback_url": "callback webhook webhook_url hook notify notify_url on_complete",
    "max_attempts": "retries max_retries max_retry retry retry_limit retry_count tries max_tries "
    "attempts num_retries",
    "backoff": "retry_delay retry_backoff retry_interval backoff_seconds",
    "retention_seconds": "retention keep keep_for result_ttl",
    "queue": "queue_name topic channel",
    "priority": "prio importance",
    "tags": "labels metadata meta attributes",
    "url": "uri href link target target_url endpoint",
    "method": "verb http_method request_method",
    "headers": "http_headers request_headers",
    "body": "data json content form request_body",
    "timeout_seconds": "timeout timeout_ms request_timeout fetch_timeout",
    "follow_redirects": "redirect redirects allow_redirects",
    "max_concurrency": "concurrency parallelism max_parallel max_running",
    "rate": "rate_limit rps",
    "paused": "pause is_paused disabled",
    "every_seconds": "every interval interval_seconds period",
    "timezone": "tz zone",
    "cron": "crontab cron_expression expression",
    "status": "state",
    "url_contains": "url url_like",
    "initial_seconds": "initial first",
    "max_seconds": "max maximum",
    "tag": "label tags",
    "created_after": "since",
    "created_before": "until",
    "limit": "per_page page_size size count",
    "cursor": "page offset after before",
    "dry_run": "dry preview",
}
MEANT_BY: Final[Mapping[str, str]] = {
    other: name for name, others in _OTHER_NAMES.items() for other in others.split()
}
_KEY_HEADER: Final = "the key is sent as the header Idempotency-Key"
ADVICE: Final[Mapping[str, str]] = {
    "idempotency_key": _KEY_HEADER,
    "dedup_key": _KEY_HEADER,
    "unique_key": _KEY_HEADER,
    "ttl": "use expires_at (not started from then on) or retention_seconds (kept for)",
}
_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Vocabulary:
    """The known names in a document or a query.

    Args:
        names: The names in the order of the error message.
        elsewhere: Names that belong in another place, with the advice for them.
    """

    def __init__(
        self, names: Iterable[str], elsewhere: Iterable[tuple[Iterable[str], str]] = ()
    ) -> None:
        self.names: Final = tuple(names)
        self.elsewhere: Final = [(frozenset(others), advice) for others, advice in elsewhere]

    def __contains__(self, name: object) -> bool:
        """Return whether a name is known."""
        return name in self.names

    def advice(self, name: str) -> str:
        """Return the advice for an unknown name."""
        if len(name) > MAX_COMPARED_CHARACTERS:
            return self.listed
        plain = _WORD_START.sub("_", name).replace("-", "_").lower()
        candidates = [one for one in (plain, MEANT_BY.get(plain)) if one]
        for one in candidates:
            if one in self.names:
                return f"did you mean {one}?"
        for others, advice in self.elsewhere:
            for one in candidates:
                if one in others:
                    return advice.format(one)
        return ADVICE.get(plain) or self._nearest(name)

    def _nearest(self, name: str) -> str:
        for meant in difflib.get_close_matches(name, self.names, 1, MIN_LIKENESS):
            return f"did you mean {meant}?"
        return self.listed

    @property
    def listed(self) -> str:
        """All names, for an error message."""
        if not self.names:
            return "none is known here"
        return f"known {'is' if len(self.names) == 1 else 'are'} {', '.join(self.names)}"


def shown_name(name: str) -> str:
    """Return a name in quotes for a message, truncated if it is long."""
    if len(name) <= MAX_COMPARED_CHARACTERS:
        return repr(name)
    return f"{name[:MAX_COMPARED_CHARACTERS]!r}..."
