"""The time zone database, by which schedules are due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from taskflow.cli.local.checks.check import Finding, ok, warning
from taskflow.model.zones import zone_database

_CHECK = "time zones"
_ADVICE = "run `pip install -U tzdata` on every node, and restart them"


def zone_findings() -> Iterator[Finding]:
    """Which database this machine uses, and its version."""
    found = zone_database()
    system = f"the system's {found.system_version or 'has no version'}"
    package = (
        f"the package tzdata {found.packaged_version}"
        if found.packaged_version
        else "the package tzdata is not installed"
    )
    if found.version is None:
        yield warning(_CHECK, f"{system}, and {package}", "run `pip install tzdata`")
    elif found.is_packaged:
        yield ok(_CHECK, f"{package} is used; {system}")
    else:
        yield ok(_CHECK, f"{system} is used; {package}")


def difference(versions: Iterable[str | None]) -> Iterator[Finding]:
    """A warning if nodes have different versions; those that do not say are left out."""
    known = sorted({version for version in versions if version})
    if len(known) > 1:
        yield warning(
            _CHECK,
            f"nodes use different versions ({', '.join(known)}): a schedule may be due at "
            "different times on them",
            _ADVICE,
        )
