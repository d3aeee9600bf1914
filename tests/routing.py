"""Rules of routes are compiled once in a process, instead of again for each app.

Werkzeug writes and compiles Python for the URL of each rule: more than half of what the start of a
server takes, and the tests start more than a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule

_compile = Rule._compile_builder
_compiled: dict[tuple[object, ...], Callable[..., tuple[str, str]]] = {}


def _compile_once(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
    # What is compiled depends on nothing else, and has its rule as an argument.
    key = (rule.rule, *rule._trace, repr(rule.defaults), append_unknown)
    if key not in _compiled:
        _compiled[key] = _compile(rule, append_unknown)
    return _compiled[key]


def keep_rules() -> None:
    """Compile each rule once from now on."""
    rule_class: Any = Rule
    rule_class._compile_builder = _compile_once
