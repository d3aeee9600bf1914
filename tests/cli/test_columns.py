"""Tables that fit a terminal."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from taskflow.cli.columns import Column, lines_of

URL = Column("URL", may_shrink=True, keeps_end=True)
SAME = "http://localhost:8081/orders/"


@pytest.mark.parametrize("width", [20, 24, 28])
def test_addresses_differ_at_the_end(width):
    """So what does not fit is left out of the middle, and each is still told from the others."""
    _, *lines = (line.plain for line in lines_of([URL], [[f"{SAME}4711"], [f"{SAME}4712"]], width))
    assert [cell_len(line) for line in lines] == [width, width]
    assert [line[-5:] for line in lines] == ["/4711", "/4712"]
    assert all(line.startswith("http") and "\N{HORIZONTAL ELLIPSIS}" in line for line in lines)


def test_what_fits_is_whole():
    assert [line.plain for line in lines_of([URL], [[SAME]], 80)] == ["URL", SAME]


def test_wide_characters_take_their_room():
    """Of two cells each: no line is wider than it may be."""
    _, line = lines_of([URL], [["http://\u4e16\u754c\u4e16\u754c\u4e16\u754c\u4e16\u754c/"]], 15)
    assert cell_len(line.plain) <= 15
