"""Part of what `make faults` goes through."""

import pytest

from tests.store import faults


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lasting", "in_sql"), [(False, "I/O error"), (True, "locked"), (False, "malformed")]
)
def test_whatever_fails_nothing_that_was_kept_is_lost(lasting: bool, in_sql: str) -> None:
    tried, kinds = faults.one_after_the_other(lasting, faults.IN_SQL[in_sql], every=211)
    assert tried > 5
    assert {"connect", "execute", "open", "write"} <= kinds


@pytest.mark.slow
def test_a_full_disk_loses_nothing_that_was_kept() -> None:
    told = faults.full_disks([0, 1_000, 20_000, 40_000, 100_000, 300_000, 10_000_000])
    assert told[0]
    assert not told[-1]


@pytest.mark.slow
def test_damage_anywhere_is_a_miss_and_nothing_saved_goes() -> None:
    assert faults.damages(every=53) > 200


@pytest.mark.slow
def test_two_killed_writers_leave_what_they_said_is_stored() -> None:
    made, saved = faults.kills(6)
    assert made > 4
    assert saved > 0
