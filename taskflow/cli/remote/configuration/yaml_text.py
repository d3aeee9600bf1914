"""YAML with references to variables of the environment: ``${NAME}``."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from typing import Any, Final

import yaml

from taskflow.cli.exit_status import ExitStatus, Failure

MAX_FILE_BYTES: Final = 4 * 2**20
_REFERENCE: Final = re.compile(r"(\$)?\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """Reads times as text, and rejects names that are given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the signature of PyYAML
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name in names:
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the name {name!r} must be text: put it in quotes", node.start_mark
                )
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice!r} is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != _TIMESTAMP]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def loaded(text: str, source: str) -> Any:
    """Return the values of a YAML document.

    Raises:
        Failure: It is not YAML, or too large.
    """
    if len(text) > MAX_FILE_BYTES:
        raise Failure(f"{source} is larger than {MAX_FILE_BYTES} bytes", ExitStatus.USAGE)
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise Failure(f"{source} is not valid YAML: {reason}", ExitStatus.USAGE) from None


def dumped(value: Any) -> str:
    """Return a value as YAML; what looks like a reference is escaped."""
    return yaml.safe_dump(_escaped(value), sort_keys=False, allow_unicode=True, width=100)


def with_variables(value: Any, missing: set[str], environ: Mapping[str, str] | None = None) -> Any:
    """Return a value with the references in its texts replaced; ``$${`` stands for ``${``.

    Args:
        value: The values of the document.
        missing: Receives the names of variables that are not set.
        environ: The environment; ``None`` for the one of the process.
    """
    known = os.environ if environ is None else environ

    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        if found[2] not in known:
            missing.add(found[2])
        return known.get(found[2], "")

    if isinstance(value, str):
        return _REFERENCE.sub(replaced, value)
    if isinstance(value, dict):
        return {name: with_variables(one, missing, known) for name, one in value.items()}
    if isinstance(value, list):
        return [with_variables(one, missing, known) for one in value]
    return value


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: f"${found[0]}", value)
    if isinstance(value, dict):
        return {name: _escaped(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return value
