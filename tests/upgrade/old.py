"""The version before this one: a wheel of it, unpacked."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

[WHEEL] = Path(__file__).parent.glob("*.whl")


def unpacked(folder: Path) -> Path:
    """Unpack it there; with this as ``PYTHONPATH`` its code runs on the packages of today."""
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder)
    return folder


def schema_version() -> int:
    """The newest schema that it knows."""
    with zipfile.ZipFile(WHEEL) as wheel:
        return max(
            int(match[1])
            for name in wheel.namelist()
            if (match := re.fullmatch(r"taskflow/store/migrations/(\d{4})_\w+\.sql", name))
        )
