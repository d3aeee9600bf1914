"""The newer of two time zone databases is used."""

import datetime as dt
import importlib.resources
import itertools
import os
import shutil
import subprocess
import sys
import zoneinfo
from pathlib import Path

import pytest
import tzdata

from taskflow.model import schedule_times
from taskflow.model.schedule import Timing
from taskflow.model.schedule_times import check_timing, next_time
from taskflow.model.zones import ZoneDatabase, is_zone, zone, zone_database

WINTER = dt.datetime(2027, 1, 15, 12, tzinfo=dt.UTC)
PACKAGED = importlib.resources.files("tzdata") / "zoneinfo"
NOON_IN_VANCOUVER = Timing(cron="0 12 * * *", timezone="America/Vancouver")


def use(path):
    """Have this process find the system's database in these folders."""
    zoneinfo.reset_tzpath(path)
    zoneinfo.ZoneInfo.clear_cache()
    schedule_times._next_cron_time.cache_clear()


@pytest.fixture
def system(tmp_path):
    """Make a system's database of a version, in which Vancouver has Berlin's clock."""
    before = zoneinfo.TZPATH

    def make(head, name="tzdata.zi"):
        (tmp_path / "America").mkdir(exist_ok=True)
        with importlib.resources.as_file(PACKAGED / "Europe" / "Berlin") as berlin:
            shutil.copy(berlin, tmp_path / "America" / "Vancouver")
            shutil.copy(berlin, tmp_path / "OnlyHere")
        if head is not None:
            (tmp_path / name).write_text(head)
        use([tmp_path])

    yield make
    use(before)


def offset_hours(name):
    """How far a zone is ahead of UTC in winter."""
    return zone(name).utcoffset(WINTER.replace(tzinfo=None)) / dt.timedelta(hours=1)


@pytest.mark.parametrize(
    "head", ["# version 2025b\n# rest", "# version 1999z", "# version unknown", "", None]
)
def test_an_older_database_of_the_system(system, head):
    """The packaged one is used where the system's is older, or does not say its version."""
    system(head)
    found = zone_database()
    assert found.is_packaged
    assert found.version == tzdata.IANA_VERSION
    with (PACKAGED / "America" / "Vancouver").open("rb") as file:
        expected = zoneinfo.ZoneInfo.from_file(file)
    assert zone("America/Vancouver").utcoffset(WINTER) == expected.utcoffset(WINTER)
    assert offset_hours("America/Vancouver") < 0
    assert next_time(NOON_IN_VANCOUVER, anchor_at=WINTER, after=WINTER).hour in (19, 20)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("# version 2099a\n", "tzdata.zi"),
        ("# version 2099a-dirty", "tzdata.zi"),
        ("2099a", "+VERSION"),
    ],
)
def test_a_newer_database_of_the_system(system, head, name):
    """The system's is used where it is newer."""
    system(head, name)
    assert not zone_database().is_packaged
    assert zone_database().version == "2099a"
    assert offset_hours("America/Vancouver") == 1
    assert next_time(NOON_IN_VANCOUVER, anchor_at=WINTER, after=WINTER).hour == 11


def test_the_same_version(system):
    """Of two that are the same the system's is used."""
    system(f"# version {tzdata.IANA_VERSION}")
    assert not zone_database().is_packaged


@pytest.mark.parametrize("head", ["# version 2025b", "# version 2099a"])
def test_a_zone_that_only_one_has(system, head):
    """It is read from that one, whichever is used otherwise."""
    system(head)
    assert offset_hours("OnlyHere") == 1
    assert offset_hours("Asia/Tokyo") == 9
    check_timing(Timing(cron="0 12 * * *", timezone="OnlyHere"), WINTER)


@pytest.mark.parametrize("head", ["# version 2025b", "# version 2099a"])
@pytest.mark.parametrize(
    "name", ["", "America", "../Vancouver", "/etc/localtime", "No/Where", "a\0b", "tzdata.zi"]
)
def test_unknown_zones(system, head, name):
    """Neither time zone database has it."""
    system(head)
    assert not is_zone(name)


def test_versions_in_order():
    """Releases follow each other by year and letters."""
    versions = [None, "2024b", "2025a", "2025b", "2025z", "2025aa", "2026a"]
    for earlier, later in itertools.pairwise(versions):
        assert ZoneDatabase(earlier, later).is_packaged
        assert not ZoneDatabase(later, earlier).is_packaged


def test_no_package(tmp_path):
    """Without the package tzdata the system's is used."""
    code = (
        "import sys; sys.modules['tzdata'] = None\n"
        "from taskflow.model.zones import zone, zone_database\n"
        "print(zone_database().is_packaged, zone('Europe/Berlin'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "False Europe/Berlin\n", done.stderr
