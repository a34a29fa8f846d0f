"""What one visitor may ask for."""

from collections.abc import Callable

import pytest

from diffgrid.engine.allowances import Allowances
from diffgrid.errors import Busy
from diffgrid.limits import Limits


class Clock:
    """Seconds that a test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def take(clock: Clock) -> Callable[[str, int], None]:
    allowances, limits = Allowances(clock), Limits(max_evaluations=100, max_evaluations_a_minute=50)
    return lambda session, count: allowances.take(session, count, limits)


def test_a_minute_holds_so_many_and_then_they_come_back(
    take: Callable[[str, int], None], clock: Clock
) -> None:
    take("a", 30)
    clock.now = 20
    with pytest.raises(Busy, match="50 evaluations a minute for one visitor.*try again in 40 s"):
        take("a", 30)
    take("b", 30)  # another visitor's are another's
    clock.now = 61
    take("a", 30)


def test_a_first_request_may_take_more_than_a_minutes(take: Callable[[str, int], None]) -> None:
    take("a", 60)
    with pytest.raises(Busy, match="a minute"):
        take("a", 1)


def test_a_session_has_so_many_in_all_and_what_is_refused_takes_none(
    take: Callable[[str, int], None], clock: Clock
) -> None:
    for minute in range(3):
        clock.now = 100.0 * minute
        take("a", 30)
    clock.now = 300
    with pytest.raises(Busy, match="10 of yours are left, where 30 are needed: ask for less"):
        take("a", 30)
    take("a", 10)
