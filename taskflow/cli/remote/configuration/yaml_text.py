"""YAML: its loader, with limits, and its writer."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import yaml

from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.configuration.variables import escaped

MAX_FILE_BYTES: Final = 4 * 2**20
MAX_NODES: Final = 100_000
"""Maximum number of names and values of a document, after its aliases are expanded."""
MAX_DEPTH: Final = 64
"""Maximum nesting of a document, after its aliases are expanded."""

_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_TEXT: Final = "tag:yaml.org,2002:str"
_FLAG: Final = "tag:yaml.org,2002:bool"
_MERGE: Final = "tag:yaml.org,2002:merge"
_INVALID: Final = (ValueError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for a scalar that its tag does not allow, such as ``!!int x`` and ``0x_``."""


class _Size(NamedTuple):
    """The number of names and values of a node, and how deep they are nested."""

    nodes: int
    depth: int


class _Loader(yaml.SafeLoader):
    """Reads times as text, and limits the size of documents.

    Rejects names that are given twice or are not text, and aliases that contain themselves.
    """

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self.name = source  # for messages
        self._nodes = 0
        self._depth = 0
        self._deepest = 0
        self._anchored: dict[str, _Size] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; an alias counts as all that it stands for."""
        event: yaml.NodeEvent = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._add_alias(event)
            return super().compose_node(parent, index)
        nodes, deepest = self._nodes, self._deepest
        self._depth += 1
        self._deepest = self._depth
        self._add(1, self._depth, event)
        node = super().compose_node(parent, index)
        if event.anchor is not None:
            size = _Size(self._nodes - nodes, self._deepest - self._depth + 1)
            self._anchored[event.anchor] = size
        self._deepest = max(self._deepest, deepest)
        self._depth -= 1
        return node

    def _add_alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor in self._anchored:
            size = self._anchored[event.anchor]
            self._add(size.nodes, self._depth + size.depth, event)
        elif event.anchor in self.anchors:
            raise _error(f"the alias *{event.anchor} contains itself", event)

    def _add(self, nodes: int, depth: int, event: yaml.Event) -> None:
        self._nodes += nodes
        self._deepest = max(self._deepest, depth)
        if self._nodes > MAX_NODES:
            reason = f"it has more than {MAX_NODES} names and values, with its aliases expanded"
        elif depth > MAX_DEPTH:
            reason = f"it is nested deeper than {MAX_DEPTH} levels, with its aliases expanded"
        else:
            return
        raise _error(reason, event)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; its names are checked before ``<<`` is merged into it."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if (key.tag, key.value) == (_FLAG, "on"):  # to YAML 1.1, true; here, a field of alerts
                key.tag = _TEXT
            if key.tag not in (_TEXT, _MERGE):
                shown = key.value if isinstance(key, yaml.ScalarNode) else f"of this {key.id}"
                reason = f"the name {shown} must be text: put it in quotes"
            elif key.value in seen:
                reason = f"{key.value!r} is given twice"
            else:
                seen.add(key.value)
                continue
            raise _error(reason, key)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - the signature of PyYAML
        """Return the value of a node."""
        try:
            return super().construct_object(node, deep=deep)
        except _INVALID:
            raise _error(f"the value is not a valid {node.tag}", node) from None


def _error(reason: str, at: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=at.start_mark)  # type: ignore[arg-type]


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != _TIMESTAMP]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def loaded(text: str, source: str) -> Any:
    """Return the values of a YAML document.

    Args:
        text: The document.
        source: The name of its file, for messages.

    Raises:
        Failure: It is not YAML, or too large.
    """
    if len(text) > MAX_FILE_BYTES:
        raise Failure(f"{source} is larger than {MAX_FILE_BYTES} bytes", ExitStatus.USAGE)
    try:
        return _Loader(text, source).get_single_data()
    except yaml.YAMLError as error:
        if isinstance(error, yaml.reader.ReaderError):
            error.name = source
        reason = " ".join(str(error).split())
        raise Failure(f"{source} is not valid YAML: {reason}", ExitStatus.USAGE) from None


def dumped(value: Any) -> str:
    """Return a value as YAML; what looks like a reference is escaped."""
    return yaml.safe_dump(escaped(value), sort_keys=False, allow_unicode=True, width=100)
